"""The sections about training steps on the page about performance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.benchmarks.report_text import (
    MIB,
    busy,
    counts,
    mib,
    pick,
    place,
    remarks,
    seconds,
    significant,
)
from workbench.benchmarks.rows import Row

_STEP = """\
## A training step

Peak memory and time of one step of the trainer, as `workbench bench step` measures them: every \
line in a fresh process, on random pictures and masks that use all classes.

{setting}

{tables}

"Peak" is the largest resident memory of the whole process on a CPU (interpreter, libraries, \
compiled kernels, weights, activations and optimiser state), and the largest memory torch had \
allocated on a GPU.{floor} "Above the network" is the peak minus that of the same step without a \
head ({baseline}): the network with its gradients and optimiser, but no class scores and no loss. \
`dense` is the baseline with one output channel per class, `nearest` the paper's loss, `streaming` \
the exact loss over all classes. Loss and gradients of \
each line are compared with float64, on a corner of the network's output.
{busy}
```sh
workbench bench step --classes {classes} --json benchmarks/step.json
```
"""

_MEMORY = """\
## Memory against the number of classes

The same step with a loss over {pixels}, from {few} to {many} classes{penalty}: \
`workbench bench memory`.

![Peak memory and time of a training step against the number of classes]({picture})

{setting}

{table}

The table of C embeddings grows with C, and so does what the optimiser keeps for it: the last \
column is the peak without these two.
{busy}
```sh
{command}
```
"""


def render_step(rows: Sequence[Row], picture: str) -> str:
    """The section about ``benchmarks/step.json`` as Markdown; it has no picture.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.memory.run_memory`.
        picture: Not used.
    """
    first = rows[0]
    tables = []
    for pixels in dict.fromkeys(row["pixels"] for row in rows):
        some = [row for row in rows if row["pixels"] == pixels]
        facts = [f"- {name}: **{significant(value)}**" for name, value in ratios(some)]
        heading = f"The loss over {_pixels(some[0])}:"
        tables.append("\n".join((heading, "", table(some), "", *facts)))
    starts = [row["start_bytes"] for row in rows if row["start_bytes"] is not None]
    floor = f" Of it, {mib(min(starts))} to {mib(max(starts))} MiB are there before the first step."
    return _STEP.format(
        setting=setting(first),
        tables="\n\n".join(tables),
        floor=floor if starts else "",
        baseline=f"{mib(first['baseline_bytes'])} MiB, {seconds(first['baseline_seconds'])} s",
        busy=busy(rows),
        classes=counts(rows),
    )


def render_memory(rows: Sequence[Row], picture: str) -> str:
    """The section about ``benchmarks/memory.json`` as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.memory.run_memory`.
        picture: Address of the picture of these rows.
    """
    first = rows[0]
    classes = sorted({row["classes"] for row in rows})
    penalised = any(row["separation"] for row in rows)
    penalty = ", without the separation penalty (which compares all pairs of classes)"
    command = [f"workbench bench memory --classes {counts(rows)}", f"--steps {first['steps']}"]
    if first["sampled"]:
        command.append(f"--loss.pixels {first['pixels']}")
    if not penalised:
        command.append("--loss.separation_weight 0")
    return _MEMORY.format(
        pixels=_pixels(first),
        few=f"{classes[0]:,}",
        many=f"{classes[-1]:,}",
        penalty="" if penalised else penalty,
        picture=picture,
        setting=setting(first),
        table=table(rows, without_table=True),
        busy=busy(rows),
        command=" \\\n  ".join([*command, "--json benchmarks/memory.json"]),
    )


def _pixels(row: Row) -> str:
    return (
        f"{row['pixels']:,} sampled pixels" if row["sampled"] else f"all {row['pixels']:,} pixels"
    )


def setting(row: Row) -> str:
    """Network and machine in two sentences."""
    network = row["network"] + (f" over {row['backbone']}" if row["backbone"] else "")
    return (
        f"Step: {network}, {row['batch_size']} images of {row['crop']} x {row['crop']} pixels, "
        f"{row['dtype']}; times are {_times(row['steps'])} after one more.\n"
        f"Machine: {place(row)}."
    )


def _times(steps: int) -> str:
    return "of one step" if steps == 1 else f"medians of {steps} steps"


def table(rows: Sequence[Row], *, without_table: bool = False) -> str:
    """A line per method and class count, as Markdown.

    Args:
        rows: Figures may be None, then the note is shown.
        without_table: With a column of the peak without the class table and its state.
    """
    last = " peak without the table, MiB |" if without_table else ""
    head = (
        "| method | classes | peak, MiB | above the network, MiB | s per step | CPU s per step "
        f"|{last}\n|---|---:|---:|---:|---:|---:|{'---:|' if without_table else ''}"
    )
    lines = []
    for row in rows:
        name = f"| {row['method']} | {row['classes']:,} |"
        end = f" {mib(without(row))} |" if without_table else ""
        if row["peak_bytes"] is None:
            lines.append(f"{name} {row['note']} | | | |{' |' if without_table else ''}")
            continue
        lines.append(
            f"{name} {mib(row['peak_bytes'])} | {mib(above_network(row))} "
            f"| {seconds(row['seconds'])} | {seconds(row['cpu_seconds'])} |{end}"
        )
    return "\n".join((head, *lines, *remarks(rows)))


def without(row: Row) -> int | None:
    """The peak without the class table and what the optimiser keeps for it."""
    return None if row["peak_bytes"] is None else int(row["peak_bytes"]) - int(row["table_bytes"])


def above_network(row: Row) -> int | None:
    """Bytes a step takes beyond the same step without a head; None where one is unknown."""
    if row["peak_bytes"] is None or row["baseline_bytes"] is None:
        return None
    return max(0, int(row["peak_bytes"]) - int(row["baseline_bytes"]))


def ratios(rows: Sequence[Row]) -> Iterator[tuple[str, float]]:
    """What the embedding saves, in words and numbers, for each method with a class table.

    Args:
        rows: With "dense" at the fewest and at the most classes; what is missing is left out.

    Yields:
        (what is divided by what, the ratio).
    """
    few, many = min(row["classes"] for row in rows), max(row["classes"] for row in rows)
    dense_few = pick(rows, method="dense", classes=few)
    dense_many = pick(rows, method="dense", classes=many)
    for method in dict.fromkeys(row["method"] for row in rows if row["method"] != "dense"):
        row = pick(rows, method=method, classes=many)
        if row is None:
            continue
        if dense_few is not None:
            yield (
                f"peak, {method} at {many:,} classes / dense at {few:,}",
                row["peak_bytes"] / dense_few["peak_bytes"],
            )
        if dense_many is not None:
            saved = saving(dense_many, row)
            if saved is not None:
                yield f"peak above the network at {many:,} classes, dense / {method}", saved
            yield (
                f"time of a step at {many:,} classes, dense / {method}",
                dense_many["seconds"] / row["seconds"],
            )


def saving(dense: Row, row: Row) -> float | None:
    """The dense head's memory above the network over a method's, which counts as 1 MiB at least.

    Two processes that do the same differ by as much.
    """
    more, less = above_network(dense), above_network(row)
    return None if more is None or less is None else more / max(less, MIB)
