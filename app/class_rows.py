"""The table of the page Classes, made once for all filters; pure functions, no Streamlit."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from app import frames


class Options(NamedTuple):
    """What the classes can be filtered by.

    Attributes:
        groups: The known groups first, rare to frequent.
        supercategories: By name.
        reasons: Codes of what is wrong.
        counted: Whether training images were counted at all.
    """

    groups: list[str]
    supercategories: list[str]
    reasons: list[str]
    counted: bool


def options(table: pd.DataFrame) -> Options:
    """The filters that a class table has."""
    return Options(
        [str(group) for group in frames.group_scores(table)["group"]],
        sorted({str(name) for name in table["supercategory"] if str(name)}),
        sorted({str(code) for code in table["reason"].dropna() if str(code)}),
        frames.has_train_counts(table),
    )


def rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows as the page shows them, index and order of the class table.

    Args:
        table: Of all classes, from `app.data.per_class`.
    """
    names = frames.labels(table)
    counted = frames.has_train_counts(table)
    nearest = [names.get(int(other), "") for other in table["nearest_class_id"].fillna(-1)]
    return pd.DataFrame(
        {
            "name": table["name"],
            "class_id": table["class_id"],
            "iou": table["iou"],
            "group": table["group"],
            "train_images": table["train_images"] if counted else None,
            "train_pixels": table["train_pixels"] if counted else None,
            "val_images": table["val_images"],
            "reason": [frames.reason_text(code) for code in table["reason"]],
            "nearest": nearest,
            "nearest_distance": table["nearest_distance"],
            "supercategory": table["supercategory"],
            "precision": table["precision"],
            "recall": table["recall"],
        },
        index=table.index,
    )
