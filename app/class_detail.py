"""One class in full: its numbers, what it is mixed up with, all its pictures in order."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, data_pictures, frames, gallery, links, pictures, shell, state
from app.bars import Bar, bars, chip
from workbench.colors import MISSING

_ORDERS = (frames.BEST_FIRST, frames.WORST_FIRST)


def show(run: shell.Context, split: str, table: pd.DataFrame, class_id: int) -> None:
    """Draws the detail of a class.

    Args:
        run: The open run.
        split: The evaluated split in view.
        table: Its class table.
        class_id: Which class.
    """
    row = table[table["class_id"] == class_id].iloc[0]
    names = frames.labels(table)
    colors = dict(zip(table["class_id"], table.get("color", pd.Series(dtype=str)), strict=False))
    _heading(row, class_id)
    _numbers(row, names, colors, counted=frames.has_train_counts(table))
    _mixed_up(run, split, class_id, names, colors)
    _pictures(run, split, class_id, int(row["val_images"]))


def _heading(row: pd.Series, class_id: int) -> None:
    facts = [f"class {row['class_id']}", str(row["group"]), str(row["supercategory"])]
    reason = frames.reason_text(row["reason"])
    facts += [reason] if reason else []
    with st.container(gap=None):
        st.html(
            f"<h3 style='margin:0;padding:0;font-size:1.35rem'>"
            f"{chip(row['name'], row.get('color', MISSING))}</h3>"
        )
        st.caption(" · ".join(shell.plain(fact) for fact in facts if fact))
    with st.container(horizontal=True, gap="small"):
        links.to(links.PREDICTIONS, "In Predictions", class_id=class_id)
        links.to(links.FAILURES, "Why it fails" if reason else "Where it errs", class_id=class_id)
        links.to(links.CLASS_MAP, "On the map", class_id=class_id)


def _numbers(
    row: pd.Series, names: dict[int, str], colors: dict[int, str], *, counted: bool
) -> None:
    nearest = row["nearest_class_id"]
    has_nearest = pd.notna(nearest) and int(nearest) in names
    columns = shell.flow("numbers", [1, 1, 1, 1.2, 1.3, 1.2, 2.4])
    columns[0].metric("IoU", shell.number(row["iou"]))
    columns[1].metric("Precision", shell.number(row["precision"]))
    columns[2].metric("Recall", shell.number(row["recall"]))
    columns[3].metric("Training images", f"{int(row['train_images']):,}" if counted else "–")
    pixels = _compact(row["train_pixels"]) if counted else "–"
    columns[4].metric("Training pixels", pixels)
    columns[5].metric("Images here", f"{int(row['val_images']):,}", help="Of this split.")
    if has_nearest:
        with columns[6]:
            distance = shell.number(row["nearest_distance"])
            st.html(
                f"<div style='font-size:.875rem;margin-bottom:.3rem'>Nearest other class, at "
                f"distance {distance}</div><div style='font-size:1.15rem'>"
                f"{chip(names[int(nearest)], colors.get(int(nearest), MISSING))}</div>"
            )


def _mixed_up(
    run: shell.Context,
    split: str,
    class_id: int,
    names: dict[int, str],
    colors: dict[int, str],
) -> None:
    counts = data.confusions(run.path, split)
    if counts is None:
        return
    left, right = shell.stack("mixed", [1, 1])
    for place, title, share, empty, rows in (
        (
            left,
            "Taken for",
            "of its pixels",
            "None of its pixels is given to another class.",
            frames.taken_for(counts, class_id),
        ),
        (
            right,
            "Taken for it",
            "of the pixels given it",
            "No other class is mistaken for it.",
            frames.taken_as(counts, class_id),
        ),
    ):
        lines = [
            Bar(
                name=names.get(int(row["class_id"]), f"class {row['class_id']}"),
                color=colors.get(int(row["class_id"]), MISSING),
                share=float(row["share"]),
                number=f"{row['share']:.1%}",
                note=f"{int(row['pixels']):,} px",
            )
            for row in rows.to_dict("records")
        ]
        with place:
            st.markdown(f"**{title}**" + (f" :small[:gray[share {share}]]" if lines else ""))
            if lines:
                st.html(bars(lines))
            else:
                st.caption(empty)


@st.fragment
def _pictures(run: shell.Context, split: str, class_id: int, shown_in: int) -> None:
    """Its pictures a page at a time; the numbers above are not drawn again."""
    index = data_pictures.picture_index(run.path, split)
    if not len(index.at):
        return
    state.seed("class_order", _ORDERS, frames.BEST_FIRST, str)
    title, ordering, paging = shell.flow("filters_gallery", [2.4, 1.6, 2])
    with ordering:
        order = st.segmented_control(
            "Order by IoU",
            _ORDERS,
            key=state.widget_key("class_order"),
            required=True,
            label_visibility="collapsed",
        )
    ranked = pictures.find_pictures(index, in_truth=class_id, order=order or frames.BEST_FIRST)
    title.markdown(
        f"**Its pictures** :small[:gray[{len(ranked):,} kept of the {shown_in:,} images that "
        "show it]]"
    )
    if ranked.empty:
        shell.explain_missing(
            "None of the pictures kept with this run shows the class. Keep all:",
            f"{run.command('evaluate')} --save all",
        )
        return
    pages = -(-len(ranked) // gallery.PAGE)
    number = 1
    if pages > 1:
        with paging:
            number = st.pagination(pages, key=f"class_page_{class_id}_{order}")
    shown = ranked.iloc[(number - 1) * gallery.PAGE : number * gallery.PAGE]
    labelled = [
        (str(row.image_id), f"IoU {shell.number(row.score, 2)}")
        for row in shown.itertuples(index=False)
    ]
    gallery.show(run, split, labelled, key="class_gallery", class_id=class_id)


def _compact(count: object) -> str:
    """A large count in few signs: 950, 33.1k, 12.4M."""
    value = float(str(count))
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.0f}"
