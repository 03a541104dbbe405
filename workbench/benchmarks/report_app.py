"""The section about the app on the page about performance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workbench.benchmarks.report_text import IDLE, host, mib
from workbench.benchmarks.rows import Row
from workbench.errors import DataError

TARGETS: Final = {"cold": 3.0, "warm": 1.0, "click": 0.4}
"""Seconds within which a page is drawn or a click is answered."""

MOST_BYTES: Final = 2 * 2**30
"""Resident memory of the server, at most."""

_SECTION = """\
## The app

`workbench bench app` on a generated evaluation: {size}. A \
headless Chromium clicks as a person would and waits until the page shows the change and its \
script has ended.

| promise | measured | |
|---|---:|---|
{targets}

**Drawing a page.** Cold: a server that has just started, so nothing is in its memory; the browser \
knows Streamlit's scripts. Warm: a click on the sidebar's link. Seconds, medians (the longest in \
brackets) of {cold} and {warm} paints.

| page | cold | warm |
|---|---:|---:|
{paints}

**Clicks and filters**, seconds, medians (the longest in brackets) of up to {clicks} each.

| page | action | seconds |
|---|---|---:|
{actions}

{three}Machine: {place}.
{busy}{notes}
```sh
workbench bench app --json benchmarks/app.json
```
"""


def render_app(rows: Sequence[Row]) -> str:
    """The section as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.app.run_app`.

    Raises:
        DataError: There are no rows.
    """
    if not rows:
        raise DataError("no rows to report: run workbench bench app --json FILE")
    machine = rows[0]["machine"]
    paints: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["condition"] in ("cold", "warm"):
            paints.setdefault(row["page"], {})[row["condition"]] = row
    clicks = _of(rows, "click")
    return _SECTION.format(
        size=_size(rows[0]),
        targets="\n".join(_targets(rows)),
        cold=_most_runs(_of(rows, "cold")),
        warm=_most_runs(_of(rows, "warm")),
        clicks=_most_runs(clicks),
        paints="\n".join(
            f"| {_name(page)} | {_figure(of.get('cold'))} | {_figure(of.get('warm'))} |"
            for page, of in paints.items()
        ),
        actions="\n".join(
            f"| {_name(row['page'])} | {row['action']} | {_figure(row)} |" for row in clicks
        ),
        three=_three(rows),
        place=host(machine),
        busy=_busy(machine["load"]),
        notes="".join(
            f"\n{_name(row['page'])}, {row['action']} ({row['condition']}): {row['note']}.\n"
            for row in rows
            if row["note"]
        ),
    )


def _targets(rows: Sequence[Row]) -> list[str]:
    """Lines of the table of promises: what, the slowest of the medians, reached or not."""
    lines = []
    for condition, what in (
        ("cold", "first paint of any page, cold data cache: 3 s"),
        ("warm", "paint of any page, warm: 1 s"),
        ("click", "click or filter until the repaint: 0.4 s"),
    ):
        asked = _of(rows, condition)
        some = [row for row in asked if row["seconds"] is not None]
        reached = [row for row in some if row["seconds"] <= TARGETS[condition]]
        missed = len(asked) - len(reached)  # what could not be measured is not reached
        verdict = f"not reached by {missed} of {len(asked)}" if missed else "reached"
        slowest = "not measured"
        if some:
            worst = max(some, key=lambda row: row["seconds"])
            slowest = f"{worst['seconds']:.2f} s ({_name(worst['page'])}, {worst['action']})"
        if asked:
            lines.append(f"| {what} | {slowest} | {verdict} |")
    peak = max(row["peak_bytes"] for row in rows)
    verdict = "reached" if peak <= MOST_BYTES else "not reached"
    lines.append(f"| memory of the process: 2 GiB | {mib(peak)} MiB | {verdict} |")
    three = _of(rows, "three")
    if three:
        errors = sum(row["errors"] for row in three)
        verdict = "reached" if errors == 0 and not three[0]["note"] else "not reached"
        lines.append(f"| three sessions at once keep working | {errors} errors | {verdict} |")
    return lines


def _size(row: Row) -> str:
    """What the run that was measured holds; rows of older files know its images only."""
    parts = [f"{row['images']:,} images"]
    if "kept" in row:
        parts[0] += ", all with pictures" if row["kept"] == row["images"] else ""
        parts[0] += f" ({row['kept']:,} with pictures)" if row["kept"] != row["images"] else ""
        parts += [
            f"{row['classes']:,} classes",
            f"{row['image_class_rows']:,} image-class rows",
            f"{row['confusions']:,} pairs of confused classes",
        ]
    return ", ".join(parts)


def _three(rows: Sequence[Row]) -> str:
    three = _of(rows, "three")
    if not three or three[0]["seconds"] is None:
        return ""
    row = three[0]
    return (
        f"Three sessions that follow links at the same moment: a page after {row['seconds']:.2f} s "
        f"in the median, {row['slowest']:.2f} s at most, over {row['runs']} paints.\n\n"
    )


def _of(rows: Sequence[Row], condition: str) -> list[Row]:
    return [row for row in rows if row["condition"] == condition]


def _most_runs(rows: Sequence[Row]) -> int:
    return max((row["runs"] for row in rows), default=0)


def _name(page: str) -> str:
    return page.replace("_", " ").capitalize()


def _figure(row: Row | None) -> str:
    if row is None:
        return ""
    if row["seconds"] is None:
        return "not measured"
    return f"{row['seconds']:.2f} ({row['slowest']:.2f})"


def _busy(load: float) -> str:
    if load <= IDLE:
        return ""
    return f"\nOther work went on beside these measurements (load {load}): times are too long.\n"
