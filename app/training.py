"""How a run's training goes: status, pace and curves, followed while it runs."""

from __future__ import annotations

import time
from typing import Any

import streamlit as st

from app import data, pace, shell
from workbench import charts

_EVERY = 3  # seconds between two looks at a training


def show_status(run: shell.Context) -> None:
    """Says what the training does; a running one is followed, curves and all."""
    status = data.status(run.path)
    if status["state"] == "running":
        _follow(run)
        return
    message = str(status.get("message") or "")
    if status["state"] == "failed":
        st.error(f"Training failed{_when(status)}. {shell.plain(message)}")
    elif status["state"] == "interrupted":
        _progress({**status, "eta_seconds": None})
        st.warning(
            f"Training was interrupted{_when(status)}. Add --resume to its command to go on."
        )
    elif message:  # it has stopped early, and says why
        st.info(f"Training {shell.plain(message)}.")


def is_running(run: shell.Context) -> bool:
    """Whether the run is being trained now, its curves shown with its status."""
    return bool(data.status(run.path)["state"] == "running")


@st.fragment(run_every=_EVERY)
def _follow(run: shell.Context) -> None:
    """Status and curves of a running training: drawn anew without the rest of the page."""
    status = data.status(run.path)
    if status.get("state") != "running":
        st.rerun()
    metrics = data.metrics(run.path)
    _progress(status)
    quiet = pace.age(status, time.time())
    train = data.config(run.path).get("train")
    speed = pace.images_per_second(
        metrics, train.get("batch_size") if isinstance(train, dict) else None
    )
    columns = shell.flow("pace", [1, 1, 1, 1])
    columns[0].metric("Last sign of life", pace.ago(quiet) or "–")
    columns[1].metric(
        "Images per second",
        "–" if speed is None else f"{speed:.3g}",
        help="Of all processes, over the newest records.",
    )
    columns[2].metric("Loss", shell.number(pace.newest(metrics, "loss")))
    columns[3].metric("Mean IoU so far", shell.number(pace.newest(metrics, "val_miou")))
    if quiet is not None and quiet > pace.QUIET_SECONDS:
        st.warning("It has said nothing for a long time: a long evaluation, or it hangs.")
    left, right = shell.stack("live", [1, 1])
    with left:
        loss_curve(run)
    with right:
        score_curve(run, height=280)


def _when(status: dict[str, Any]) -> str:
    said = pace.ago(pace.age(status, time.time()))
    return f", last sign of life {said}" if said else ""


def _progress(status: dict[str, Any]) -> None:
    step, steps = status.get("step"), status.get("steps")
    if isinstance(step, int) and isinstance(steps, int) and steps > 0:
        left = shell.duration(status.get("eta_seconds"))
        text = f"Step {step:,} of {steps:,}" + (f", about {left} left" if left else "")
        st.progress(min(1.0, max(0.0, step / steps)), text=text)
    else:
        st.caption("Training has started.")


def loss_curve(run: shell.Context) -> None:
    """The loss over training."""
    metrics = data.metrics(run.path)
    st.subheader("Training loss")
    if "loss" not in metrics or metrics["loss"].notna().sum() == 0:
        shell.explain_missing("No training record yet.", None)
        return
    figure = charts.curve(metrics, "loss", label="loss (nats per pixel)", dark=shell.dark())
    shell.show_plot(figure, "loss")


def score_curve(run: shell.Context, *, height: int = 220) -> None:
    """The mean IoU over training, once it was evaluated during it."""
    metrics = data.metrics(run.path)
    if "val_miou" in metrics and metrics["val_miou"].notna().any():
        st.subheader("Mean IoU during training")
        figure = charts.curve(
            metrics, "val_miou", label="mean IoU", dark=shell.dark(), height=height
        )
        shell.show_plot(figure, "score")
