"""The section of the page about reliability on versions of the dependencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workbench.benchmarks.rows import Row

_SHOWN: Final = ("torch", "timm", "numpy", "pandas", "streamlit", "plotly", "numba")

_BOUNDS: Final = """\
## Versions of the dependencies

*pinned* are the versions of `constraints.txt`, with which CI runs; *minimum* are the oldest that \
`pyproject.toml` allows; *newest* the newest that were published. One without a row was not run to \
its end. The tests are those of `make test-fast`.

| environment | Python | {shown} | passed | skipped | failed |
|---|---|{lines}---:|---:|---:|
{table}
{failed}
`make test-minimum`, `make test-newest` and, for another Python, `PYTHON=python3.13` make an \
environment, run the tests and write the row; `make audit` compares the pins with the databases \
of known faults, which takes a network. What each dependency is for stands beside its bounds in \
`pyproject.toml`, a test holds that; no dependency may be loaded where it is not needed \
(`tests/test_house.py`), none is downloaded as code at run time.
"""


def render_bounds(rows: Sequence[Row]) -> str:
    """The section.

    Args:
        rows: Of ``helpers.bounds``.
    """
    table = [
        f"| {row['name']} | {row['python']} "
        f"| {' | '.join(row['versions'].get(one, '') for one in _SHOWN)} "
        f"| {row['passed']:,} | {row['skipped']} | {len(row['failed'])} |"
        for row in rows
    ]
    failed = [
        f"- {row['name']}, {row['python']}: `{test}`" for row in rows for test in row["failed"]
    ]
    return _BOUNDS.format(
        shown=" | ".join(_SHOWN),
        lines="---|" * len(_SHOWN),
        table="\n".join(table),
        failed="\n" + "\n".join(failed) + "\n" if failed else "",
    )
