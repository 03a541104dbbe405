"""Overview: how training went and the headline numbers of the run."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import comparison, data, frames, shell, state, training
from workbench import charts


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title(shell.plain(run.name))
    _subtitle(run)
    training.show_status(run)
    table = None if run.split is None else data.per_class(run.path, run.split)
    if run.split is None or table is None:
        shell.explain_missing(
            "This run has not been evaluated yet. Evaluate it to see IoU per class:",
            run.command("evaluate"),
        )
    else:
        _headline(data.summary(run.path, run.split) or {}, table, run.split)
    _charts(run, table)
    _all_runs(run)
    comparison.show(run)


def _charts(run: shell.Context, table: pd.DataFrame | None) -> None:
    """Curves left, scores right; those of a running training stand with its status."""
    curves = not training.is_running(run)
    columns = shell.stack("charts", [1, 1])
    if curves:
        with columns[0]:
            training.loss_curve(run)
            training.score_curve(run)
    if table is None:
        return
    with columns[1 if curves else 0]:
        st.subheader("Mean IoU by group")
        figure = charts.group_bars(frames.group_scores(table), dark=shell.dark(), height=250)
        shell.show_plot(figure, "groups")
    with columns[1]:
        st.subheader("Classes by IoU")
        figure = charts.iou_histogram(table, dark=shell.dark(), height=250)
        shell.show_plot(figure, "histogram")


def _subtitle(run: shell.Context) -> None:
    config = data.config(run.path)
    parts = [str(config["preset"])] if config.get("preset") else []
    for section, key, wording in (
        ("data", "dataset", "{}"),
        ("model", "network", "{}"),
        ("model", "embedding_dim", "D = {}"),
        ("model", "distance", "{} distance"),
        ("loss", "name", "{} loss"),
        ("train", "steps", "{} steps"),
    ):
        settings = config.get(section)
        value = settings.get(key) if isinstance(settings, dict) else None
        if isinstance(value, (str, int)):
            parts.append(wording.format(value))
    st.caption(" · ".join(shell.plain(part) for part in dict.fromkeys(parts)))


def _headline(summary: dict[str, Any], table: pd.DataFrame, split: str) -> None:
    scored = int((table["truth_pixels"] > 0).sum())
    absent = len(table) - scored
    united = int(((table["truth_pixels"] > 0) | (table["predicted_pixels"] > 0)).sum())
    never = int(((table["truth_pixels"] > 0) & (table["iou"] == 0)).sum())
    columns = shell.flow("headline", [1, 1, 1, 1, 1])
    columns[0].metric(
        "Mean IoU",
        shell.number(summary.get("miou")),
        help=f"Mean over the {scored:,} classes that occur in the truth of "
        f"{shell.plain(split)}; the {absent:,} absent ones do not count.",
    )
    columns[1].metric(
        "Mean IoU, union",
        shell.number(summary.get("miou_union")),
        help=f"Mean over the {united:,} classes that occur in truth or prediction: a class "
        "that is only predicted counts 0.",
    )
    columns[2].metric("Pixel accuracy", shell.number(summary.get("pixel_accuracy")))
    columns[3].metric(
        "Weighted IoU",
        shell.number(summary.get("frequency_weighted_iou")),
        help="Classes weighted by how many pixels they have.",
    )
    columns[4].metric(
        "Classes with IoU 0", f"{never:,}", help="They occur in the truth and are never hit."
    )
    st.caption(
        f"{scored:,} of {len(table):,} classes scored on {shell.plain(split)}, {absent:,} absent."
    )


def _all_runs(run: shell.Context) -> None:
    """The runs on disk; a row picked opens that run."""
    infos = run.runs
    names = [info.name for info in infos]
    key = f"runs_{abs(hash((run.name, *names)))}"

    def pick() -> None:
        view = pd.DataFrame({"name": names})
        name = frames.selected_row(st.session_state.get(key), view, "name")
        if name is not None:
            state.choose("run", name)

    st.subheader("Runs")
    st.caption("All runs in this folder. Pick a row to open that run.")
    table = pd.DataFrame(
        {
            "Run": names,
            "State": [shell.state_words(info.status) for info in infos],
            "Dataset": [info.dataset for info in infos],
            "Classes": [info.classes for info in infos],
            "Mean IoU": [info.miou for info in infos],
            "Written": pd.to_datetime([info.modified for info in infos], unit="s", utc=True),
        }
    )
    shell.pick_table(
        table,
        pick,
        key=key,
        height="content" if len(table) <= 8 else 318,
        columns={
            "Classes": st.column_config.NumberColumn(format="localized"),
            "Mean IoU": st.column_config.ProgressColumn(
                format="%.3f", min_value=0.0, max_value=1.0
            ),
            "Written": st.column_config.DatetimeColumn(format="distance"),
        },
    )


if __name__ == "__main__":
    page()
