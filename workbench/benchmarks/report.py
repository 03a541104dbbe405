"""The page about performance, made from the committed rows: no number is typed in.

``python -m workbench.benchmarks.report benchmarks docs/performance.md``, or
``make performance``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.benchmarks.report_loading import render_loading
from workbench.benchmarks.report_prepare import render_prepare
from workbench.errors import DataError
from workbench.runs import write_text

Row = Mapping[str, Any]

_MIB = 2**20
_IDLE = 0.5  # running processes of others, on average, up to which times are worth keeping

_PAGE = """\
# What a number of classes costs

<!-- Made by `make performance` from the rows in `benchmarks/`; edit workbench/benchmarks. -->

Peak memory and time of one training step, as `workbench bench memory` measures them: every \
line in a fresh process, on random pictures, with the loss over {pixels}.

{setting}

{table}

"Peak" is the largest resident memory of the whole process on a CPU (interpreter, libraries, \
weights, activations and optimiser state), and the largest memory torch had allocated on a \
GPU. {floor} "Above the network" is the peak minus that of the same step without a head: the \
network with its gradients and optimiser, but no class scores and no loss. `dense` is the \
baseline with one output channel per class, `nearest` the paper's loss, `streaming` the exact \
loss in tiles.

{ratios}{busy}
To repeat it on your machine, and to make this page again:

```sh
workbench bench memory --classes {classes} --json benchmarks/memory.json
make performance
```
"""


SECTIONS: dict[str, Callable[[Sequence[Row]], str]] = {
    "prepare": render_prepare,
    "loading": render_loading,
}
"""What follows the page's first part, where there are rows: name of the benchmark -> section."""


def render_page(rows: Sequence[Row]) -> str:
    """The page's first part, about the memory of a step, as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.memory.run_memory`.

    Raises:
        DataError: There are no rows.
    """
    if not rows:
        raise DataError("no rows to report: run workbench bench memory --json FILE")
    first = rows[0]
    everything = first["pixels"] == first["batch_size"] * first["crop"] ** 2
    starts = [row["start_bytes"] for row in rows if row["start_bytes"] is not None]
    before = f"{_mib(min(starts))} to {_mib(max(starts))} MiB" if starts else "an unknown part"
    idle = first["machine"]["load"] <= _IDLE
    facts = [f"- {name}: **{_significant(value)}**" for name, value in ratios(rows, times=idle)]
    return _PAGE.format(
        pixels="all pixels" if everything else f"{first['pixels']:,} sampled pixels",
        setting=render_setting(first),
        table=render_markdown(rows),
        floor=f"Of it, {before} are there before the first step.",
        ratios="".join(f"{fact}\n" for fact in facts),
        busy=render_busy(first["machine"]),
        classes=",".join(str(count) for count in sorted({row["classes"] for row in rows})),
    )


def render_setting(row: Row) -> str:
    """Network and machine in two sentences."""
    machine = row["machine"]
    network = row["network"] + (f" over {row['backbone']}" if row["backbone"] else "")
    place = f"{machine['cpu']}, {machine['cpu_count']} cores, {_gib(machine['ram_bytes'])} GiB"
    if row["device"] == "cuda":
        place = f"{', '.join(machine['gpus'])} (host: {place})"
    return (
        f"Step: {network}, {row['batch_size']} images of {row['crop']} x {row['crop']} pixels, "
        f"{row['dtype']}; times are medians of {row['steps']} steps after one more.\n"
        f"Machine: {place}, torch {machine['torch']}."
    )


def render_busy(machine: Mapping[str, Any]) -> str:
    """A warning where other work went on beside the measurements, else nothing."""
    if machine["load"] <= _IDLE:
        return ""
    return (
        "\nThe machine was busy with other work (load "
        f"{machine['load']} before the first line): the memory figures hold, "
        "the times, CPU times included, are too long and are not compared.\n"
    )


def render_markdown(rows: Sequence[Row]) -> str:
    """The table of measurements: a line per method and class count.

    Args:
        rows: With "method", "classes", "peak_bytes", "baseline_bytes", "seconds",
            "cpu_seconds" and "note"; figures may be None.
    """
    head = (
        "| method | classes | peak, MiB | above the network, MiB | s per step | CPU s per step |\n"
        "|---|---:|---:|---:|---:|---:|"
    )
    lines = []
    for row in rows:
        name = f"| {row['method']} | {row['classes']:,} |"
        if row["peak_bytes"] is None:
            lines.append(f"{name} {row['note']} | | | |")
            continue
        above = above_network(row)
        lines.append(
            f"{name} {_mib(row['peak_bytes'])} | {'' if above is None else _mib(above)} "
            f"| {row['seconds']:.2f} | {row['cpu_seconds']:.2f} |"
        )
    return "\n".join((head, *lines))


def above_network(row: Row) -> int | None:
    """Bytes a step takes beyond the same step without a head; None where one is unknown."""
    if row["peak_bytes"] is None or row["baseline_bytes"] is None:
        return None
    return max(0, int(row["peak_bytes"]) - int(row["baseline_bytes"]))


def ratios(rows: Sequence[Row], *, times: bool = True) -> Iterator[tuple[str, float]]:
    """What the embedding saves, in words and numbers, for each method with a class table.

    Args:
        rows: With "dense" at the fewest and at the most classes; what is missing is left out.
        times: Whether the times are worth comparing.

    Yields:
        (what is divided by what, the ratio).
    """
    few, many = min(row["classes"] for row in rows), max(row["classes"] for row in rows)
    by = {(row["method"], row["classes"]): row for row in rows if row["peak_bytes"] is not None}
    dense_few, dense_many = by.get(("dense", few)), by.get(("dense", many))
    for method in dict.fromkeys(row["method"] for row in rows if row["method"] != "dense"):
        row = by.get((method, many))
        if row is None:
            continue
        if dense_few is not None:
            yield (
                f"peak, {method} at {many:,} classes / dense at {few:,}",
                row["peak_bytes"] / dense_few["peak_bytes"],
            )
        if dense_many is not None:
            above, dense_above = above_network(row), above_network(dense_many)
            if above and dense_above:
                yield (
                    f"peak above the network at {many:,} classes, dense / {method}",
                    dense_above / above,
                )
            if times:
                yield (
                    f"time of a step at {many:,} classes, dense / {method}",
                    dense_many["seconds"] / row["seconds"],
                )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Reads the rows that ``workbench bench ... --json FILE`` wrote.

    Raises:
        DataError: The file is missing or is something else.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot read the rows; make them with workbench bench {path.stem} "
            f"--json {path}"
        ) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of rows, as workbench bench --json writes it")
    return rows


def _mib(value: int) -> str:
    return f"{value / _MIB:,.0f}"


def _gib(value: int) -> str:
    return f"{value / 2**30:.0f}"


def _significant(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def main(source: Path, target: Path) -> None:
    """Writes the page.

    Args:
        source: Folder with ``memory.json``, and one file for each further section.
        target: The page.

    Raises:
        DataError: A file is missing or holds something else.
    """
    parts = [render_page(read_rows(source / "memory.json"))]
    for name, render in SECTIONS.items():
        path = source / f"{name}.json"
        if path.exists():
            parts.append(render(read_rows(path)))
    write_text(target, "\n".join(parts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
