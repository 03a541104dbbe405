"""Pure functions of pages that show pictures: which pictures, which colours, where a pixel lies."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from app.frames import BEST_FIRST, BY_NAME, WORST_FIRST

PAGE = 60
"""Thumbnails on one page of the contact sheet."""

Ids = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Pixel(NamedTuple):
    """A pixel of a label map: column x and row y, from the top left."""

    x: int
    y: int

    def __str__(self) -> str:
        """As it stands in the URL."""
        return f"{self.x},{self.y}"


@dataclass(frozen=True)
class PixelGrid(Collection[str | None]):
    """All texts that name a pixel of a picture, and None: what may be chosen.

    Attributes:
        width: Of the picture.
        height: Of the picture.
    """

    width: int
    height: int

    def __contains__(self, text: object) -> bool:
        """Whether it is "x,y" within the picture, or None."""
        return text is None or parse_pixel(text, self.width, self.height) is not None

    def __iter__(self) -> Iterator[str | None]:
        """All of them."""
        yield None
        yield from (str(Pixel(x, y)) for y in range(self.height) for x in range(self.width))

    def __len__(self) -> int:
        """How many."""
        return 1 + self.width * self.height


def parse_pixel(text: object, width: int, height: int) -> Pixel | None:
    """Reads "x,y"; None where it is none, or lies outside of the picture."""
    found = re.fullmatch(r"(\d{1,6}),(\d{1,6})", text) if isinstance(text, str) else None
    if found is None:
        return None
    pixel = Pixel(int(found.group(1)), int(found.group(2)))
    return pixel if pixel.x < width and pixel.y < height else None


@dataclass(frozen=True)
class PictureIndex:
    """The kept pictures and the classes in them, laid out so that a filter costs milliseconds.

    Attributes:
        ids: Of the pictures, sorted.
        score: Mean IoU of each over the classes in its truth; NaN where not known.
        accuracy: Share of labelled pixels that are right; NaN where not known.
        classes: How many classes are in its truth.
        at: Picture of each row of the counts, as a position in ``ids``.
        class_id: Class of each row.
        iou: Of the class in the picture.
        truth_pixels: Of the class in the truth of the picture.
        predicted_pixels: Of it in the prediction.
        right_pixels: Of it in both.
    """

    ids: list[str]
    score: Floats
    accuracy: Floats
    classes: Ids
    at: Ids
    class_id: Ids
    iou: Floats
    truth_pixels: Ids
    predicted_pixels: Ids
    right_pixels: Ids

    @cached_property
    def in_truth(self) -> npt.NDArray[np.bool_]:
        """Whether the truth has the class there."""
        return self.truth_pixels > 0

    @cached_property
    def predicted(self) -> npt.NDArray[np.bool_]:
        """Whether the class is predicted there."""
        return self.predicted_pixels > 0

    @cached_property
    def truth_classes(self) -> list[int]:
        """Ids of the classes that the truth of any kept picture has."""
        return [int(one) for one in np.unique(self.class_id[self.in_truth])]

    @cached_property
    def predicted_classes(self) -> list[int]:
        """Ids of the classes that are predicted in any kept picture."""
        return [int(one) for one in np.unique(self.class_id[self.predicted])]


def index_pictures(kept: Sequence[str], counts: pd.DataFrame | None) -> PictureIndex:
    """Lays the counts out by picture.

    Args:
        kept: Ids of the pictures.
        counts: The table per image and class; without it there are no scores and no filters.
    """
    ids = pd.Index(sorted(map(str, kept)), dtype=object)
    size = len(ids)
    if counts is None:
        counts = pd.DataFrame(
            dict.fromkeys(
                ("class_id", "intersection", "union", "truth_pixels", "predicted_pixels"), ()
            )
        ).assign(image_id=())
    # A quarter of a million rows name some thousand pictures: look each name up once.
    codes, names = pd.factorize(counts["image_id"])
    where = ids.get_indexer(pd.Index([str(name) for name in names], dtype=object))
    at = where[codes].astype(np.int64) if len(codes) else np.zeros(0, dtype=np.int64)
    found = at >= 0
    at = at[found]
    column = {
        name: counts[name].to_numpy()[found].astype(np.int64)
        for name in ("class_id", "intersection", "union", "truth_pixels", "predicted_pixels")
    }
    iou = column["intersection"] / np.maximum(column["union"], 1)
    real = column["truth_pixels"] > 0
    classes = np.bincount(at[real], minlength=size)
    total = np.bincount(at[real], weights=column["truth_pixels"][real], minlength=size)
    right = np.bincount(at[real], weights=column["intersection"][real], minlength=size)
    score = np.bincount(at[real], weights=iou[real], minlength=size)
    none = classes == 0
    return PictureIndex(
        ids=list(ids),
        score=np.where(none, np.nan, score / np.maximum(classes, 1)),
        accuracy=np.where(none, np.nan, right / np.maximum(total, 1)),
        classes=classes,
        at=at,
        class_id=column["class_id"],
        iou=iou,
        truth_pixels=column["truth_pixels"],
        predicted_pixels=column["predicted_pixels"],
        right_pixels=column["intersection"],
    )


def find_pictures(
    index: PictureIndex,
    *,
    in_truth: int | None = None,
    predicted: int | None = None,
    shown: int | None = None,
    order: str = WORST_FIRST,
) -> pd.DataFrame:
    """The pictures that meet the filters, in the order asked for.

    Args:
        index: From ``index_pictures``.
        in_truth: Only pictures whose truth has this class.
        predicted: Only pictures where this class is predicted.
        shown: Only pictures that have this class in truth or prediction.
        order: One of ``frames.ORDERS``.

    Returns:
        Columns image_id, score, accuracy, classes. The score is the picture's mean IoU; with a
        filter it is the IoU of that class there, of the one in truth where both are given.
    """
    keep = np.ones(len(index.ids), dtype=bool)
    score = index.score
    filters = (
        (shown, slice(None)),
        (predicted, index.predicted),
        (in_truth, index.in_truth),
    )
    for wanted, rows in filters:
        if wanted is not None:
            hits = np.zeros(len(index.class_id), dtype=bool)
            hits[rows] = index.class_id[rows] == wanted
            has = np.zeros(len(index.ids), dtype=bool)
            has[index.at[hits]] = True
            keep &= has
            score = np.full(len(index.ids), np.nan)
            score[index.at[hits]] = index.iou[hits]
    chosen = np.flatnonzero(keep)
    if order != BY_NAME:  # the ids are sorted, and a stable sort leaves equal ones so
        key = -score[chosen] if order == BEST_FIRST else score[chosen]
        chosen = chosen[np.argsort(key, kind="stable")]
    return pd.DataFrame(
        {
            "image_id": pd.Series([index.ids[at] for at in chosen], dtype=object),
            "score": score[chosen],
            "accuracy": index.accuracy[chosen],
            "classes": index.classes[chosen],
        }
    )


def find_id(ids: Sequence[str], text: str) -> str | None:
    """The picture a text means: the id itself, one with leading zeros, else one that holds it.

    Args:
        ids: In the order of preference.
        text: What was typed.
    """
    wanted = text.strip().lower()
    if not wanted:
        return None
    lowered = [image_id.lower() for image_id in ids]
    tests = (
        lambda known: known == wanted,
        lambda known: wanted.isdecimal() and known.lstrip("0") == (wanted.lstrip("0") or wanted),
        lambda known: known.endswith(wanted),
        lambda known: wanted in known,
    )
    for test in tests:
        found = next((at for at, known in enumerate(lowered) if test(known)), None)
        if found is not None:
            return ids[found]
    return None


def page_of(position: int, count: int, size: int = PAGE) -> tuple[int, int]:
    """First and last (outside) row of the page that holds a row."""
    first = max(0, min(position, max(0, count - 1))) // size * size
    return first, min(first + size, count)


def classes_predicted(prediction: Ids, table: pd.DataFrame) -> pd.DataFrame:
    """The classes in a prediction without truth; columns as of ``frames.classes_in_view``."""
    known = (prediction >= 0) & (prediction < len(table))
    pixels = np.bincount(prediction[known], minlength=len(table))
    ids = np.flatnonzero(pixels)
    ids = ids[np.argsort(-pixels[ids], kind="stable")]
    return pd.DataFrame(
        {
            "class_id": ids,
            "name": table["name"].to_numpy()[ids],
            "color": table["color"].to_numpy()[ids],
            "truth_pixels": 0,
            "predicted_pixels": pixels[ids],
            "iou": np.nan,
        }
    )


def with_colors(table: pd.DataFrame, shown: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The vocabulary with the colours that a picture's viewer really uses.

    Args:
        table: Vocabulary, row = class id.
        shown: The classes in view: "id" and "color" of each.
    """
    colors = table["color"].astype(object).to_numpy(copy=True)
    for one in shown:
        colors[one["id"]] = one["color"]
    return table.assign(color=colors)


def temperature_text(own: pd.DataFrame, chosen: pd.DataFrame, temperature: float) -> str:
    """What another temperature does to a pixel: never the order, but how sure it looks.

    Args:
        own: ``nearest_at`` at the model's temperature.
        chosen: ``nearest_at`` at the one chosen.
        temperature: The model's.
    """
    before, after = float(own["probability"].iloc[0]), float(chosen["probability"].iloc[0])
    moved = int(own["class_id"].iloc[0]) != int(chosen["class_id"].iloc[0])
    change = "Another class is first now" if moved else "The order of the classes stays"
    return (
        f"At the model's temperature ({temperature:.3g}) the first class has {before:.1%}, "
        f"here {after:.1%}. {change}."
    )
