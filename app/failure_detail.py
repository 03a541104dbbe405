"""Why one class fails: the explanation, what may help, the worst pictures, the margin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from app import (
    crops,
    data,
    data_failures,
    data_pictures,
    explain,
    failure_frames,
    frames,
    links,
    shell,
)
from app.bars import chip
from workbench import charts
from workbench.colors import MISSING

_EXAMPLES = 4


class Chosen:
    """One class with what the page knows of it.

    Attributes:
        row: Of `failure_frames.class_table`.
        other: The class it is confused with; -1 if none.
    """

    def __init__(self, run: shell.Context, split: str, table: pd.DataFrame, class_id: int) -> None:
        """Looks the class up in the table of all classes."""
        self.run, self.split, self.class_id = run, split, class_id
        self.row: dict[Any, Any] = table[table["class_id"] == class_id].iloc[0].to_dict()
        counts = data.confusions(run.path, split)
        none = pd.DataFrame({"class_id": [], "pixels": [], "share": []})
        self.takers = none if counts is None else frames.taken_for(counts, class_id)
        self.victims = none if counts is None else frames.taken_as(counts, class_id)
        self.other = failure_frames.compared_with(self.row, self.victims)
        self.names = frames.labels(table)
        self.nearest = table["nearest_distance"].to_numpy(dtype=np.float64)
        self.counted = frames.has_train_counts(table)
        self.seen: dict[int, int] = dict(zip(table["class_id"], table["train_images"], strict=True))

    def name(self, class_id: int) -> str:
        """A class's name, safe for Markdown."""
        return shell.plain(self.names.get(class_id, f"class {class_id}"))

    def sentences(self) -> list[str]:
        """Why it fails."""
        return explain.explain(
            self.row,
            self.name,
            seen=self.seen if self.counted else None,
            takers=self.takers,
            victims=self.victims,
        )

    def margin(self) -> failure_frames.Margin | None:
        """Its distance to the class it is confused with; None without embeddings."""
        points = data.class_points(self.run.path)
        if points is None:
            return None
        return failure_frames.margin(points, self.nearest, self.class_id, self.other)


def card(chosen: Chosen) -> None:
    """Draws what stands beside the table: the explanation, what may help, links."""
    row = chosen.row
    st.html(
        f"<h3 style='margin:0;padding:0;font-size:1.3rem'>"
        f"{chip(row['name'], row.get('color', MISSING))}</h3>"
    )
    reason = frames.reason_text(row["reason"]) or "fine"
    facts = [f"class {chosen.class_id}", str(row["group"]), reason]
    st.caption(" · ".join(shell.plain(fact) for fact in facts if fact))
    columns = shell.flow("failure_numbers", [1, 1.2, 1.2])
    columns[0].metric("IoU", shell.number(row["iou"]))
    columns[1].metric(
        "Gain if mended",
        gain_text(row["gain"]),
        help="What mean IoU would rise by if every wrong pixel of this class were right, "
        "the effect on the classes it is confused with included.",
    )
    images = f"{int(row['train_images']):,}" if chosen.counted else "–"
    columns[2].metric("Training images", images)
    st.markdown(" ".join(chosen.sentences()))
    margin = chosen.margin()
    if margin is not None:
        st.markdown(explain.margin_sentence(margin, f"**{chosen.name(chosen.other)}**"))
    other = chosen.name(chosen.other) if chosen.other >= 0 else None
    lines = explain.remedies(str(row["reason"]), other, data.config(chosen.run.path))
    if lines:
        st.markdown("**What may help**\n" + "\n".join(f"- {line}" for line in lines))
    with st.container(horizontal=True, gap="small"):
        links.to(links.PREDICTIONS, "In Predictions", class_id=chosen.class_id)
        links.to(links.CLASSES, "The class in full", class_id=chosen.class_id)
        links.to(links.CLASS_MAP, "On the map", class_id=chosen.class_id)


def gain_text(gain: object) -> str:
    """A gain in mean IoU, with its sign; a dash where it is not known."""
    if not isinstance(gain, (int, float)) or gain != gain:
        return "–"
    return f"{gain:+.5f}" if abs(gain) < 0.0095 else f"{gain:+.4f}"


def examples(chosen: Chosen) -> None:
    """Draws crops of the pictures with most wrong pixels of the class."""
    index = data_pictures.picture_index(chosen.run.path, chosen.split)
    st.subheader("Where it goes wrong")
    if not len(index.at):
        shell.explain_missing(
            "No pictures were kept with this evaluation, so there are none to show. Keep some:",
            chosen.run.command("evaluate"),
        )
        return
    worst = failure_frames.worst_images(index, chosen.class_id, _EXAMPLES)
    if worst.empty:
        counts = data.per_image_class(chosen.run.path, chosen.split)
        total = 0 if counts is None else int((counts["class_id"] == chosen.class_id).sum())
        shell.explain_missing(
            f"The class is wrong in none of the {len(index.ids):,} pictures kept; truth or "
            f"prediction has it in {total:,} images of this split. Keep all:",
            f"{chosen.run.command('evaluate')} --save all",
        )
        return
    key = [
        ("its own, found", crops.FOUND),
        ("its own, missed", crops.MISSED),
        ("of others, taken", crops.TAKEN),
    ]
    chips = " &ensp;".join(chip(text, "#{:02x}{:02x}{:02x}".format(*color)) for text, color in key)
    st.html(
        "<div style='font-size:.875rem'>Picture, truth, prediction; white: its outline in the "
        f"truth. &ensp;{chips}</div>"
    )
    pairs = list(zip(worst["image_id"], worst["iou"], strict=True))
    for first in range(0, len(pairs), 2):  # row by row, so that they stand level
        places = shell.stack(f"examples_{first}", [1, 1])
        for place, (image_id, iou) in zip(places, pairs[first : first + 2], strict=False):
            with place:
                _example(chosen, str(image_id), float(iou))


def _example(chosen: Chosen, image_id: str, iou: float) -> None:
    found = data_failures.example(chosen.run.path, chosen.split, image_id, chosen.class_id)
    if found is None:
        st.caption(f"The picture {shell.plain(image_id)} cannot be read any more.")
        return
    tally = found.tally
    said = [f"IoU {shell.number(iou, 2)}"]
    if tally.missed:
        to = f", most to {chosen.name(tally.lost_to)}" if tally.lost_to >= 0 else ""
        said.append(f"{tally.missed:,} of {tally.missed + tally.found:,} px missed{to}")
    if tally.taken:
        source = f", most from {chosen.name(tally.taken_from)}" if tally.taken_from >= 0 else ""
        said.append(f"{tally.taken:,} px wrongly taken{source}")
    with st.container(gap="xsmall"):
        st.image(found.url, width="stretch")
        st.caption(" · ".join(said))
        links.to(links.PREDICTIONS, shell.plain(image_id), class_id=chosen.class_id, image=image_id)


def margins(chosen: Chosen) -> None:
    """Draws the distance to the class it is confused with, among all nearest distances."""
    found = chosen.margin()
    if found is None:
        return
    st.subheader("Margin in the class table")
    figure = charts.margin_histogram(
        chosen.nearest,
        found.distance,
        f"to {chosen.names.get(chosen.other, str(chosen.other))}: {found.distance:.2f}",
        dark=shell.dark(),
    )
    shell.show_plot(figure, "margin_plot")
    st.caption(
        "This is where the classes lie, not where the pixels of this class fall: click one of "
        "its pixels on Predictions to see which classes that pixel is nearest to."
    )
