"""One class in full: its numbers, what it is mixed up with, its best and worst pictures."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import data, frames, shell
from app.bars import Bar, bars, chip

_PICTURES = 4  # best and worst each


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
    _heading(row)
    _numbers(row, names, colors, counted=frames.has_train_counts(table))
    _mixed_up(run, split, class_id, names, colors)
    _pictures(run, split, class_id)


def _heading(row: pd.Series) -> None:
    facts = [f"class {row['class_id']}", str(row["group"]), str(row["supercategory"])]
    reason = frames.reason_text(row["reason"])
    facts += [reason] if reason else []
    with st.container(gap=None):
        st.html(
            f"<h3 style='margin:0;padding:0;font-size:1.35rem'>"
            f"{chip(row['name'], row.get('color', '#8d939c'))}</h3>"
        )
        st.caption(" · ".join(shell.plain(fact) for fact in facts if fact))


def _numbers(
    row: pd.Series, names: dict[int, str], colors: dict[int, str], *, counted: bool
) -> None:
    nearest = row["nearest_class_id"]
    has_nearest = pd.notna(nearest) and int(nearest) in names
    columns = shell.flow("numbers", [1, 1, 1, 1.2, 1.2, 2.6])
    columns[0].metric("IoU", shell.number(row["iou"]))
    columns[1].metric("Precision", shell.number(row["precision"]))
    columns[2].metric("Recall", shell.number(row["recall"]))
    columns[3].metric("Training images", f"{int(row['train_images']):,}" if counted else "–")
    columns[4].metric("Images in this split", f"{int(row['val_images']):,}")
    if has_nearest:
        with columns[5]:
            distance = shell.number(row["nearest_distance"])
            st.html(
                f"<div style='font-size:.875rem;margin-bottom:.3rem'>Nearest other class, at "
                f"distance {distance}</div><div style='font-size:1.15rem'>"
                f"{chip(names[int(nearest)], colors.get(int(nearest), '#8d939c'))}</div>"
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
                color=colors.get(int(row["class_id"]), "#8d939c"),
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


def _pictures(run: shell.Context, split: str, class_id: int) -> None:
    kept = data.samples(run.path, split)
    counts = data.per_image_class(run.path, split)
    if not kept or counts is None:
        return
    ranked = frames.rank_images(
        kept, counts, class_id=class_id, order=frames.BEST_FIRST, in_truth=True
    )
    if ranked.empty:
        st.caption("None of the pictures kept with this run shows the class.")
        return
    urls = data.thumbnails(run.path, split)
    if len(ranked) <= 2 * _PICTURES:
        _strip("Pictures with it, best first", ranked, urls)
        return
    left, right = shell.stack("strips", [1, 1])
    with left:
        _strip("Worst pictures", ranked.iloc[::-1].head(_PICTURES), urls)
    with right:
        _strip("Best pictures", ranked.head(_PICTURES), urls)


def _strip(title: str, ranked: pd.DataFrame, urls: dict[str, str]) -> None:
    st.markdown(f"**{title}**")
    with st.container(horizontal=True, gap="small"):
        for row in ranked.itertuples(index=False):
            with st.container(width=112, gap=None):
                url = urls.get(str(row.image_id))
                if url is not None:
                    st.image(url, width=104)
                st.page_link(
                    "views/predictions.py",
                    label=f"IoU {shell.number(row.score, 2)}",
                    icon=":material/image_search:",
                    query_params={"image": str(row.image_id), "run": shell.context().name},
                )
