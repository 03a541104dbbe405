"""The tables of the page about accuracy, one section an experiment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from workbench.benchmarks.report_text import mib, place
from workbench.experiments.plan import GIB, get_experiment
from workbench.experiments.summary import Entry, interval, pick

_GROUPS: Final = ("rare", "common", "frequent", "stuff")

LADDER: Final = ("nearest", "euclidean", "cosine", "ours-d12", "ours", "linear-64")
"""From the paper's loss to ours, and the linear table beyond: each step changes one thing."""


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
        groups = [score(entry.mean("test", "groups", group, "miou")) for group in _GROUPS]
        lines.append(
            f"| {row['title']} | {row['batch']} x {row['crop']} | {row['steps']:,} | "
            f"{row['images_seen']:,} | {row['seconds_per_step']:.2f} | "
            f"{mib(row['peak_bytes'])} | **{score(entry.miou)}**{_seeds(entry)} | "
            + " | ".join(groups)
            + f" | {entry.mean('test', 'pixel_accuracy'):.3f} |"
        )
    return lines


def _seeds(entry: Entry) -> str:
    """How far the seeds of an entry lie apart; empty where there is one."""
    if len(entry.rows) < 2:
        return ""
    return f" ({score(entry.low)} to {score(entry.high)}, {len(entry.rows)} seeds)"


def score(value: float) -> str:
    """A share to three decimals, or to two digits where these would hide it."""
    if math.isnan(value):
        return ""
    return f"{value:.3f}" if value >= 0.01 or value == 0 else f"{value:.2g}"


def _render_budgets(mine: Sequence[Entry], _: Sequence[Entry]) -> str:
    lines = ["## Equal memory and time, 1,284 classes", ""]
    for memory in sorted({entry.first["memory"] for entry in mine}):
        here = [entry for entry in mine if entry.first["memory"] == memory]
        lines += [f"{memory / GIB:g} GiB:", "", *table(here), ""]
    return "\n".join([*lines, machines(mine)])


def _render_images(mine: Sequence[Entry], _: Sequence[Entry]) -> str:
    seen = get_experiment("images").images
    return "\n".join([f"## The same {seen:,} images", "", *table(mine), "", machines(mine)])


def _render_factors(mine: Sequence[Entry], found: Sequence[Entry]) -> str:
    lines = [
        "## One factor at a time",
        "",
        "From the recipe (exact, cosine, D = 64, learned T), each line changes one thing. The "
        "change has a bootstrap interval over the classes, paired; it does not know what another "
        "seed would give: numbers are of the first, unless a column says more.",
        "",
        "| what | mIoU | change | mean where there are more seeds | rare | steps | s / step |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    base = pick(found, "ours", experiment="budgets", memory=mine[0].first["memory"])
    for entry in ([base] if base else []) + sorted(mine, key=lambda e: -e.miou):
        row, change = entry.first, ""
        if base is not None and entry is not base:
            paired = interval(base.first, row)
            change = f"{paired.change:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})"
        rare = score(row["test"]["groups"]["rare"]["miou"])  # of the same seed as the rest
        mean = f"{score(entry.miou)}{_seeds(entry)}" if len(entry.rows) > 1 else ""
        lines.append(
            f"| {row['title']} | {score(row['test']['miou'])} | {change} | {mean} | {rare} | "
            f"{row['steps']:,} | {row['seconds_per_step']:.2f} |"
        )
    return "\n".join([*lines, "", machines(mine)])


def _render_classes(mine: Sequence[Entry], found: Sequence[Entry]) -> str:
    memory = mine[0].first["memory"]
    lines = [
        "## Where a dense head has no handicap, and where it breaks",
        "",
        f"mIoU at {memory / GIB:g} GiB and equal time; at 1,284 classes the embeddings fit the "
        "smaller memory with the same batch, so that their cells above count here too.",
        "",
    ]
    counts = sorted({entry.first["classes"] for entry in mine} | {1284})
    methods = list(dict.fromkeys(entry.first["method"] for entry in mine))
    titles = {entry.first["method"]: entry.first["title"] for entry in mine}
    lines += ["| classes | " + " | ".join(titles[method] for method in methods) + " |"]
    lines += ["|---:|" + "---:|" * len(methods)]
    for classes in counts:
        cells = []
        for method in methods:
            there = pick(mine, method, classes=classes)
            there = there or pick(found, method, classes=classes, memory=memory, length="time")
            if there is None and method != "dense" and classes == 1284:
                there = pick(found, method, classes=classes, experiment="budgets", length="time")
            cells.append(score(there.miou) if there else "not run")
        lines.append(f"| {classes:,} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", machines(mine)])


