"""The page about accuracy, made from the cells' files: no number is typed in.

``python -m workbench.experiments.report benchmarks/accuracy docs/accuracy.md``, or
``make accuracy``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.benchmarks.report_text import mib, place
from workbench.errors import DataError
from workbench.experiments.plan import (
    BATCHES,
    GIB,
    METHODS,
    Experiment,
    World,
    get_experiment,
)
from workbench.experiments.run import read_cells, standing
from workbench.experiments.summary import Entry, Row, aims, entries, interval, pick
from workbench.runs import write_bytes, write_text

SHOWN = ("budgets", "images", "factors", "classes")
PICTURE = "images/accuracy_why.png"
_GROUPS = ("rare", "common", "frequent", "stuff")

_HEAD = """\
# Accuracy at many classes

<!-- Made by `make accuracy` from `benchmarks/accuracy/`; edit workbench/experiments. -->

Which loss learns 1,284 classes best in the same memory and time, and why. Every number below \
comes from a cell that `workbench experiment NAME` trained; it skips the cells that have their \
file, and goes on with one that was stopped.
"""


def render_protocol(experiment: Experiment) -> str:
    """What was fixed before the first cell was run."""
    world, base = World(), experiment.base
    batches = ", ".join(f"{batch} x {crop} px" for batch, crop in BATCHES)
    return f"""\
## Protocol

