"""The section of the page about reliability on the lines that tests reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workbench.benchmarks.rows import Row

LEAST: Final = 0.9
"""Share of a file's lines below which the page says why they are not reached."""

REASONS: Final[dict[str, str]] = {}
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