def _render_gpu(mine: Sequence[Entry], _: Sequence[Entry]) -> str:
    question = get_experiment("gpu").question
    return "\n".join([f"## On a GPU: {question}", "", *table(mine), "", machines(mine)])


def render_ladder(found: Sequence[Entry]) -> str:
    """What each step from the paper's loss to ours brings; empty without two neighbours."""
    tight = {"length": "time", "classes": 1284}
    there = [entry for name in LADDER if (entry := pick(found, name, **tight))]
    if len(there) < 2:
        return ""
    lines = [
        "## From the paper's loss to ours, a step at a time",
        "",
        "Each line is the next step that was run; where all six were, each changes one thing. The "
        "interval is a bootstrap over the classes, paired, of the first seeds.",
        "",
        "| method | mIoU | change from the line above |",
        "|---|---:|---:|",
    ]
    for before, entry in zip([None, *there], there, strict=False):
        change = ""
        if before is not None:
            paired = interval(before.first, entry.first)
            change = f"{paired.change:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})"
        lines.append(f"| {entry.first['title']} | {score(entry.miou)} | {change} |")
    return "\n".join([*lines, ""])


SECTIONS: Final[dict[str, Callable[[Sequence[Entry], Sequence[Entry]], str]]] = {
    "budgets": _render_budgets,
    "images": _render_images,
    "factors": _render_factors,
    "classes": _render_classes,
    "gpu": _render_gpu,
}
"""Name of an experiment -> its section, from its entries and all of them."""


def render_why(found: Sequence[Entry], picture: str) -> str:
    """What the diagnostics say, of entries with 1,284 classes; the first seed of each."""
    shown = [entry for entry in found if entry.first["classes"] == 1284]
    if not shown:
        return ""
    lines = [
        "## Why",
        "",
        f"![What the losses see and how the classes lie]({picture})",
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
        lines.append(f"| {title} | {score(entry.miou)} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_explained(shown)])


def _explained(found: Sequence[Entry]) -> list[str]:
    """The gap between the paper's loss and the exact one, in words, if both were run."""
    paper, exact = (pick(found, name, length="time") for name in ("nearest", "ours"))
    if paper is None or exact is None:
        return []
    seen = paper.first["diagnostics"]["covered"]["7"]
    hit, best = (e.first["diagnostics"]["hit_rate"]["1"] for e in (paper, exact))
    return [
        f"The paper's loss is the cross-entropy among the true class and the 7 nearest others. "
        f"After this training these hold {seen:.0%} of the exact probability: its value falls, "
        "because the true class wins against those 7, while a pixel does not push away the "
        f"classes beyond, and its own is the nearest for {hit:.0%} of the pixels. The exact "
        f"loss pushes all of them in every step, and reaches {best:.0%}.",
        "",
    ]


def machines(mine: Sequence[Entry]) -> str:
    """Where the cells were trained, and where memory and time were measured, if elsewhere."""
    rows = [row for entry in mine for row in entry.rows]
    counted = Counter(place(row) for row in rows)
    told = [where if len(counted) == 1 else f"{n} on {where}" for where, n in counted.items()]
    return f"Trained on: {'; '.join(told)}.\n"
