"""The section about classes added from masks on the page about accuracy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from workbench.benchmarks.report_text import place
from workbench.benchmarks.rows import Row
from workbench.experiments.added import EXAMPLES, planned_cases, result_file
from workbench.experiments.added_rows import SHIPPED, WAYS

LEARNED: Final = 0.05
"""Mean IoU of the other classes below which a training has learned too little to add to."""


def read_added(out: Path) -> list[dict[str, Any]]:
    """The cases there are, in the order of the plan."""
    files = [result_file(out, case) for case in planned_cases()]
    return [json.loads(path.read_text(encoding="utf-8")) for path in files if path.exists()]


def held_miou(scores: Row, groups: Sequence[str] | None = None, group: str | None = None) -> float:
    """Mean IoU of the held-out classes that the truth shows, or of those of one group."""
    chosen = [
        value
        for place, value in enumerate(scores["held_iou"])
        if value is not None and (groups is None or groups[place] == group)
    ]
    return float(np.mean(chosen)) if chosen else float("nan")


def drawn(row: Row, way: str, examples: int, part: str) -> list[Row]:
    """The scores of all draws of one way and number of examples."""
    return [
        entry[part]
        for entry in row["added"]
        if entry["way"] == way and entry["examples"] == examples and part in entry
    ]


def render_added(rows: Sequence[Row]) -> str:
    """The section as Markdown; empty without a case."""
    if not rows:
        return ""
    lines = [
        "## Classes added from masks, without training",
        "",
        "`workbench vocabulary add --from-mask` gives a class a row of the table from a few "
        "pictures in which it is marked; the network stays as it is. Here classes are held out of "
        "a training (their pixels are ignored, their rows are not there), then added from 1, 5 or "
        "20 masks of training pictures, all of them at once, and all classes are scored together. "
        "The measure is the same training with all classes in it. Mean over the draws of the "
        "examples, smallest and largest in brackets. *Others*: the mean IoU of the classes that "
        "were always there. One seed of each training.",
        "",
    ]
    for row in rows:
        lines += _render_case(row)
    lines += _render_ways(rows)
    return "\n".join(lines)


def _render_case(row: Row) -> list[str]:
    groups = list(dict.fromkeys(row["held_groups"]))
    shown = groups if len(groups) > 1 else []
    scored = sum(value is not None for value in row["trained"]["test"]["held_iou"])
    fewer = min(row["held_pictures"])
    note = f"; the scarcest is in {fewer} of them" if fewer < max(EXAMPLES) else ""
    lines = [
        f"### {_title(row)}",
        "",
        f"{len(row['held'])} of {row['classes']} classes held out ({', '.join(row['held'])}), "
        f"{scored} of them in the {row['pictures']['test']} pictures of the test; "
        f"{row['training_pictures']} training pictures{note}; {row['title']}, network "
        f"{row['network']}, {row['steps']} steps of {row['batch']} crops of {row['crop']} pixels.",
        "",
        "| | held-out classes, mIoU | " + "".join(f"{group} | " for group in shown) + "others | "
        "pixel accuracy |",
        "|---|---:|" + "---:|" * (len(shown) + 2),
    ]
    named = [("nothing added", [row["before"]["test"]])]
    for number in EXAMPLES:
        masks = f"{number} {'mask' if number == 1 else 'masks'}"
        named.append((f"added from {masks}", drawn(row, SHIPPED, number, "test")))
    named.append(("**trained with them**", [row["trained"]["test"]]))
    for title, scores in named:
        cells = [_spread([held_miou(found) for found in scores])]
        for group in shown:
            cells.append(_spread([held_miou(s, row["held_groups"], group) for s in scores]))
        for key in ("others_miou", "pixel_accuracy"):
            cells.append(_spread([found[key] for found in scores]))
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    if row["trained"]["test"]["others_miou"] < LEARNED:
        lines += [
            "",
            "So short a training on so few pictures has hardly learned the other classes "
            f"(mIoU below {LEARNED:g} even when trained with all); what is added takes nearly "
            "everything from them.",
        ]
    return [*lines, "", f"Trained on: {place(row)}.", ""]


def _render_ways(rows: Sequence[Row]) -> list[str]:
    """Which way to make a row was chosen, and from what: pictures that are not of the test."""
    chosen_on = [row for row in rows if "dev" in row["pictures"]]
    if not chosen_on:
        return []
    lines = [
        "### How the row is made",
        "",
        "Ways compared on pictures that are for choosing (dev): mIoU of the held-out classes, "
        "and of the others in brackets, mean over the draws. All begin with the mean of the "
        "marked pixels' unit embeddings. That alone claims too many pixels of other classes: all "
        "pixels share a direction that rows which were trained have learned to avoid. `add` takes "
        "what is in bold.",
        "",
        "| way | " + " | ".join(f"{number}" for number in EXAMPLES) + " |",
        "|---|" + "---:|" * len(EXAMPLES),
    ]
    for way, (title, _) in WAYS.items():
        cells = []
        for number in EXAMPLES:
            scores = [found for row in chosen_on for found in drawn(row, way, number, "dev")]
            held = np.mean([held_miou(found) for found in scores])
            cells.append(f"{held:.3f} ({np.mean([s['others_miou'] for s in scores]):.3f})")
        name = f"**{title}**" if way == SHIPPED else title
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _title(row: Row) -> str:
    if row["case"].startswith("photos"):
        return "Real photos (COCO)"
    return "ShapeWorld"


def _spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    if len(values) == 1 or np.isnan(values).any():
        return "" if mean == "nan" else mean
    return f"{mean} ({min(values):.3f} to {max(values):.3f})"
