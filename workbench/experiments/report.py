"""The page about accuracy, made from the cells' files: no number is typed in.

``python -m workbench.experiments.report benchmarks/accuracy docs/accuracy.md``, or
``make accuracy``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.benchmarks.rows import Row
from workbench.errors import DataError
from workbench.experiments.added import NAME as ADDED
from workbench.experiments.added import planned_cases, result_file
from workbench.experiments.advice import advice
from workbench.experiments.photos import NAME, file_names
from workbench.experiments.plan import (
    BATCHES,
    GIB,
    METHODS,
    Experiment,
    World,
    get_experiment,
)
from workbench.experiments.report_added import read_added, render_added
from workbench.experiments.report_photos import read_photos, render_photos
from workbench.experiments.report_tables import SECTIONS, render_ladder, render_why
from workbench.experiments.run import read_cells, standing
from workbench.experiments.summary import Entry, aims, entries
from workbench.runs import write_bytes, write_text

PICTURE = "images/accuracy_why.png"

_HEAD = """\
# Accuracy at many classes

<!-- Made by `make accuracy` from `benchmarks/accuracy/`; edit workbench/experiments. -->

Which loss learns 1,284 classes best in the same memory and time, and why. Every number below \
comes from a cell that `workbench experiment NAME` trained; it skips the cells that have their \
file, and goes on with one that was stopped.
"""


_REAL_SETS = """\
## The real sets

Nothing above is about Cityscapes, Pascal VOC, ADE20K, COCO-Stuff or LVIS + COCO: they were not at \
hand, and no model was trained on them here. The presets `paper/cityscapes`, `paper/voc`, \
`paper/ade20k`, `paper/coco-stuff10k` and `paper/lvis-coco` hold the published settings and mark \
our own choices, each for MobileNetV2, ResNet-50 (`-resnet50`) and ResNet-101 (`-resnet101`); \
tests train each two steps on a generated twin. What a user of the authors' code reported, as an \
anchor for whoever trains them: 66.2 mIoU on Cityscapes, 34.4 on ADE20K and 29.7 on COCO-Stuff 10k.
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
those that fit the tightest memory at full batch are the same in the larger ones; where two \
budgets give a method the same settings, one training stands for both.
- **Equal time.** {experiment.seconds:g} s of training. The time of a step (reading included) is \
measured beforehand, the smallest of three medians; the number of steps follows, so that a cell's \
result does not depend on what else the machine did.
- **Equal images.** Apart from that: {get_experiment("images").images:,} images seen, whatever it \
takes.
- **On a GPU**, memory is what torch allocates for a step, pictures are in memory already when a \
step is timed, and once is enough.
- **Seeds.** Three for the methods a claim is made about, else one.
"""


def render_methods() -> str:
    """What the names in the tables stand for, and how to type them."""
    lines = [
        "## Methods",
        "",
        '"Exact" is the cross-entropy over all classes in chunks; "drawn pixels" are those of the '
        'protocol; "ours" is the recipe chosen before the runs. "The paper\'s loss" looks at the '
        'true class and its 7 nearest others; "repaired" keeps the true class from being its own '
        "negative, which the authors' code does not (the quirk). The methods at D = 12 keep the "
        "paper's temperature and separation penalty.",
        "",
        "| method | settings over the shared ones |",
        "|---|---|",
    ]
    lines += [
        f"| {title} | " + " ".join(f"`--{key} {value}`" for key, value in settings.items()) + " |"
        for title, settings in METHODS.values()
    ]
    return "\n".join([*lines, ""])


def _memories() -> list[int]:
    return sorted({cell.memory for cell in get_experiment("budgets").cells})


def render_page(
    rows: Sequence[Row],
    missing: dict[str, list[str]],
    photos: Sequence[Row] = (),
    added: Sequence[Row] = (),
) -> str:
    """The page as Markdown.

    Args:
        rows: Of all experiments.
        missing: {experiment: names of its cells without a file}.
        photos: Of the experiment on real photos.
        added: Of the experiment on classes added from masks.
    """
    found = entries(rows)
    parts = [_HEAD, render_protocol(get_experiment("budgets")), render_methods()]
    parts += [render_aims(rows), render_advice(found)]
    for name, render in SECTIONS.items():
        mine = [entry for entry in found if entry.first["experiment"] == name]
        if mine:
            parts.append(render(mine, found))
    parts += [render_ladder(found), render_why(found, PICTURE)]
    parts += [render_photos(photos), render_added(added), render_missing(missing), _REAL_SETS]
    return "\n".join(part for part in parts if part)


def render_advice(found: Sequence[Entry]) -> str:
    """What to take, where enough cells were run to say so."""
    lines = [f"- {line}" for line in advice(found)]
    return "\n".join(["## What to take", "", *lines, ""]) if lines else ""


def render_aims(rows: Sequence[Row]) -> str:
    """The table of aims."""
    lines = ["## Aims", "", "| aim | reached | met |", "|---|---|---|"]
    for aim in aims(rows):
        met = {True: "yes", False: "no", None: "not known"}[aim.met]
        lines.append(f"| {aim.text} | {aim.reached or 'its cells were not run yet'} | {met} |")
    return "\n".join([*lines, ""])


def render_missing(missing: dict[str, list[str]]) -> str:
    """Cells that were planned and not run, so that nobody takes their absence for a result."""
    lines = []
    for name, cells in missing.items():
        planned = _planned(name)
        if len(cells) == planned:
            lines.append(f"- {name}: none of {planned} cells run yet")
        elif cells:
            names = ", ".join(f"`{cell}`" for cell in cells)
            lines.append(f"- {name}: {len(cells)} of {planned} cells: {names}")
    if not lines:
        return ""
    return "\n".join(["## Planned and not run yet", "", *lines, ""])


def _planned(name: str) -> int:
    if name == NAME:
        return len(file_names())
    return len(planned_cases() if name == ADDED else get_experiment(name).cells)


def main(source: Path, target: Path) -> None:
    """Writes the page and, where there are cells, its picture.

    Without any, the page holds the protocol and the aims: they stand before the first result.

    Raises:
        DataError: A cell's method is not one of the plan.
    """
    rows: list[Row] = []
    missing: dict[str, list[str]] = {}
    for name in SECTIONS:
        experiment = get_experiment(name)
        rows += read_cells(experiment, source)
        missing[name] = standing(experiment.cells, source / name).missing
    photos = [name for name in file_names() if not (source / NAME / f"{name}.json").exists()]
    missing[NAME] = photos
    missing[ADDED] = [c.name for c in planned_cases() if not result_file(source, c).exists()]
    unknown = {row["method"] for row in rows} - METHODS.keys()
    if unknown:
        raise DataError(f"{source}: unknown methods {', '.join(sorted(unknown))}")
    if rows:
        from workbench.experiments.plot import draw_why

        write_bytes(target.parent / PICTURE, draw_why(entries(rows)))
    write_text(target, render_page(rows, missing, read_photos(source), read_added(source)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
