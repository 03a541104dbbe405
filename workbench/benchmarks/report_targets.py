"""What was aimed at and what is reached, from the committed rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from workbench.benchmarks.report_steps import saving, without
from workbench.benchmarks.report_text import pick, significant
from workbench.benchmarks.rows import Row

Results = Mapping[str, Sequence[Row]]
Values = Iterator[tuple[str, float]]

_OURS = ("streaming", "nearest")
_FEW, _MANY, _MILLION = 21, 1284, 1_000_000


class Target(NamedTuple):
    """A ratio that is aimed at.

    Attributes:
        what: Is divided by what.
        limit: The ratio.
        at_least: Whether larger is better.
        reached: From the rows of all benchmarks to (of what, the ratio); nothing where they
            were not measured.
        remark: Why it is not reached, for the page.
    """

    what: str
    limit: float
    at_least: bool
    reached: Callable[[Results], Values]
    remark: str = ""


def _steps(results: Results) -> tuple[list[Row], list[Row]]:
    """Rows of ``bench step`` over all pixels, and over sampled ones."""
    rows = results.get("step", ())
    return [row for row in rows if not row["sampled"]], [row for row in rows if row["sampled"]]


def peak_to_dense_few(results: Results) -> Values:
    """Peak memory of a step at 1,284 classes, over that of a dense head at 21."""
    rows, _ = _steps(results)
    dense = pick(rows, method="dense", classes=_FEW)
    for method in _OURS:
        row = pick(rows, method=method, classes=_MANY)
        if dense is not None and row is not None:
            yield method, row["peak_bytes"] / dense["peak_bytes"]


def _peak_above(results: Results) -> Values:
    rows, _ = _steps(results)
    dense = pick(rows, method="dense", classes=_MANY)
    for method in _OURS:
        row = pick(rows, method=method, classes=_MANY)
        saved = None if dense is None or row is None else saving(dense, row)
        if saved is not None:
            yield method, saved


def _time_to(dense: Row | None, rows: Sequence[Row]) -> Values:
    for method in _OURS:
        row = pick(rows, method=method, classes=_MANY)
        if dense is not None and row is not None:
            yield method, dense["seconds"] / row["seconds"]


def step_time(results: Results) -> Values:
    """Time of a step of a dense head at 1,284 classes, over that of the embedding."""
    rows, _ = _steps(results)
    return _time_to(pick(rows, method="dense", classes=_MANY), rows)


def _sampled_time(results: Results) -> Values:
    rows, sampled = _steps(results)
    return _time_to(pick(rows, method="dense", classes=_MANY), sampled)


def to_a_million(results: Results) -> Values:
    """Peak memory of a step at a million classes over that at 21, table and state aside."""
    rows = results.get("memory", ())
    for method in _OURS:
        few = pick(rows, method=method, classes=_FEW)
        many = pick(rows, method=method, classes=_MILLION)
        if few is not None and many is not None:
            yield method, (without(many) or 0) / (without(few) or 1)


def _streaming_to_torch(column: str) -> Callable[[Results], Values]:
    def reached(results: Results) -> Values:
        rows = results.get("loss", ())
        theirs = pick(rows, method="torch", classes=_MANY)
        for distance in ("linear", "cosine", "euclidean"):
            ours = pick(rows, method="streaming", classes=_MANY, distance=distance)
            if theirs is not None and ours is not None:
                yield distance, ours[column] / max(theirs[column], 1e-9)

    return reached


def _nearest_to_streaming(results: Results) -> Values:
    rows = results.get("loss", ())
    for distance in ("euclidean", "cosine", "linear"):
        nearest = pick(rows, method="nearest", classes=_MANY, distance=distance)
        exact = pick(rows, method="streaming", classes=_MANY, distance=distance)
        if nearest is not None and exact is not None:
            yield distance, nearest["seconds"] / exact["seconds"]


def _index_to_streaming(results: Results) -> Values:
    rows = results.get("loss_million", ())
    for distance in ("euclidean", "cosine", "linear"):
        index = pick(rows, method="nearest-index", classes=_MILLION, distance=distance)
        exact = pick(rows, method="streaming", classes=_MILLION, distance=distance)
        if index is not None and exact is not None:
            yield f"{distance}, recall {index['recall']}", index["seconds"] / exact["seconds"]


def _prediction(column: str) -> Callable[[Results], Values]:
    def reached(results: Results) -> Values:
        rows = results.get("predict", ())
        ours = pick(rows, method="embedding", classes=_MANY)
        dense = pick(rows, method="dense", classes=_MANY)
        if ours is not None and dense is not None:
            yield "embedding", ours[column] / dense[column]

    return reached


_LIBRARIES = (
    "The compiled kernels load LLVM into the process, once and whatever the classes: a large "
    "part of what the embedding takes above the network. The dense head does without."
)

TARGETS = (
    Target(
        "training step: peak memory of the embedding at 1,284 classes / of dense at 21",
        1.05,
        False,
        peak_to_dense_few,
        _LIBRARIES,
    ),
    Target(
        "training step: peak memory above the network at 1,284 classes, dense / embedding",
        50,
        True,
        _peak_above,
        _LIBRARIES,
    ),
    Target("training step: time at 1,284 classes, dense / embedding", 3, True, step_time),
    Target("the same with 16,384 sampled pixels for the embedding's loss", 6, True, _sampled_time),
    Target(
        "training step: peak memory at 1,000,000 classes / 21, table and optimiser state aside",
        1.10,
        False,
        to_a_million,
    ),
    Target(
        "loss at 1,284 classes: time of streaming / torch's linear_cross_entropy",
        0.9,
        False,
        _streaming_to_torch("seconds"),
    ),
    Target(
        "loss at 1,284 classes: memory of streaming / torch's linear_cross_entropy",
        1.0,
        False,
        _streaming_to_torch("peak_bytes"),
        "Normalised distances keep the unit vectors and the gradients by both; torch's loss knows "
        "only the linear one.",
    ),
    Target(
        "loss at 1,284 classes: time of nearest / streaming",
        1.2,
        False,
        _nearest_to_streaming,
        "The search alone is the full product over all classes, which streaming needs too; and "
        "each small block of pixels, which keeps the memory low, costs nearest two calls of "
        "compiled kernels instead of one.",
    ),
    Target(
        "loss at 1,000,000 classes: time of nearest with an index / streaming",
        0.2,
        False,
        _index_to_streaming,
    ),
    Target(
        "prediction over 1,284 classes: time, embedding / dense", 0.3, False, _prediction("seconds")
    ),
    Target(
        "prediction over 1,284 classes: memory, embedding / dense",
        0.1,
        False,
        _prediction("peak_bytes"),
    ),
)
"""In the order of the page. A remark is only shown where a target is missed."""


def render_targets(results: Results, targets: Sequence[Target] = TARGETS) -> str:
    """The table of targets as Markdown.

    Args:
        results: Name of a benchmark's file -> its rows.
        targets: What is aimed at; one without any measurement is left out.

    Returns:
        A section, empty where nothing was measured.
    """
    lines, remarks = [], []
    for target in targets:
        values = list(target.reached(results))
        if not values:
            continue
        good = [value >= target.limit if target.at_least else value <= target.limit
                for _, value in values]  # fmt: skip
        met = "yes" if all(good) else "in part" if any(good) else "no"
        shown = "; ".join(f"{name} **{significant(value)}**" for name, value in values)
        sign = "≥" if target.at_least else "≤"
        lines.append(f"| {target.what} | {sign} {target.limit:g} | {shown} | {met} |")
        if not all(good) and target.remark:
            remarks.append(f"- {target.what}: {target.remark}")
    if not lines:
        return ""
    head = "## Aims\n\n| ratio | aim | reached | met |\n|---|---:|---|---|\n"
    text = head + "\n".join(lines) + "\n"
    return text + ("\nWhere an aim is missed:\n\n" + "\n".join(remarks) + "\n" if remarks else "")
