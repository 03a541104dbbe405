"""Pure functions behind the class map: what is in view, drawn and listed; all tested."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

from app import frames
from app.pictures import PictureIndex
from workbench.class_search import matching_classes

View = dict[str, tuple[float, float]]

NEIGHBOURS: Final = 12
"""Classes that come into view around the one flown to, and are named."""

MOST_EDGES: Final = 300
_MARGIN: Final = 0.04


class Edges(NamedTuple):
    """Confusions to draw.

    Attributes:
        table: truth, predicted (class ids), pixels, share of the true class's pixels; the
            largest shares first.
        total: How many there are above the threshold, drawn or not.
    """

    table: pd.DataFrame
    total: int


def extent(projection: pd.DataFrame, layout: str) -> View:
    """The range of each axis that holds all classes at all steps, so that nothing jumps."""
    found: View = {}
    for axis, column in frames.axes_of(layout).items():
        values = projection[column].to_numpy(dtype=np.float64)
        values = values[np.isfinite(values)]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
        pad = _MARGIN * (high - low) or 1.0
        found[axis] = (low - pad, high + pad)
    return found


def movie_steps(
    projection: pd.DataFrame, table: pd.DataFrame, layout: str
) -> list[tuple[int, pd.DataFrame]]:
    """The map's points at every step: the same classes in the same order at each."""
    steps = sorted(int(step) for step in projection["step"].unique())
    points = [frames.map_points(projection, table, layout, step) for step in steps]
    everywhere = set.intersection(*(set(now["class_id"]) for now in points))
    return [
        (step, now[now["class_id"].isin(everywhere)].reset_index(drop=True))
        for step, now in zip(steps, points, strict=True)
    ]


def hits(points: pd.DataFrame, text: str) -> list[int]:
    """The classes that a search finds; none for a search of nothing."""
    if not text.strip():
        return []
    return [int(class_id) for class_id in points.loc[matching_classes(points, text), "class_id"]]


def target(points: pd.DataFrame, text: str, chosen: int | None) -> int | None:
    """Which of the classes found to fly to.

    Args:
        points: The classes of the map.
        text: What was searched.
        chosen: The chosen class.

    Returns:
        The class of exactly that name or id, else the only hit, else the chosen class if it is
        among the hits; None: stay where you are.
    """
    wanted = " ".join(text.lower().split())
    if not wanted:
        return None
    found = points[matching_classes(points, text)]
    names = found["name"].astype(str).str.lower().str.split().str.join(" ")
    exact = found.loc[(names == wanted) | (found["class_id"].astype(str) == wanted), "class_id"]
    for rows in (exact, found["class_id"]):
        if len(rows) == 1:
            return int(rows.iloc[0])
    return chosen if chosen is not None and (found["class_id"] == chosen).any() else None


def around(points: pd.DataFrame, class_id: int, count: int = NEIGHBOURS) -> tuple[View, list[int]]:
    """A class and those that lie nearest to it in the map.

    Returns:
        The range of each axis that shows them, the class in the middle; and the ids of the
        others, nearest first.
    """
    axes = [axis for axis in "xyz" if axis in points]
    places = points[axes].to_numpy(dtype=np.float64)
    ids = points["class_id"].to_numpy(dtype=np.int64)
    middle = places[ids == class_id][0]
    distance = np.linalg.norm(places - middle, axis=1)
    order = np.argsort(distance, kind="stable")
    near = order[ids[order] != class_id][:count]
    radius = 1.3 * float(distance[near].max()) if len(near) else 0.0
    radius = radius if radius > 0 else 1.0
    view = {
        axis: (float(at) - radius, float(at) + radius)
        for axis, at in zip(axes, middle, strict=True)
    }
    return view, [int(other) for other in ids[near]]


def confusion_edges(confusions: pd.DataFrame, threshold: float, limit: int = MOST_EDGES) -> Edges:
    """The confusions that take at least a share of a class's pixels.

    Args:
        confusions: truth, predicted, pixels: the confusion matrix's entries that are not 0.
        threshold: Share of the true class's labelled pixels, 0..1.
        limit: Draw at most so many, the largest shares.
    """
    truth = confusions["truth"].to_numpy(dtype=np.int64)
    pixels = confusions["pixels"].to_numpy(dtype=np.float64)
    share = pixels / np.maximum(np.bincount(truth, weights=pixels)[truth], 1.0)
    keep = (share >= threshold) & (truth != confusions["predicted"].to_numpy())
    rows = confusions.loc[keep, ["truth", "predicted", "pixels"]].assign(share=share[keep])
    rows = rows.sort_values(["share", "pixels"], ascending=False, ignore_index=True)
    return Edges(rows.head(limit), len(rows))


def pictures_of(index: PictureIndex, class_ids: Collection[int]) -> pd.DataFrame:
    """The kept pictures whose truth shows some of the classes, those with most classes first.

    Returns:
        Columns image_id, classes (how many of them it shows), pixels (of them together), iou
        (mean over them in this picture).
    """
    wanted = np.zeros(1 + max(class_ids, default=0), dtype=bool)
    wanted[list(class_ids)] = True
    known = index.class_id < len(wanted)
    rows = np.flatnonzero(index.in_truth & known)
    rows = rows[wanted[index.class_id[rows]]]
    at, size = index.at[rows], len(index.ids)
    classes = np.bincount(at, minlength=size)
    pixels = np.bincount(at, weights=index.truth_pixels[rows], minlength=size)
    iou = np.bincount(at, weights=index.iou[rows], minlength=size) / np.maximum(classes, 1)
    order = np.lexsort((-pixels, -classes))  # stable: equal ones stay in the order of their ids
    order = order[classes[order] > 0]
    return pd.DataFrame(
        {
            "image_id": pd.Series([index.ids[one] for one in order], dtype=object),
            "classes": classes[order],
            "pixels": pixels[order].astype(np.int64),
            "iou": iou[order],
        }
    )


def pixel_place(points: pd.DataFrame, nearest: pd.DataFrame) -> list[float] | None:
    """Where a pixel's star goes: amid its nearest classes, by their probabilities.

    The map has no place for a pixel itself, as it was laid out from the classes alone.

    Args:
        points: The classes of the map.
        nearest: The pixel's nearest classes: class_id, probability.

    Returns:
        One coordinate per axis; None where none of the classes is in the map.
    """
    axes = [axis for axis in "xyz" if axis in points]
    rows = nearest.merge(points[["class_id", *axes]], on="class_id", how="inner")
    weight = rows["probability"].to_numpy(dtype=np.float64)
    if not len(rows) or not np.isfinite(weight).all():
        return None
    weight = np.maximum(weight, np.finfo(np.float64).tiny)
    places = rows[axes].to_numpy(dtype=np.float64)
    return [float(value) for value in weight @ places / weight.sum()]
