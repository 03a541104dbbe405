"""Scores from masks, class by class with sets of pixels: slow, and nothing of the library's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

Pair = tuple[np.ndarray, np.ndarray]
NOTHING = -1
"""No label in a truth, no class in a prediction."""


def plain_scores(pairs: Sequence[Pair], classes: int) -> dict[str, Any]:
    """What the library's tables and summary should say of some images.

    Args:
        pairs: Prediction and truth of each, (H, W) ids 0..C-1 or `NOTHING`.
        classes: C.
    """
    names = ("intersection", "union", "truth_pixels", "predicted_pixels")
    found: dict[str, Any] = {
        name: np.zeros(classes, np.int64) for name in (*names, "val_images", "boundary_errors")
    }
    labelled = right = 0
    for prediction, truth in pairs:
        counted = truth != NOTHING
        near = near_edges(truth)
        labelled += int(counted.sum())
        for c in {*np.unique(truth).tolist(), *np.unique(prediction).tolist()} - {NOTHING}:
            true, given = truth == c, (prediction == c) & counted
            found["intersection"][c] += (true & given).sum()
            found["union"][c] += (true | given).sum()
            found["truth_pixels"][c] += true.sum()
            found["predicted_pixels"][c] += given.sum()
            found["val_images"][c] += true.any()
            found["boundary_errors"][c] += ((true ^ given) & near).sum()
            right += int((true & given).sum())
    shares = [
        int(one) / int(all_) if all_ else float("nan")
        for one, all_ in zip(found["intersection"], found["union"], strict=True)
    ]
    present = [c for c in range(classes) if found["truth_pixels"][c]]
    anywhere = [c for c in range(classes) if found["union"][c]]
    weighted = sum(shares[c] * int(found["truth_pixels"][c]) for c in present)
    return {
        **found,
        "iou": np.array([shares[c] if c in {*present} else np.nan for c in range(classes)]),
        "miou": sum(shares[c] for c in present) / len(present),
        "miou_classes": len(present),
        "miou_union": sum(shares[c] for c in anywhere) / len(anywhere),
        "miou_union_classes": len(anywhere),
        "pixel_accuracy": right / labelled,
        "labelled_pixels": labelled,
        "frequency_weighted_iou": weighted / labelled,
    }


def near_edges(truth: np.ndarray) -> np.ndarray:
    """Pixels within 1 % of the shorter side, at least 2, of a pixel of another region."""
    cross = ndimage.generate_binary_structure(2, 1)
    least, most = (
        extreme(truth, footprint=cross, mode="nearest")
        for extreme in (ndimage.minimum_filter, ndimage.maximum_filter)
    )
    reach = max(2, round(0.01 * min(truth.shape)))
    return np.asarray(
        ndimage.binary_dilation(least != most, np.ones((3, 3), bool), iterations=reach - 1)
    )


def perturbed(truth: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """A prediction: the truth moved, a third of its regions and some pixels relabelled at random.

    Every hundredth pixel or so is given no class at all; what has no label is filled up.
    """
    moved = np.roll(truth, rng.integers(-9, 10, 2), axis=(0, 1))
    there = np.unique(moved)
    others = np.where(rng.random(len(there)) < 0.33, rng.integers(0, classes, len(there)), there)
    relabelled = others[np.searchsorted(there, moved)]
    noise, few = rng.random(truth.shape), rng.integers(0, classes, 8)
    relabelled = np.where(noise < 0.05, rng.choice(few, truth.shape), relabelled)
    filled = np.where(relabelled == NOTHING, int(rng.integers(0, classes)), relabelled)
    return np.where(noise > 0.99, NOTHING, filled)
