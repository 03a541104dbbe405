"""The section of the page about reliability on the app: under load, and among strangers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workbench.benchmarks.report_text import IDLE, host, mib, seconds
from workbench.benchmarks.rows import Row

_FLAT: Final = 0.02  # of the memory, in half the time

_LOAD = """\
## The app

### Under load

{sessions} sessions for {minutes:g} minutes on a generated evaluation of LVIS's size ({images:,} \
images, {classes:,} classes, {pairs:,} image-class rows). {people}Each opens every page once, \
then acts at will: another page, or one of the widgets that it finds (search, order, class, run, \
row, point, pixel, form), with pauses of {think:g} s in the mean, as people think (exponential, 1 \
to 30 s). {warm_up}An error is a box with an exception or a refusal on the page, a traceback in \
what the server says, a lost connection, or no answer within a minute.

**{acts:,} acts, {errors}.**{problems}

Seconds from an act to the end of the script that answers it, over the protocol:

| act | times | p50 | p95 | slowest | errors |
|---|---:|---:|---:|---:|---:|
{actions}
{browser}
**Memory of the server**: {begin} MiB at the beginning of these {minutes:g} minutes, {peak} MiB at \
most. A straight line through all samples from then on changes by **{share:+.1%}** in all \
({slope:+.1f} MiB a minute); the aim is a flat line{flat}. Caches are bounded by numbers of \
entries; sessions that end are forgotten by Streamlit after two minutes.

Server, clients and browser shared {place}:
{busy}
```sh
PYTHONPATH=tests python -m helpers.load --sessions {sessions} --minutes {minutes:g} \\
  --warm-up {warm_up_minutes:g} --seed {seed} --json benchmarks/reliability/load.json
```

"""

_SECURITY = """\
### Who gets in, and what gets out

The settings lie in `app/.streamlit/config.toml`, beside the app's entry point: they hold wherever \
it is started from, and win over other such files. All is tried on a running server \
(`tests/app/test_server.py`), once started from its checkout and once from a folder with settings \
that would allow everything, and in a real browser (`tests/browser/test_hostile.py`).

| what | what happens |
|---|---|
| connections from another machine | not possible: it listens on the loopback addresses only |
| a session opened by another site | refused by its origin; also where that site's name was made \
to mean this machine (DNS rebinding), by the name |
| an upload without the page's token, or with another's (XSRF) | refused: 403 |
| an upload above 40 MB | refused unread: 413; the pages take 20 MB |
| another site reads an answer (CORS) | no answer allows it |
| `/media`, `/static`, `/app/static`, `/component` and others with `..`, encoded or not | no file \
of the machine, of the app or of a run comes out |
| `?run=../private`, `/etc`, and the like, also for images, splits and classes | the choice is \
not taken; the page says so |
| a run that is a link, or holds one, to a place outside of the folder of runs; a pipe | not \
shown, and it is said why (`tests/runs/test_links.py`) |
| names of classes, groups, runs, splits, pictures and settings with HTML, Markdown, LaTeX, icons \
or `javascript:` links | text on every page, in tables, charts, what the pointer rests on, and \
the app's own components |
| a class whose name is a spreadsheet's formula | a sign before it, in downloads and in tables, \
which browsers can save (`tests/app/test_frames.py`, `tests/app/test_failure_frames.py`) |
| a colour that is a style | never taken: colours come from the checked vocabulary \
(`tests/app/test_data.py`) |
| a page that fails | a box without type, message or traceback; those are in the terminal |
| programs that drive the app (Streamlit's agent interface) | switched off |
"""


def render_load(rows: Sequence[Row]) -> str:
    """The section.

    Args:
        rows: Of ``helpers.load``.
    """
    whole, memory = _only(rows, "load"), _only(rows, "memory")
    errors = whole["errors"]
    seen = [f"- {one['what']} ({one['count']} times)" for one in whole["problems"]]
    people = "All but one speak the app's protocol as a browser's tab does, that one is a Chromium."
    load = _LOAD.format(
        sessions=whole["sessions"],
        minutes=whole["minutes"],
        images=whole["images"],
        classes=whole["classes"],
        pairs=whole["image_class_rows"],
        people=f"{people} " if whole["browser"] else "",
        think=whole["think_seconds"],
        warm_up=_warm_up(whole),
        warm_up_minutes=whole["warm_up_minutes"],
        acts=whole["acts"],
        errors=f"{errors:,} error{'s' * (errors != 1)}" if errors else "no error",
        problems="".join(f"\n{line}" for line in ["", *seen]) if seen else "",
        actions="\n".join(_line(row) for row in rows if row["what"] == "action"),
        browser=_browser([row for row in rows if row["what"] == "browser"]),
        begin=mib(memory["resident_bytes"]),
        peak=mib(memory["peak_bytes"]),
        share=memory["growth_share"],
        flat="" if abs(memory["growth_share"]) <= _FLAT else ", which this is not",
        slope=memory["bytes_per_minute"] / 2**20,
        place=host(whole["machine"]),
        busy=_busy(whole["machine"]["load"]),
        seed=whole["seed"],
    )
    return load + _SECURITY


def _warm_up(whole: Row) -> str:
    if not whole["warm_up_minutes"]:
        return ""
    return (
        f"Before, the same people act for {whole['warm_up_minutes']:g} minutes in a hurry, "
        f"{whole['warm_up_acts']:,} times: what the server keeps fills up. The warm-up counts for "
        "errors, not for times. "
    )


def _busy(load: float) -> str:
    if load <= IDLE:
        return ""
    return f"\nOther work went on beside (load {load} before the first act): times are too long.\n"


def _only(rows: Sequence[Row], what: str) -> Row:
    return next(row for row in rows if row["what"] == what)


def _line(row: Row) -> str:
    figures = (row["p50"], row["p95"], row["slowest"])
    return (
        f"| {row['action']} | {row['count']:,} | "
        f"{' | '.join(seconds(one) for one in figures)} | {row['errors']:,} |"
    )


def _browser(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    head = "In the browser, until the change is to be seen (it draws on the same processor):"
    table = "\n".join(_line(row) for row in rows)
    names = "| act | times | p50 | p95 | slowest | errors |\n|---|---:|---:|---:|---:|---:|"
    return f"\n{head}\n\n{names}\n{table}\n"