- **Data.** ShapeWorld: {world.images:,} training pictures of {world.size} x {world.size} pixels, \
{world.classes:,} classes with the frequencies of LVIS (seed {world.seed}); \
{world.val_images:,} further pictures, every other one for choosing (dev) and the rest for \
reporting (test).
- **Shared by all.** Network `{base.model.network}` (width {base.model.width}, from scratch), \
crop, mirroring, AdamW (learning rate {base.train.lr:g}, times the square root of batch / \
{BATCHES[0][0]}; a twentieth of the steps warms up, then poly), {base.loss.pixels:,} pixels drawn \
a step, weighted by one over the square root of their class's count; only "all pixels" differs. \
Evaluation: all classes the truth shows, mean IoU.
- **Equal memory.** A training step may take {", ".join(f"{m / GIB:g}" for m in _memories())} GiB \
beyond what the process has before it, measured in a fresh process. Each method gets the first \
batch of this list that fits: {batches}. No method gets more than {BATCHES[0][0]} pictures, so \
those that fit the tightest memory at full batch are the same in the larger ones.
- **Equal time.** {experiment.seconds:g} s of training. The time of a step (reading included) is \
measured beforehand, the smallest of three medians; the number of steps follows, so that a cell's \
result does not depend on what else the machine did.
- **Equal images.** Apart from that: {experiment.images:,} images seen, whatever it takes.
- **Seeds.** Three for the methods a claim is made about, else one.
"""


def _memories() -> list[int]:
    return sorted({cell.memory for cell in get_experiment("budgets").cells})


def render_page(rows: Sequence[Row], missing: dict[str, list[str]]) -> str:
    """The page as Markdown.

    Args:
        rows: Of all experiments.
        missing: {experiment: names of its cells without a file}.
    """
    found = entries(rows)
    parts = [_HEAD, render_protocol(get_experiment("budgets")), render_aims(rows)]
    for name in SHOWN:
        mine = [entry for entry in found if entry.first["experiment"] == name]
        if mine:
            parts.append(_SECTIONS[name](mine, found))
    parts.append(render_why(found))
    parts.append(render_missing(missing))
    return "\n".join(part for part in parts if part)


def render_aims(rows: Sequence[Row]) -> str:
    """The table of aims."""
    lines = ["## Aims", "", "| aim | reached | met |", "|---|---|---|"]
    for aim in aims(rows):
        met = {True: "yes", False: "no", None: "not known"}[aim.met]
        lines.append(f"| {aim.text} | {aim.reached or 'its cells were not run yet'} | {met} |")
    return "\n".join([*lines, ""])


def table(found: Sequence[Entry]) -> list[str]:
    """Scores and costs of entries, best first."""
    lines = [
        "| method | batch | steps | images | s / step | peak, MiB | mIoU | "
        + " | ".join(_GROUPS)
        + " | pixel accuracy |",
        "|---|---:|---:|---:|---:|---:|---:|" + "---:|" * 5,
    ]
    for entry in sorted(found, key=lambda e: -e.miou):
        row = entry.first
        several = f" ({entry.low:.3f} to {entry.high:.3f})" if len(entry.rows) > 1 else ""
        groups = [_number(entry.mean("test", "groups", group, "miou")) for group in _GROUPS]
        lines.append(
            f"| {row['title']} | {row['batch']} x {row['crop']} | {row['steps']:,} | "
            f"{row['images_seen']:,} | {row['seconds_per_step']:.2f} | "
            f"{mib(row['peak_bytes'])} | **{entry.miou:.3f}**{several} | "
            + " | ".join(groups)
            + f" | {entry.mean('test', 'pixel_accuracy'):.3f} |"
        )
    return lines


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3f}"


def _render_budgets(mine: Sequence[Entry], _: Sequence[Entry]) -> str:
    lines = ["## Equal memory and time, 1,284 classes", ""]
    for memory in sorted({entry.first["memory"] for entry in mine}):
        here = [entry for entry in mine if entry.first["memory"] == memory]
        lines += [f"{memory / GIB:g} GiB:", "", *table(here), ""]
    return "\n".join([*lines, _machine(mine)])


def _render_images(mine: Sequence[Entry], _: Sequence[Entry]) -> str:
    seen = get_experiment("images").images
    return "\n".join([f"## The same {seen:,} images", "", *table(mine), "", _machine(mine)])


def _render_factors(mine: Sequence[Entry], found: Sequence[Entry]) -> str:
    lines = [
        "## One factor at a time",
        "",
        "From the recipe (exact, cosine, D = 64, learned T), each line changes one thing. The "
        "change has a bootstrap interval over the classes, paired; it does not know what another "
        "seed would give.",
        "",
        "| what | mIoU | change | rare | steps | s / step |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    base = pick(found, "ours", experiment="budgets", memory=mine[0].first["memory"])
    for entry in ([base] if base else []) + sorted(mine, key=lambda e: -e.miou):
        row, change = entry.first, ""
        if base is not None and entry is not base:
            paired = interval(base.first, row)
            change = f"{paired.change:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})"
        rare = _number(entry.mean("test", "groups", "rare", "miou"))
        lines.append(
            f"| {row['title']} | {row['test']['miou']:.3f} | {change} | {rare} | "
            f"{row['steps']:,} | {row['seconds_per_step']:.2f} |"
        )
    return "\n".join([*lines, "", _machine(mine)])


def _render_classes(mine: Sequence[Entry], _: Sequence[Entry]) -> str:
    lines = ["## Where a dense head has no handicap, and where it breaks", ""]
    for classes in sorted({entry.first["classes"] for entry in mine}):
        here = [entry for entry in mine if entry.first["classes"] == classes]
        memory = here[0].first["memory"] / GIB
        lines += [f"{classes:,} classes, {memory:g} GiB:", "", *table(here), ""]
    return "\n".join([*lines, _machine(mine)])


_SECTIONS = {
    "budgets": _render_budgets,
    "images": _render_images,
    "factors": _render_factors,
    "classes": _render_classes,
}


def render_why(found: Sequence[Entry]) -> str:
    """What the diagnostics say, of entries with 1,284 classes."""
    shown = [entry for entry in found if entry.first["classes"] == 1284]
    if not shown:
        return ""
    lines = [
        "## Why",
        "",
        f"![What the losses see and how the classes lie]({PICTURE})",
        "",
        "At pixels of dev pictures, after training: *hit*: share whose true class is among the k "
        "nearest; *covered*: share of the exact softmax that the true class and its 7 nearest "
        "others hold, which is what the paper's loss sees; *untouched*: rare classes without any "
        "gradient; *rank*: effective dimensions of the class table; *crowded*: classes nearer to "
        "another than 0.2.",
        "",
        "| method | mIoU | hit, k = 1 | 7 | 32 | covered, 7 | untouched | rank | "
        "median distance | crowded | T |",
        "|---|" + "---:|" * 10,
    ]
    for entry in sorted(shown, key=lambda e: -e.miou):
        row = entry.first
        inside: dict[str, Any] = row["diagnostics"]
        cells = [f"{inside['hit_rate'].get(k, math.nan):.2f}" for k in ("1", "7", "32")]
        if "crowding" in inside:
            rare = inside["gradients"].get("rare", {}).get("untouched", math.nan)
            cells += [
                f"{inside['covered']['7']:.2f}",
                f"{rare:.2f}",
                f"{inside['effective_rank']:.1f}",
                f"{inside['crowding']['median']:.2f}",
                f"{inside['crowding']['within_margin']:.2f}",
                f"{inside['temperature']:.1f}",
            ]
        else:
            cells += [""] * 6
        budget = f"{row['memory'] / GIB:g} GiB, {row['length']}"
        title = f"{row['title']} ({budget})"
        lines.append(f"| {title} | {row['test']['miou']:.3f} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _machine(mine: Sequence[Entry]) -> str:
    return f"Machine: {place(mine[0].first)}.\n"


def render_missing(missing: dict[str, list[str]]) -> str:
    """Cells that were planned and not run, so that nobody takes their absence for a result."""
    lines = [
        f"- {name}: {len(cells)} of {len(get_experiment(name).cells)} cells: "
        + ", ".join(f"`{cell}`" for cell in cells)
        for name, cells in missing.items()
        if cells
    ]
    if not lines:
        return ""
    return "\n".join(["## Planned and not run yet", "", *lines, ""])


def main(source: Path, target: Path) -> None:
    """Writes the page and, where there are cells, its picture.

    Without any, the page holds the protocol and the aims: they stand before the first result.

    Raises:
        DataError: A cell's method is not one of the plan.
    """
    rows: list[Row] = []
    missing = {}
    for name in SHOWN:
        experiment = get_experiment(name)
        rows += read_cells(experiment, source)
        missing[name] = standing(experiment.cells, source / name).missing
    unknown = {row["method"] for row in rows} - METHODS.keys()
    if unknown:
        raise DataError(f"{source}: unknown methods {', '.join(sorted(unknown))}")
    if rows:
        from workbench.experiments.plot import draw_why

        write_bytes(target.parent / PICTURE, draw_why(entries(rows)))
    write_text(target, render_page(rows, missing))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
