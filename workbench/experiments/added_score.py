"""Scores of classes that were added from examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.datasets.base import SegmentationDataset
from workbench.evaluation import iou
from workbench.evaluation.iou import Counts
from workbench.experiments.added_rows import SHIPPED, WAYS, make_row
from workbench.inference import predict_labels
from workbench.inference.examples import Shown, show
from workbench.inference.inspect import extract_features
from workbench.inference.relabel import label, relabel
from workbench.inference.vocabulary_edits import add_class, remap
from workbench.models import SegmentationModel
from workbench.progress import progress
from workbench.runs.class_file import ClassSet

Lookup = npt.NDArray[np.int64]
Parts = Mapping[str, Sequence[int]]


class Variant(NamedTuple):
    """How rows were made.

    Attributes:
        way: Key of ``WAYS``.
        examples: How many a class, at most: fewer where a class has fewer.
        draw: Which draw of them.
    """

    way: str
    examples: int
    draw: int


Rows = Mapping[Variant, Tensor]
"""(held, D) rows of the held-out classes."""


def draw_rows(
    model: SegmentationModel,
    dataset: SegmentationDataset,
    shown: npt.NDArray[np.bool_],
    held: Sequence[int],
    table: Tensor,
    examples: Sequence[int],
    draws: int,
    ways: Collection[str] = tuple(WAYS),
) -> dict[Variant, Tensor]:
    """The rows of held-out classes, from examples drawn at random.

    Args:
        model: Trained without them.
        dataset: The training split, with them.
        shown: (pictures, C) whether a picture is a good example of a class.
        held: Their ids.
        table: (C - held, D) rows of the others.
        examples: Numbers of examples.
        draws: How often each is drawn; the smaller numbers are the first of the larger.
        ways: Keys of ``WAYS``.
    """
    made: dict[Variant, list[Tensor]] = {}
    for class_id in progress([*held], description="rows", unit="class"):
        chosen = {draw: _chosen(shown[:, class_id], class_id, draw) for draw in range(draws)}
        chosen = {draw: places[: max(examples)] for draw, places in chosen.items()}
        found = {
            place: _show(model, dataset, place, class_id)
            for place in sorted(set().union(*chosen.values()))
        }
        for draw, places in chosen.items():
            for number in examples:
                few = [found[place] for place in places[:number]]
                for way in ways:
                    row = make_row(way, few, table)
                    made.setdefault(Variant(way, number, draw), []).append(row)
    return {variant: torch.stack(rows) for variant, rows in made.items()}


def _chosen(shown: npt.NDArray[np.bool_], class_id: int, draw: int) -> list[int]:
    """Places of good examples in the order of a draw."""
    rng = np.random.default_rng([class_id, draw])
    places: list[int] = rng.permutation(np.flatnonzero(shown)).tolist()
    return places


def _show(
    model: SegmentationModel, dataset: SegmentationDataset, place: int, class_id: int
) -> Shown:
    image, mask = dataset.read(place)
    return show(model, np.asarray(image), mask == class_id)


def score_rows(
    model: SegmentationModel,
    base: ClassSet,
    rows: Rows,
    dataset: SegmentationDataset,
    lookup: Lookup,
    parts: Parts,
) -> dict[str, Any]:
    """Scores the classes before and after adding, each picture through the network once.

    Ways are compared on "dev" alone; the other parts see the one that is shipped.

    Args:
        model: Trained without the held-out classes.
        base: Its classes.
        rows: Of the held-out classes.
        dataset: The validation split, with them.
        lookup: (C,) the dataset's ids -> ids where they come last.
        parts: Name -> places of the pictures.

    Returns:
        "before" and "added", see ``run_case``.
    """
    held = len(lookup) - len(base)
    totals = _totals(model, base, rows, dataset, lookup, parts)
    found = {
        variant: {
            name: summed(totals[variant, name], held) for name in parts if (variant, name) in totals
        }
        for variant in (None, *rows)
    }
    before_any = found.pop(None)
    return {
        "before": before_any,
        "added": [
            {**variant._asdict(), **scores}
            for variant, scores in found.items()
            if variant is not None and scores
        ],
    }


def _totals(
    model: SegmentationModel,
    base: ClassSet,
    rows: Rows,
    dataset: SegmentationDataset,
    lookup: Lookup,
    parts: Parts,
) -> dict[tuple[Variant | None, str], Counts]:
    """Counts of each variant and part; None: before anything is added."""
    widened = _widened(base, len(lookup) - len(base))
    unchanged = np.arange(len(base), dtype=np.int64)
    edited = {
        variant: dataclasses.replace(widened, weight=torch.cat([base.weight, new]))
        for variant, new in rows.items()
    }
    totals: dict[tuple[Variant | None, str], Counts] = {}
    part_of = {index: name for name, part in parts.items() for index in part}
    for index in progress(sorted(part_of), description="score", unit="img"):
        image, truth = dataset.read(index)
        truth, part = remap(truth, lookup), part_of[index]
        features = extract_features(model, np.asarray(image))
        before = label(features, base)
        predictions = {None: before.labels} | {
            variant: relabel(features, before, base, classes, unchanged)
            for variant, classes in edited.items()
            if part == "dev" or variant.way == SHIPPED
        }
        for variant, prediction in predictions.items():
            _add(totals, (variant, part), prediction, truth, len(lookup))
    return totals


def score_trained(
    model: SegmentationModel,
    dataset: SegmentationDataset,
    lookup: Lookup,
    parts: Parts,
    held: int,
) -> dict[str, Any]:
    """Scores a model that was trained with all classes, as ``score_rows`` does."""
    totals: dict[tuple[None, str], Counts] = {}
    for name, part in parts.items():
        for index in progress([*part], description="score", unit="img"):
            sample = dataset[index]
            prediction = predict_labels(model, sample["image"][None])[0].numpy()
            truth = remap(sample["mask"].numpy(), lookup)
            _add(totals, (None, name), lookup[prediction], truth, len(lookup))
    return {name: summed(totals[None, name], held) for name in parts}


def summed(counts: Counts, held: int) -> dict[str, Any]:
    """The numbers that are kept, the held-out classes being the last.

    Returns:
        "held_iou" (one number a class, None where the truth does not show it), "others_miou"
        and "pixel_accuracy".
    """
    values = iou.iou_of_present(counts)
    first = len(values) - held
    others = Counts(*(column[:first] for column in counts))
    return {
        "held_iou": [None if np.isnan(v) else round(float(v), 4) for v in values[first:]],
        "others_miou": round(iou.miou(others), 5),
        "pixel_accuracy": round(iou.pixel_accuracy(counts), 5),
    }


def _add(
    totals: dict[Any, Counts],
    key: tuple[Any, str],
    prediction: npt.NDArray[np.int64],
    truth: npt.NDArray[np.int64],
    classes: int,
) -> None:
    counts = iou.count_pixels(prediction, truth, classes)
    before = totals.get(key)
    totals[key] = (
        counts if before is None else Counts(*(a + b for a, b in zip(before, counts, strict=True)))
    )


def _widened(base: ClassSet, held: int) -> ClassSet:
    """With more classes at the end, whose rows are still to come."""
    classes = base
    for number in range(held):
        name = f"held-out class {number}"
        classes = add_class(classes, name, torch.ones(1, base.dim)).classes
    return classes
