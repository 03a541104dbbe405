"""The section of the page about reliability on the lines that tests reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workbench.benchmarks.rows import Row

LEAST: Final = 0.9
"""Share of a file's lines below which the page says why they are not reached."""

_COMPILED: Final = "compiled, and run as machine code that is not counted; tests compare results"
_BROWSER: Final = "drives a Chromium: the browser tests and `workbench bench app` run it"
_SLOW: Final = "a measurement of minutes, which `make test-slow` runs"

REASONS: Final[dict[str, str]] = {
    "workbench/__init__.py": "two lines for a source tree that was never installed",
    "workbench/benchmarks/app.py": _BROWSER,
    "workbench/benchmarks/app_actions.py": _BROWSER,
    "workbench/benchmarks/app_browser.py": _BROWSER,
    "workbench/benchmarks/export.py": _SLOW,
    "workbench/benchmarks/harness.py": "starts fresh interpreters, where tests fork; devices",
    "workbench/benchmarks/machine.py": "what a GPU, or a system without `/proc`, is asked for",
    "workbench/benchmarks/peers.py": "calls of packages that tests do not install",
    "workbench/benchmarks/prepare.py": _SLOW,
    "workbench/benchmarks/throughput.py": _SLOW,
    "workbench/experiments/added.py": "trains for an hour; tests run its parts",
    "workbench/export/trace.py": "the body of a loop that the exporter turns into a graph",
    "workbench/kernels/cpu_build.py": "runs once a machine, in a process that compiles",
    "workbench/kernels/cpu_entries.py": _COMPILED,
    "workbench/kernels/cpu_loops.py": _COMPILED,
    "workbench/kernels/tiles.py": "Triton's, for a GPU or its interpreter; neither is counted",
}
"""File -> why tests reach so few of its lines."""

_COVERAGE: Final = """\
## What the tests reach

`make coverage` counts the lines of `workbench` that `make test-fast` runs, in its own process \
and in those it starts: **{share:.1f} %** of {lines:,}. {files} of its files have lines that are \
not reached; below {least:.0f} % are:

| file | lines | reached | why |
|---|---:|---:|---|
{table}
"""


def render_coverage(rows: Sequence[Row]) -> str:
    """The section.

    Args:
        rows: Of ``helpers.covered``: the library, then its files.
    """
    whole, *files = rows
    few = [row for row in files if row["reached"] / row["lines"] < LEAST]
    table = [
        f"| `{row['file']}` | {row['lines']:,} | {100 * row['reached'] / row['lines']:.0f} % "
        f"| {REASONS.get(row['file'], 'no reason is known')} |"
        for row in few
    ]
    return _COVERAGE.format(
        share=100 * whole["reached"] / whole["lines"],
        lines=whole["lines"],
        files=len(files),
        least=100 * LEAST,
        table="\n".join(table) if table else "| none | | | |",
    )
