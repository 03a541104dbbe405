"""The page about reliability, made from the committed rows: no number is typed in.

``python -m workbench.benchmarks.report_reliability benchmarks/reliability docs/reliability.md``,
or ``make reliability-page``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workbench.benchmarks.report_bounds import render_bounds
from workbench.benchmarks.report_coverage import render_coverage
from workbench.benchmarks.report_load import render_load
from workbench.benchmarks.report_numbers import render_mutations, render_precision
from workbench.benchmarks.report_soak import render_soak
from workbench.benchmarks.report_text import duration, host, mib, seconds
from workbench.benchmarks.rows import Row, read_rows
from workbench.errors import DataError
from workbench.runs import write_text

_HEAD = """\
# Nothing lost, nothing let in

<!-- Made by `make reliability-page` from the rows in `benchmarks/reliability/`; edit \
workbench/benchmarks/report_reliability.py. -->

What happens to work when the machine fails, and to the workbench when a file is damaged or made \
to harm. `make reliability` tries all of it again and makes this page; a small part of the same \
is in `make test`.
"""

_FAULTS = """\
## Faults while writing

Each command works on {work} and is ended at a random moment, {kills} times in all:

- *clock*: `SIGKILL` after a random share of the time that it takes;
- *change*: `SIGKILL` right before a random one of its changes to files: a file opened to be \
written, a rename, a removal;
- *within a file*: the system ends it while it writes, so that a file stays cut at a random byte.

