"""Plans which classes a ShapeWorld image shows, so that frequencies are met by design.

The plan is made at once for a whole split and depends on the seed alone; drawing an image
then needs nothing but its own row of the plan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

REFERENCE_IMAGES: Final = 9600
THINGS_PER_IMAGE: Final = 8.2
VAL_MINIMUM: Final = 3
_RANGES: Final = {"rare": (1, 10), "common": (11, 100), "frequent": (101, 200)}


@dataclass(frozen=True)
class Plan:
    """Which classes each image of a split shows.

    Attributes:
        things: Per image, the indices of its things.
        stuff: Per image, the one or two indices of its stuff.
    """

    things: list[list[int]]
    stuff: list[list[int]]


def default_val_images(things: int, stuff: int) -> int:
    """Returns how many val images show every class at least three times, with some to spare."""
    return max(12, math.ceil(4.2 * things / 8), math.ceil(3.5 * stuff / 1.4))


def train_counts(groups: npt.NDArray[np.str_], images: int, rng: np.random.Generator) -> IntArray:
    """Plans in how many train images each thing occurs.

    At 9,600 images rare things get 1..10, common ones 11..100, frequent ones 101..200,
    log-uniformly; other sizes scale with a minimum of 1. With fewer classes the frequent things
    take what is left of 8.2 things an image; with more, all counts shrink together. Either way
    pictures are equally full.

    Args:
        groups: (T,) group of each thing.
        images: Number of train images N.
        rng: Source of randomness.

    Returns:
        (T,) image counts, at most 0.8 N each. Where N images cannot hold T things, the rarest
        things get 0.
    """
    low, high = np.array([_RANGES[group] for group in groups], dtype=float).T
    exact = low * (high / low) ** rng.random(len(groups))
    scaled = exact * images / REFERENCE_IMAGES
    frequent = groups == "frequent"
    target = THINGS_PER_IMAGE * images
    if scaled.sum() > 1.05 * target:  # more classes than the reference: all become rarer
        counts = np.maximum(1, np.rint(scaled * target / scaled.sum()))
    else:
        counts = np.maximum(1, np.rint(scaled))
        share = (target - counts[~frequent].sum()) / scaled[frequent].sum()
        counts[frequent] = np.maximum(1, np.rint(scaled[frequent] * max(1.0, share)))
    counts = np.minimum(counts, max(1, int(0.8 * images))).astype(np.int64)
    room = int(9.0 * images)
    if counts.sum() > room:
        order = np.argsort(-exact, kind="stable")
        counts[order[np.cumsum(counts[order]) > room]] = 0
    return np.asarray(counts)


def val_counts(classes: int, slots: int, rng: np.random.Generator, most: int) -> IntArray:
    """Plans in how many val images each class occurs: evenly, at least 3 where they fit.

    Args:
        classes: Number of classes to spread.
        slots: Total number of occurrences.
        rng: Decides who gets the remainder.
        most: Upper bound per class, the number of images.

    Returns:
        (classes,) counts.
    """
    counts = np.full(classes, slots // classes, dtype=np.int64)
    counts[rng.permutation(classes)[: slots % classes]] += 1
    return np.asarray(np.minimum(counts, most))


def _repeats(flat: IntArray, owner: IntArray) -> IntArray:
    """Returns the positions whose class already occurred in the same image."""
    order = np.lexsort((flat, owner))
    same = (np.diff(flat[order]) == 0) & (np.diff(owner[order]) == 0)
    return np.asarray(order[1:][same])


def deal(counts: IntArray, images: int, rng: np.random.Generator) -> list[list[int]]:
    """Deals classes to images so that each gets about as many and none twice the same.

    Args:
        counts: How often each class is dealt.
        images: Number of images.
        rng: Source of randomness.

    Returns:
        Per image its classes. A repeated class that no swap resolves is dropped (only where
        there are very few classes).
    """
    flat = np.repeat(np.arange(len(counts)), counts)
    flat = flat[rng.permutation(len(flat))]
    # One more or fewer than the mean: exact in total, uneven from image to image.
    spread = rng.permutation(images) % 3 - 1 if len(flat) > 2.5 * images else np.zeros(images)
    ends = np.rint(np.cumsum(np.full(images, len(flat) / images) + spread - spread.mean()))
    ends = np.clip(np.maximum.accumulate(ends), 0, len(flat)).astype(np.int64)
    ends[-1] = len(flat)
    owner = np.repeat(np.arange(images), np.diff(ends, prepend=0))
    for _ in range(200):
        clashes = _repeats(flat, owner)
        if not len(clashes):
            break
        for position, partner in zip(
            clashes, rng.integers(0, len(flat), len(clashes)), strict=True
        ):
            flat[[position, partner]] = flat[[partner, position]]
    keep = np.ones(len(flat), dtype=bool)
    keep[_repeats(flat, owner)] = False
    kept = np.bincount(owner[keep], minlength=images)
    return [part.tolist() for part in np.split(flat[keep], np.cumsum(kept)[:-1])]


def _deal_stuff(counts: IntArray, images: int, rng: np.random.Generator) -> list[list[int]]:
    """Deals stuff so that no image is left without a background."""
    dealt = deal(counts, images, rng)
    spare = rng.integers(0, len(counts), images)
    return [row or [int(spare[index])] for index, row in enumerate(dealt)]


def plan_train(
    groups: npt.NDArray[np.str_], stuff: int, images: int, rng: np.random.Generator
) -> Plan:
    """Plans the train split; stuff is mildly uneven, 1.5 of them an image on average."""
    things = deal(train_counts(groups, images, rng), images, rng)
    weights = 2.0 ** rng.uniform(-1, 1, stuff)
    share = weights / weights.sum() * 1.5 * images
    counts = np.clip(np.rint(share), 1, images).astype(np.int64)
    return Plan(things, _deal_stuff(_bounded(counts, images), images, rng))


def plan_val(things: int, stuff: int, images: int, rng: np.random.Generator) -> Plan:
    """Plans the val split: every class about equally often."""
    slots = min(round(8 * images), things * images)
    counts = val_counts(things, slots, rng, max(1, int(0.8 * images)))
    stuff_counts = val_counts(stuff, round(1.5 * images), rng, images)
    return Plan(deal(counts, images, rng), _deal_stuff(_bounded(stuff_counts, images), images, rng))


def _bounded(counts: IntArray, images: int) -> IntArray:
    """Cuts the stuff counts to two an image, the last classes first."""
    before = np.cumsum(counts) - counts
    return np.asarray(np.clip(np.minimum(counts, 2 * images - before), 0, None))
