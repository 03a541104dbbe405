"""The sections of the page about reliability on numbers: broken formulas, and precision."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.report_text import host, seconds
from workbench.benchmarks.rows import Row

_MUTATIONS = """\
## Formulas broken on purpose

What tests are worth shows when something is wrong: **{count}** mistakes are put into losses, \
distances, kernels and metrics, one at a time, in a copy of the checkout, and the tests of the \
file that was broken are run until one fails. **{caught}.**

"Golden" says whether the committed loss curves move as well: twenty steps of a tiny training \
with each loss (`tests/trainers/golden.json`; not asked for metrics, which no training uses). A \
curve cannot see what its training does not use, such as weights of classes, or kernels for GPUs. \
When a formula changes on purpose, `PYTHONPATH=tests python -m helpers.golden \
tests/trainers/golden.json` makes them anew.

| file | mistake | first test that fails | s | golden |
|---|---|---|---:|---|
{table}

Made on {place}:

```sh
PYTHONPATH=tests python -m helpers.mutations --json benchmarks/reliability/mutations.json
```

Besides, in `make test`: evaluations of real masks of six datasets are those of a plain \
implementation and of scikit-learn, all counts equal (`tests/evaluation/test_real_masks.py`); \
two processes that train with one seed give the same losses and weights, bit by bit, however \
many processes load their pictures (`tests/trainers/test_repeat.py`).
"""

_PRECISION = """\
## bf16 beside fp32

With `train.precision` bf16 the network computes in bf16 (eight bits); losses, class tables and \
optimisers stay in fp32. What that changes at {classes:,} classes, against the same numbers in \
fp32: of the loss, and of its gradients by the network's output ("pixels") and by the class \
table, each as the mean and the largest difference relative to the mean and the largest value.

| loss | D | pixels lie | loss | pixels, mean | largest | table, mean | largest |
|---|---:|---|---:|---:|---:|---:|---:|
{losses}

"Anywhere" is before a training, "close" after it: near their classes' embeddings. Losses over \
the nearest classes differ most at the few pixels that have another last neighbour after rounding.

A training of {steps} tiny steps in both, from the same weights ({curve_classes} classes). Once \
two trainings differ in a bit they go ways of their own; what counts is that they end alike.

| loss | difference of the curves, mean | largest | fp32, last {last} steps | bf16 |
|---|---:|---:|---:|---:|
{curves}

Made on {place}, torch {torch}:

```sh
PYTHONPATH=tests python -m helpers.precision --steps {steps} \\
  --json benchmarks/reliability/precision.json
```
"""

_LIES = {"before training": "anywhere", "after training": "close"}


def render_mutations(rows: Sequence[Row]) -> str:
    """The section on broken formulas.

    Args:
        rows: Of ``helpers.mutations``.
    """
    missed = [row for row in rows if not row["test"]]
    lines = [
        f"| `{row['path'].removeprefix('workbench/')}` | {row['what']} | {_test(row['test'])} "
        f"| {seconds(row['seconds'])} | {_yes(row['golden'])} |"
        for row in rows
    ]
    return _MUTATIONS.format(
        count=len(rows),
        caught=f"{len(missed)} were not noticed" if missed else "Every one is noticed",
        table="\n".join(lines),
        place=host(rows[0]["machine"]),
    )


def _test(name: str) -> str:
    """File and function of a test's name, without its parameters."""
    if not name:
        return "**none**"
    path, _, function = name.partition("::")
    return f"`{path.rpartition('/')[2]}` `{function.partition('[')[0]}`"


def _yes(value: bool | None) -> str:
    return "" if value is None else "moves" if value else "stays"


def render_precision(rows: Sequence[Row]) -> str:
    """The section on bf16.

    Args:
        rows: Of ``helpers.precision``.
    """
    losses = [row for row in rows if row["kind"] == "loss"]
    curves = [row for row in rows if row["kind"] == "curve"]
    loss_lines = [
        f"| {', '.join(filter(None, (row['loss'], row['distance'])))} | {row['dim']} "
        f"| {_LIES[row['situation']]} | {_share(row['loss_difference'])} "
        f"| {_share(row['by_pixels']['mean'])} | {_share(row['by_pixels']['max'])} "
        f"| {_share(row['by_classes']['mean'])} | {_share(row['by_classes']['max'])} |"
        for row in losses
    ]
    curve_lines = [
        f"| {row['case']} | {_share(row['mean'])} | {_share(row['max'])} "
        f"| {row['end_fp32']:.3f} | {row['end_bf16']:.3f} |"
        for row in curves
    ]
    return _PRECISION.format(
        classes=losses[0]["classes"],
        losses="\n".join(loss_lines),
        steps=curves[0]["steps"],
        curve_classes=curves[0]["classes"],
        last=curves[0]["last"],
        curves="\n".join(curve_lines),
        place=host(rows[0]["machine"]),
        torch=rows[0]["machine"]["torch"],
    )


def _share(value: float) -> str:
    """A share in percent, two digits."""
    percent = 100 * value
    if percent < 0.001:
        return "< 0.001 %"
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:#.2g} %"
