"""The section of the page about reliability on long trainings."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.report_text import host, mib
from workbench.benchmarks.rows import Row

_SOAK = """\
## A long training

{steps:,} tiny steps ({checkpoints} checkpoints, {evaluations} evaluations on the way) through \
`workbench train`, watched from outside once a second: memory of all its processes (heap, \
stacks and shared memory, not the libraries), open files, checkpoints on the disk. Growth is from \
the second tenth of the steps to the last, median to median; the first tenth is the warm-up.

| reading processes | samples | memory, MiB | at the end | growth | most | open files | at the end \
| checkpoints at once, most | their size, most, MiB |
|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|
{table}

The policy keeps {kept} checkpoints beside the best one (`train.keep_checkpoints`); one more is \
there while it is written. The aim is a growth below 2 %.

Made on {place}, in {minutes:.0f} minutes:

```sh
PYTHONPATH=tests python -m helpers.soak --steps {steps} --json benchmarks/reliability/soak.json
```
"""


def render_soak(rows: Sequence[Row]) -> str:
    """The section.

    Args:
        rows: Of ``helpers.soak``.
    """
    lines = [
        f"| {row['workers']} | {row['samples']:,} | {mib(row['memory'][0])} "
        f"| {mib(row['memory'][1])} | {100 * row['memory_growth']:+.2f} % "
        f"| {mib(row['memory_most'])} | {row['files'][0]:.0f} | {row['files'][1]:.0f} "
        f"| {row['checkpoints_most']} | {mib(row['disk_most'])} |"
        for row in rows
    ]
    return _SOAK.format(
        steps=rows[0]["steps"],
        checkpoints=rows[0]["checkpoints_written"],
        evaluations=rows[0]["checkpoints_written"] // 10,
        table="\n".join(lines),
        kept=rows[0]["kept"],
        place=host(rows[0]["machine"]),
        minutes=sum(row["seconds"] for row in rows) / 60,
    )
