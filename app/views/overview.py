"""Overview: how training went and the headline numbers of the run."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app import data, frames, shell
from workbench import charts


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title(shell.plain(run.name))
    _subtitle(run)
    _status(run)
    table = None if run.split is None else data.per_class(run.path, run.split)
    if run.split is None or table is None:
        shell.explain_missing(
            "This run has not been evaluated yet. Evaluate it to see IoU per class:",
            run.command("evaluate"),
        )
    else:
        _headline(data.summary(run.path, run.split) or {}, table, run.split)
    left, right = shell.stack("charts", [1, 1])
    with left:
        _curves(run)
    if table is not None:
        with right:
            st.subheader("Mean IoU by group")
            figure = charts.group_bars(frames.group_scores(table), dark=shell.dark(), height=250)
            shell.show_plot(figure, "groups")
            st.subheader("Classes by IoU")
            figure = charts.iou_histogram(table, dark=shell.dark(), height=250)
            shell.show_plot(figure, "histogram")
    _all_runs(run)


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


@st.fragment(run_every=5)
def _follow(path: str) -> None:
    status = data.status(path)
    if status.get("state") != "running":
        st.rerun()
    _progress(status)


def _progress(status: dict[str, Any]) -> None:
    step, steps = status.get("step"), status.get("steps")
    if isinstance(step, int) and isinstance(steps, int) and steps > 0:
        left = shell.duration(status.get("eta_seconds"))
        text = f"Step {step:,} of {steps:,}" + (f", about {left} left" if left else "")
        st.progress(min(1.0, step / steps), text=text)
    else:
        st.caption("Training has started.")


def _status(run: shell.Context) -> None:
    status = data.status(run.path)
    message = str(status.get("message") or "")
    if status["state"] == "running":
        _follow(run.path)
    elif status["state"] == "failed":
        st.error(f"Training failed. {shell.plain(message)}")
    elif status["state"] == "interrupted":
        _progress({**status, "eta_seconds": None})
        st.warning("Training was interrupted. Add --resume to its command to go on.")


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


def _curves(run: shell.Context) -> None:
    metrics = data.metrics(run.path)
    if "loss" not in metrics or metrics["loss"].notna().sum() == 0:
        st.subheader("Training loss")
        shell.explain_missing("No training record yet.", None)
        return
    st.subheader("Training loss")
    figure = charts.curve(metrics, "loss", label="loss (nats per pixel)", dark=shell.dark())
    shell.show_plot(figure, "loss")
    if "val_miou" in metrics and metrics["val_miou"].notna().any():
        st.subheader("Mean IoU during training")
        figure = charts.curve(metrics, "val_miou", label="mean IoU", dark=shell.dark(), height=220)
        shell.show_plot(figure, "score")


def _all_runs(run: shell.Context) -> None:
    infos = shell.all_runs()
    if len(infos) < 2:
        return
    st.subheader("All runs")
    table = pd.DataFrame(
        {
            "Run": [info.name for info in infos],
            "State": [info.status for info in infos],
            "Dataset": [info.dataset for info in infos],
            "Classes": [info.classes for info in infos],
            "Mean IoU": [info.miou for info in infos],
            "Written": pd.to_datetime([info.modified for info in infos], unit="s", utc=True),
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        placeholder="–",
        column_config={
            "Mean IoU": st.column_config.ProgressColumn(
                format="%.3f", min_value=0.0, max_value=1.0
            ),
            "Written": st.column_config.DatetimeColumn(format="distance"),
        },
    )


if __name__ == "__main__":
    page()
