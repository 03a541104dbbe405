"""Cells brought together: seeds of one entry, intervals between two, what was aimed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from workbench.benchmarks.rows import Row
from workbench.evaluation.compare import Paired, paired_change
from workbench.experiments.plan import ROOMY, TIGHT

EMBEDDINGS = ("ours", "nearest", "euclidean", "cosine", "linear", "linear-64")


class Entry(NamedTuple):
    """One method under one budget, over its seeds.

    Attributes:
        rows: One per seed.
        miou: Mean over the seeds of the test mIoU.
        low: Smallest of them.
        high: Largest of them.
    """

    rows: Sequence[Row]
    miou: float
    low: float
    high: float

    @property
    def first(self) -> Row:
        """The row of the first seed: batch, steps and titles are the same in all."""
        return self.rows[0]

    def mean(self, *path: str) -> float:
        """Mean over the seeds of a number within their rows; NaN where one lacks it."""
        values = []
        for row in self.rows:
            value: Any = row
            for key in path:
                value = value.get(key) if isinstance(value, Mapping) else None
            values.append(np.nan if value is None else float(value))
        return float(np.mean(values))


def entries(rows: Sequence[Row]) -> list[Entry]:
    """Groups rows over their seeds, in the order they come."""
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (row["experiment"], row["method"], row["classes"], row["memory"], row["length"])
        found.setdefault(key, []).append(row)
    made = []
    for members in found.values():
        scores = [row["test"]["miou"] for row in members]
        made.append(Entry(members, float(np.mean(scores)), min(scores), max(scores)))
    return made


def pick(found: Sequence[Entry], method: str, **columns: object) -> Entry | None:
    """The entry of a method whose columns are these, None if it was not run."""
    for entry in found:
        row = entry.first
        if row["method"] == method and all(row[name] == value for name, value in columns.items()):
            return entry
    return None


def interval(a: Row, b: Row) -> Paired:
    """How much more mIoU B has than A, with a bootstrap interval over the classes."""
    first, second = (np.array(row["test_iou"], dtype=np.float64) for row in (a, b))
    table = pd.DataFrame({"iou_a": first, "iou_b": second, "change": second - first})
    return paired_change(table)


class Aim(NamedTuple):
    """Something the issue asks for.

    Attributes:
        text: What.
        reached: What was measured, empty if its cells were not run.
        met: Whether it is enough, None if unknown.
    """

    text: str
    reached: str
    met: bool | None


def aims(rows: Sequence[Row]) -> list[Aim]:
    """The aims and how far they are met, from the rows there are."""
    found = entries(rows)
    return [
        *_against_dense(found),
        _where_dense_has_room(found),
        _against_the_paper(found),
        _rare_classes(found),
    ]


def _against_dense(found: Sequence[Entry]) -> list[Aim]:
    tight = {"memory": TIGHT, "length": "time", "experiment": "budgets"}
    ours = [entry for name in EMBEDDINGS if (entry := pick(found, name, **tight))]
    made = []
    for method, words in (("dense-all", "on all pixels"), ("dense", "on drawn pixels")):
        text = f"best embedding / dense {words}, tightest memory, equal time: at least 3"
        dense = pick(found, method, **tight)
        if dense is None or not ours:
            made.append(Aim(text, "", None))
            continue
        best = max(ours, key=lambda entry: entry.mean("dev", "miou"))  # chosen on dev
        ratio = best.miou / dense.miou if dense.miou > 0 else float("inf")
        told = f"{best.first['title']}: {best.miou:.3f} / {dense.miou:.4f} = **{ratio:.1f}**"
        made.append(Aim(text, told, ratio >= 3))
    return made


def _where_dense_has_room(found: Sequence[Entry]) -> Aim:
    text = (
        "best embedding minus best dense on the same images, where dense has room (mIoU above "
        "0.2): 0 or above"
    )
    there = [e for e in found if (e.first["experiment"], e.first["memory"]) == ("images", ROOMY)]
    heads = [entry for entry in there if entry.first["method"].startswith("dense")]
    tables = [entry for entry in there if entry not in heads]
    if not heads or not tables:
        return Aim(text, "", None)
    ours, dense = (max(some, key=lambda e: e.mean("dev", "miou")) for some in (tables, heads))
    change = interval(dense.first, ours.first)
    told = (
        f"{ours.first['title']}: {ours.miou:.3f}; {dense.first['title']}: {dense.miou:.3f}; "
        f"**{change.change:+.3f}** ({change.low:+.3f} to {change.high:+.3f})"
    )
    if "adjusted" in ours.first["method"] and not any(
        "adjusted" in e.first["method"] for e in heads
    ):
        told += "; no dense head was trained with adjusted logits"
    if dense.miou <= 0.2:
        told += f"; dense reached only {dense.miou:.3f}"
    return Aim(text, told, change.high >= 0 if dense.miou > 0.2 else None)


def _against_the_paper(found: Sequence[Entry]) -> Aim:
    text = "ours above the paper's loss, same memory and time, outside the spread of the seeds"
    tight = {"memory": TIGHT, "length": "time", "experiment": "budgets"}
    ours, paper = (pick(found, name, **tight) for name in ("ours", "nearest"))
    if ours is None or paper is None:
        return Aim(text, "", None)
    enough = min(len(ours.rows), len(paper.rows)) > 1
    seeds = f"{len(ours.rows)} and {len(paper.rows)} seeds"
    told = f"**{ours.miou:.3f}** against {paper.miou:.4f}, {seeds}: too few for a spread"
    if enough:
        told = (
            f"**{ours.miou:.3f}** ({ours.low:.3f} to {ours.high:.3f}) against "
            f"{paper.miou:.4f} ({paper.low:.4f} to {paper.high:.4f}), {seeds}"
        )
    return Aim(text, told, ours.low > paper.high if enough else None)


def _rare_classes(found: Sequence[Entry]) -> Aim:
    text = (
        "rare classes: sampling or logit adjustment / plain training at least 2, "
        "losing at most 0.01 overall"
    )
    plain = pick(found, "ours-even", experiment="factors")
    names = ("ours", "ours-adjusted", "ours-adjusted-half", "ours-repeat")
    others = [entry for name in names if (entry := pick(found, name, memory=TIGHT, length="time"))]
    if plain is None or not others:
        return Aim(text, "", None)
    rare = ("groups", "rare", "miou")
    best = max(others, key=lambda entry: entry.mean("dev", *rare))
    before, after = plain.mean("test", *rare), best.mean("test", *rare)
    ratio = after / before if before > 0 else float("inf")
    times = f"{ratio:.1f}" if before > 0 else "from nothing"
    told = (
        f"{best.first['title']}: {before:.4f} to {after:.4f} = **{times}**, "
        f"overall {best.miou - plain.miou:+.3f}"
    )
    return Aim(text, told, ratio >= 2 and best.miou - plain.miou >= -0.01)
