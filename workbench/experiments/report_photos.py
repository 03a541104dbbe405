"""The section about real photos on the page about accuracy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.benchmarks.report_text import place
from workbench.benchmarks.rows import Row
from workbench.evaluation import iou
from workbench.evaluation.compare import paired_change
from workbench.evaluation.iou import Counts
from workbench.experiments.photos import COMPARED, FEWEST, NAME


def read_photos(out: Path) -> list[dict[str, Any]]:
    """The rows there are, method by method."""
    files = [path for name in COMPARED for path in sorted((out / NAME).glob(f"{name}--fold-*"))]
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def pooled(rows: Sequence[Row]) -> tuple[Counts, np.ndarray[Any, np.dtype[np.int64]]]:
    """Counts of all photos, and in how many of them each class is, of one method's folds."""
    sums = [np.sum([row[name] for row in rows], axis=0) for name in Counts._fields]
    return Counts(*sums), np.sum([row["photos_per_class"] for row in rows], axis=0)


def render_photos(rows: Sequence[Row]) -> str:
    """The section as Markdown; methods with a fold missing are left out."""
    folds = {name: [row for row in rows if row["method"] == name] for name in COMPARED}
    folds = {name: mine for name, mine in folds.items() if mine and len(mine) == mine[0]["folds"]}
    if len(folds) < 2:
        return ""
    counts = {name: pooled(mine) for name, mine in folds.items()}
    _, holders = next(iter(counts.values()))
    chosen = holders >= FEWEST
    scores = {name: iou.iou(found)[chosen] for name, (found, _) in counts.items()}
    first = next(iter(folds.values()))[0]
    photos = sum(row["photos"] for row in next(iter(folds.values())))
    others = [name for name in ("dense", "nearest") if name in scores]
    lines = [
        "## Real photos",
        "",
        f"{photos} photos of COCO train2017 with their panoptic masks ({len(holders)} classes), "
        f"{first['folds']} folds, {first['steps']} steps of {first['batch']} crops of "
        f"{first['crop']} pixels, DeepLabV3+ over {first['backbone']} with ImageNet weights; "
        "every photo is predicted by the training that did not see it. The photos are too few "
        "for the numbers to say how well anything segments; what counts is the change on the "
        f"same {int(chosen.sum())} classes that are in {FEWEST} photos or more, paired, with a "
        "bootstrap interval over them. One seed.",
        "",
        "| method | mIoU | pixel accuracy | "
        + " | ".join(f"change from {folds[name][0]['title']}" for name in others)
        + " |",
        "|---|---:|---:|" + "---:|" * len(others),
    ]
    for name, values in scores.items():
        cells = [_change(scores[other], values) if other != name else "" for other in others]
        lines.append(
            f"| {folds[name][0]['title']} | {values.mean():.3f} | "
            f"{iou.pixel_accuracy(counts[name][0]):.3f} | " + " | ".join(cells) + " |"
        )
    return "\n".join([*lines, "", f"Trained on: {place(first)}.", ""])


def _change(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> str:
    found = paired_change(pd.DataFrame({"iou_a": a, "iou_b": b, "change": b - a}))
    return f"{found.change:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