After each: everything that can be seen is whole (each file is read to its end, by other readers \
than the workbench's), the run opens and all that the app reads of it is there or counts as not \
made yet. Half of the commands are then ended a second time as they go on; all are taken up again \
to the end. The result must be that of a call that nobody disturbed, byte for byte (a training: \
loss curve, weights and optimiser; fp32 on a CPU), no finished picture ("kept") may be made \
again, and no temporary file may stay.

| command | clock | change | within a file | taken up to the end | pictures kept | losses |
|---|---:|---:|---:|---:|---:|---:|
{kill_table}

**{losses}.** A training goes on from its last checkpoint: at most {steps_lost} steps were logged \
and had to be done again, with a checkpoint every 3 steps.

### No room, no permission, a wrong clock, a second process

| fault | command | trials | refused in one line | losses |
|---|---|---:|---:|---:|
{other_table}

- *disk full*: a file system in memory with room for 10, 35, 60 and 85 % of the work. The command \
ends with one line, what is there is whole, and with more room it goes on to the same result.
- *read-only folder*: with and without earlier results; nothing in it changes.
- *clock set back*: killed, all files then dated a month ahead, and gone on with by a process \
whose clock is a month behind.
- *two processes*: the first is halted in the middle of its work, a second gets the same folder. \
Where the first does not hold the folder yet or any more, the second does all the work.

What they say:

{said}

Made on {place}, seed {seed}:

```sh
PYTHONPATH=tests python -m helpers.faults --trials {kills_sigkill} --seed {seed} \\
  --others {others} --json benchmarks/reliability/faults.json
```

`--tasks` and `--others` name some of the commands; with `--add` the file keeps the rows of the \
others. Of `prepare` with two processes the one that was started is ended, by the clock alone.
"""

_FUZZ = """\
## Bad input

Small valid files of each kind are damaged, **{cases:,}** times in all: bits and bytes changed, \
pieces cut, dropped, repeated and spliced, extreme numbers put in; of JSON and YAML also the \
values, keys and nesting. A reader has to give a result that holds what is known about it, or \
refuse by the workbench's own error of one line. Anything else counts as a finding: another \
exception, more than 10 s of a processor, more than 2 GiB of memory, a process that dies.

| reader | cases | read all the same | slowest, s | memory, MiB | findings |
|---|---:|---:|---:|---:|---:|
{table}

**{findings}.** "Read all the same" is what damage did not reach, or what its reader passes over \
on purpose (a cut line of the metrics).

Made on {place}, seed {seed}, in {took}:

```sh
PYTHONPATH=tests python -m helpers.fuzz --cases {asked} --seed {seed} \\
  --json benchmarks/reliability/fuzz.json
```

Files made to harm are refused by tests of their own: pickles under any suffix, pictures and \
tables that unpack to more than the memory, nesting without end, YAML whose aliases mean a \
billion values (`tests/reliability/test_refusals.py`), archives that write elsewhere by names or \
links (`tests/datasets/test_unpack.py`), MATLAB files with objects or with numbers of an unknown \
type (`tests/datasets/test_coco_stuff10k.py`). Of exported models, `.pt2` is refused unless \
its reader vouches for it, as torch reads parts of it by pickle; `.npz` is written for others and \
read back by no command. That nothing in the code loads pickles, evaluates \
text or starts a shell is a test too (`tests/test_house_code.py`).
"""


def render_faults(rows: Sequence[Row]) -> str:
    """The section on faults.

    Args:
        rows: Of ``helpers.faults``.
    """
    kills = [row for row in rows if row["fault"] == "kill"]
    others = [row for row in rows if row["fault"] != "kill"]
    by_command = [row["kills"] for row in kills]
    lost = sum(len(row["losses"]) for row in rows)
    kill_lines = [
        f"| `{row['task']}` | {row['kills']['clock']} | {row['kills']['operation']} "
        f"| {row['kills']['byte']} | {row['ends']} | {row['kept'] or ''} | {len(row['losses'])} |"
        for row in kills
    ]
    other_lines = [
        f"| {row['fault']} | `{row['task']}` | {row['trials']} | {row['refused']} "
        f"| {row.get('skipped') or len(row['losses'])} |"
        for row in others
    ]
    said = {line: None for row in others for line in row["said"][:1]}
    total = sum(sum(one.values()) for one in by_command)
    return _FAULTS.format(
        work="24 generated pictures of 64 x 64 pixels with 300 classes",
        kills=total,
        kill_table="\n".join(kill_lines),
        losses=f"{total} ends, {lost} losses" if lost else f"{total} ends, no loss",
        steps_lost=max((row["steps_lost"] for row in kills), default=0),
        other_table="\n".join(other_lines),
        said="\n".join(f"    {line}" for line in said),
        place=host(rows[0]["machine"]),
        seed=rows[0]["seed"],
        kills_sigkill=total,
        others=",".join(dict.fromkeys(row["task"] for row in others)),
    )


def render_fuzz(rows: Sequence[Row]) -> str:
    """The section on bad input.

    Args:
        rows: Of ``helpers.fuzz``.
    """
    cases = sum(row["cases"] for row in rows)
    found = sum(one["cases"] for row in rows for one in row["findings"])
    lines = [
        f"| {row['target']} | {row['cases']:,} | {row['taken']:,} | {seconds(row['slowest'])} "
        f"| {mib(row['peak_bytes'])} | {sum(one['cases'] for one in row['findings'])} |"
        for row in rows
    ]
    return _FUZZ.format(
        cases=cases,
        table="\n".join(lines),
        findings=f"{found:,} findings" if found else "No findings",
        place=host(rows[0]["machine"]),
        seed=rows[0]["seed"],
        took=duration(sum(row["seconds"] for row in rows)),
        asked=rows[0]["asked"],
    )


SECTIONS: dict[str, Callable[[Sequence[Row]], str]] = {
    "faults": render_faults,
    "fuzz": render_fuzz,
    "load": render_load,
    "soak": render_soak,
    "mutations": render_mutations,
    "precision": render_precision,
    "coverage": render_coverage,
    "bounds": render_bounds,
}
"""What the page consists of, in order, as far as there are rows: file name -> section."""


def render_page(results: Mapping[str, Sequence[Row]]) -> str:
    """The page as Markdown.

    Args:
        results: Name of a section -> its rows.

    Raises:
        DataError: There are none.
    """
    if not results:
        raise DataError("no rows to report; measure with make reliability")
    parts = [render(results[name]) for name, render in SECTIONS.items() if name in results]
    return "\n".join([_HEAD, *parts])


def main(source: Path, target: Path) -> None:
    """Writes the page.

    Raises:
        DataError: A file holds something else than rows, or there is none.
    """
    paths = {name: source / f"{name}.json" for name in SECTIONS}
    results = {name: read_rows(path) for name, path in paths.items() if path.exists()}
    write_text(target, render_page(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
