"""Two evaluations of the same classes: what changed, by how much, and how surely.

Pure functions over the class tables that evaluations leave, and over two tables of class
embeddings. A is the run one looks at, B the one it is compared with; every change is B - A.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workbench.evaluation.map_quality import unit_rows
from workbench.evaluation.procrustes import Floats, rotation_onto

TIE: Final = 0.0005
"""Changes of IoU below it count as none: the two agree to three decimals."""

RESAMPLES: Final = 2000
_ENTRIES: Final = 1 << 22  # of one batch of resamples: 32 MB


class Aligned(NamedTuple):
    """The classes of two runs side by side.

    Attributes:
        table: One row per class in both: class_id (of A), class_id_b, name, group,
            supercategory, iou_a, iou_b, change (NaN unless both scored it), train_images and,
            where A knows them, color.
        by_name: Whether the classes were paired by name; else both have the same list.
        only_a: Classes of A alone.
        only_b: Classes of B alone.
        repeated: Classes of either that could not be paired because their name repeats.
    """

    table: pd.DataFrame
    by_name: bool
    only_a: int
    only_b: int
    repeated: int


class Paired(NamedTuple):
    """The change over classes that both runs scored.

    Attributes:
        classes: How many there are.
        miou_a: Mean IoU of A over them.
        miou_b: Mean IoU of B over them.
        change: Mean change, NaN without classes.
        low: Lower end of the interval.
        high: Upper end of the interval.
        wins: Classes where B is better.
        losses: Classes where B is worse.
        ties: Classes without a change worth the name.
    """

    classes: int
    miou_a: float
    miou_b: float
    change: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int


class Drift(NamedTuple):
    """How far each class embedding lies from its twin once the tables lie on each other.

    Attributes:
        distance: (N,) Euclidean between unit vectors, 0..2; NaN where a row has no direction.
        chance: Mean distance that is left when the twins are shuffled: what tables that have
            nothing to do with each other would show.
        padded: Whether the tables differ in width, the narrower one filled up with zeros.
    """

    distance: Floats
    chance: float
    padded: bool


def align_classes(a: pd.DataFrame, b: pd.DataFrame) -> Aligned:
    """Pairs the classes of two evaluations.

    Where both have the same list of names, class n is class n. Else classes are paired by
    name, and those whose name occurs twice in either list are left out.

    Args:
        a: Class table of A: class_id, name, group, supercategory, iou, truth_pixels.
        b: Class table of B.
    """
    same = len(a) == len(b) and list(a["name"]) == list(b["name"])
    keep = ["class_id", "name", "group", "supercategory", "iou", "truth_pixels"]
    keep += [name for name in ("train_images", "color") if name in a]
    other = b[["class_id", "name", "iou", "truth_pixels"]]
    if same:
        twins = other.drop(columns="name").add_suffix("_b").reset_index(drop=True)
        table = pd.concat([a[keep].reset_index(drop=True), twins], axis=1)
        counts = (False, 0, 0, 0)
    else:
        twice = {*a["name"][a["name"].duplicated()], *b["name"][b["name"].duplicated()]}
        in_a, in_b = a["name"].isin(twice), b["name"].isin(twice)
        table = a.loc[~in_a, keep].merge(other[~in_b], on="name", suffixes=("", "_b"))
        pairs = len(table)
        repeated = int(in_a.sum() + in_b.sum())
        counts = (True, int((~in_a).sum()) - pairs, int((~in_b).sum()) - pairs, repeated)
    iou_a = table["iou"].where(table["truth_pixels"] > 0)
    iou_b = table["iou_b"].where(table["truth_pixels_b"] > 0)
    table = table.drop(columns=["iou", "iou_b", "truth_pixels", "truth_pixels_b"])
    table = table.assign(iou_a=iou_a, iou_b=iou_b, change=iou_b - iou_a)
    return Aligned(table, *counts)


def paired_change(
    table: pd.DataFrame, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Paired:
    """The mean change of IoU, with a bootstrap interval over the classes.

    A class is drawn with both its scores, so what makes it easy or hard in both runs cancels.
    The interval (Efron's percentiles) says how much the mean would differ had other classes
    of the same kind been scored; it knows nothing of what another training would give.

    Args:
        table: Columns iou_a, iou_b, change; rows where change is NaN are left out.
        confidence: Share of the resamples within the interval.
        resamples: How often the classes are drawn anew.
        seed: The same seed gives the same interval.
    """
    rows = table[table["change"].notna()]
    change = rows["change"].to_numpy(dtype=np.float64)
    if len(change) == 0:
        nan = float("nan")
        return Paired(0, nan, nan, nan, nan, nan, 0, 0, 0)
    tail = (1.0 - confidence) / 2
    means = _resampled_means(change, resamples, seed)
    low, high = np.quantile(means, [tail, 1.0 - tail])
    wins, losses = int((change >= TIE).sum()), int((change <= -TIE).sum())
    return Paired(
        classes=len(change),
        miou_a=float(rows["iou_a"].mean()),
        miou_b=float(rows["iou_b"].mean()),
        change=float(change.mean()),
        low=float(low),
        high=float(high),
        wins=wins,
        losses=losses,
        ties=len(change) - wins - losses,
    )


def _resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    draws = np.random.default_rng(seed)
    batch = max(1, _ENTRIES // len(values))
    means = []
    for start in range(0, resamples, batch):
        shape = (min(batch, resamples - start), len(values))
        means.append(values[draws.integers(0, len(values), shape)].mean(axis=1))
    return np.concatenate(means)


def change_by_group(table: pd.DataFrame) -> pd.DataFrame:
    """`paired_change` of each group of A, in the order the groups appear.

    Returns:
        Columns group and the fields of `Paired`.
    """
    rows = [
        {"group": str(group), **paired_change(part)._asdict()}
        for group, part in table.groupby("group", sort=False)
    ]
    return pd.DataFrame(rows, columns=["group", *Paired._fields])


def biggest(table: pd.DataFrame, column: str = "change", *, count: int = 20) -> pd.DataFrame:
    """The rows with the largest values of a column, largest first, NaN and non-gains left out.

    Args:
        table: A row per class.
        column: By which; "change" counts as none where it is a tie.
        count: Rows at most.
    """
    rows = table[table[column] > (TIE if column == "change" else 0)]
    return rows.nlargest(count, column)


def smallest(table: pd.DataFrame, *, count: int = 20) -> pd.DataFrame:
    """The classes that lost most, worst first."""
    return table[table["change"] <= -TIE].nsmallest(count, "change")


def drift(a: NDArray[np.floating], b: NDArray[np.floating], *, seed: int = 0) -> Drift:
    """Compares two tables of class embeddings, whatever turns one into the other.

    Rows are brought to unit length, as the distances use them, and B is turned onto A
    (rotation and reflection, never a shift: the origin of directions has a meaning). Tables
    of different width are compared in the wider space: the narrower one, filled up with
    zeros, is the same arrangement of points there, and what its width cannot hold is drift.

    With no more classes than dimensions a rotation can explain almost anything; `chance`
    then comes near the distances found, and they mean nothing.

    Args:
        a: (N, D_a), one row per class.
        b: (N, D_b), the same classes in the same order.
        seed: Of the shuffle behind `chance`.

    Raises:
        ValueError: The tables do not have the same classes.
    """
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ValueError(f"two tables of the same classes, not of shapes {a.shape} and {b.shape}")
    width = max(a.shape[1], b.shape[1])
    # Turned onto one another in as many dimensions: the smaller is filled up with zeros.
    first, second = (
        np.pad(unit_rows(table), ((0, 0), (0, width - table.shape[1]))) for table in (a, b)
    )
    known = _have_direction(first) & _have_direction(second)
    distance = np.full(len(a), np.nan)
    if not known.any():
        return Drift(distance, float("nan"), a.shape[1] != b.shape[1])
    distance[known] = _turned_apart(first[known], second[known])
    shuffled = np.random.default_rng(seed).permutation(int(known.sum()))
    chance = float(_turned_apart(first[known], second[known][shuffled]).mean())
    return Drift(distance, chance, a.shape[1] != b.shape[1])


def _turned_apart(onto: Floats, points: Floats) -> Floats:
    return np.asarray(np.linalg.norm(points @ rotation_onto(points, onto) - onto, axis=1))


def _have_direction(unit: Floats) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(unit).all(axis=1) & unit.any(axis=1))
