"""Trains all three losses on real ADE20K and Pascal VOC photos and writes what came out.

    python docs/real_photos.py FOLDER [--steps N]

FOLDER holds ``ade20k/ADEChallengeData2016`` and ``voc/VOCdevkit`` in their official layouts.
Results: docs/real_photos.json (figures), docs/real_photos.md (table) and
docs/images/real_photos_*.png (by a headless Chromium where there is one).
The runs stay in runs/real. Everything goes through the command line a user has.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from workbench.chart_style import figure
from workbench.charts import smooth
from workbench.runs import RunDirectory, write_json, write_text

REPOSITORY = Path(__file__).resolve().parents[1]
RUNS = Path("runs/real")
PORT = 8765
ROOTS = {"ade20k": "ade20k", "voc": "voc"}
TITLES = {"ade20k": "ADE20K, 150 classes", "voc": "Pascal VOC, 21 classes"}
LOSSES = ("nearest", "streaming", "dense")
WINDOW = 10  # steps averaged at the beginning and at the end of a curve

# A mobile backbone from scratch on a handful of photos: enough to see every loss fall, not
# to segment unseen photos.
SETTINGS = {
    "data.crop": "128",
    "data.scale": "[0.25, 0.5]",
    "data.workers": "0",
    "loss.pixels": "4096",
    "train.batch_size": "4",
    "train.optimizer": "adamw",
    "train.lr": "0.001",
    "train.backbone_lr_factor": "1.0",
    "train.warmup_steps": "10",
    "train.log_every": "1",
    "train.checkpoint_every": "1000",
}


def workbench(*arguments: object) -> dict[str, Any]:
    """One call of the command line; its JSON result."""
    command = [sys.executable, "-m", "workbench", *map(str, arguments), "--json"]
    result = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True, text=True)
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def train_one(data: Path, dataset: str, loss: str, steps: int) -> dict[str, Any]:
    """Trains, evaluates and predicts; the figures of one row."""
    path = RUNS / f"{dataset}-{loss}"
    root = os.path.relpath(data / ROOTS[dataset], REPOSITORY)
    data_settings = {"data.dataset": dataset, "data.root": root}
    settings = {**SETTINGS, **data_settings, "train.steps": str(steps), "loss.name": loss}
    flags = [word for key, value in settings.items() for word in (f"--{key}", value)]
    workbench("train", "--run", path, "--preset", "default", "--resume", *flags)
    summary = workbench("evaluate", path, "--save", "all")
    run = RunDirectory.open(REPOSITORY / path)
    photos = sorted((REPOSITORY / path / "evaluation" / "val" / "images").glob("*.jpg"))[:2]
    predicted = workbench("predict", path, *photos, "--out", path / "masks")
    metrics = run.metrics()
    curve = metrics["loss"].dropna()
    return {
        "dataset": dataset,
        "loss": loss,
        "classes": summary["classes"],
        "steps": int(metrics["step"].max()),
        "loss_at_start": round(float(curve.head(WINDOW).mean()), 4),
        "loss_at_end": round(float(curve.tail(WINDOW).mean()), 4),
        "val_images": summary["images"],
        "miou": summary["miou"],
        "miou_classes": summary["miou_classes"],
        "pixel_accuracy": summary["pixel_accuracy"],
        "masks_predicted": len(predicted["masks"]),
        "training_seconds": round(float(metrics["seconds"].max()), 1),
    }


def table(rows: list[dict[str, Any]], machine: str) -> str:
    """The page docs/real_photos.md."""
    lines = [
        "# Real photos: every loss falls",
        "",
        "Written by `make real-photos` from [real_photos.json](real_photos.json). DeepLabV3+",
        "(MobileNetV2, from scratch) on the few real ADE20K and Pascal VOC photos at hand, all",
        f"three losses, {rows[0]['steps']} steps each, 4,096 pixels drawn per step. {machine}",
        "",
        "The photos are far too few to learn to segment unseen ones: mIoU is near 0 and not",
        "the point. The point is that real files go the whole way: official layout, palette",
        "masks, borders to ignore, training, evaluation, prediction, app.",
        "",
        "| data | loss | classes | loss at start | at end | val mIoU | classes scored |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['dataset']} | {row['loss']} | {row['classes']} | {row['loss_at_start']:.3f} "
        f"| {row['loss_at_end']:.3f} | {row['miou']:.3f} | {row['miou_classes']} |"
        for row in rows
    ]
    lines += ["", "![loss curves](images/real_photos_loss.png)", ""]
    lines += ["![the app on real photos](images/real_photos_app.png)", ""]
    return "\n".join(lines)


def draw(curves: dict[tuple[str, str], pd.DataFrame]) -> go.Figure:
    """Loss curves of all runs, one panel each."""
    titles = [f"{TITLES[dataset]} · {loss}" for dataset, loss in curves]
    plot = make_subplots(
        rows=2, cols=3, subplot_titles=titles, vertical_spacing=0.2, horizontal_spacing=0.06
    )
    for index, metrics in enumerate(curves.values()):
        place = {"row": index // 3 + 1, "col": index % 3 + 1}
        line = {"color": "#3b6fb6", "width": 1}
        plot.add_scatter(
            x=metrics["step"], y=metrics["loss"], opacity=0.35, line=line, mode="lines", **place
        )
        plot.add_scatter(
            x=metrics["step"],
            y=smooth(metrics["loss"], WINDOW),
            line={**line, "width": 2.5},
            mode="lines",
            **place,
        )
    plot.update_xaxes(title_text="step", rangemode="tozero")
    plot.update_yaxes(title_text="loss (nats per pixel)", rangemode="tozero")
    return plot.update_layout(
        template=figure(height=640).layout.template,
        width=1200,
        height=640,
        showlegend=False,
        margin={"l": 60, "r": 16, "t": 48, "b": 48},
    )


def photograph(plot: go.Figure, images: Path) -> None:
    """Screenshots of the curves and of the app's predictions on a real photo."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if chromium is None:
        sys.stderr.write("no Chromium found: the pictures are not drawn\n")
        return
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "streamlit", "run", "app/main.py"]
    options = ["--server.port", str(PORT), "--server.headless", "true", "--", "--runs", str(RUNS)]
    with (
        subprocess.Popen([*command, *options], cwd=REPOSITORY) as server,
        sync_playwright() as playwright,
    ):
        try:
            browser = playwright.chromium.launch(
                executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_page(viewport={"width": 1200, "height": 640})
            page.set_content(plot.to_html(include_plotlyjs=True, config={"staticPlot": True}))
            page.add_style_tag(content="body { margin: 0 }")
            page.wait_for_selector(".main-svg")
            page.screenshot(path=str(images / "real_photos_loss.png"))
            page.set_viewport_size({"width": 1440, "height": 900})
            page.wait_for_timeout(15_000)  # until the server listens
            page.goto(f"http://localhost:{PORT}/predictions?run=ade20k-streaming", timeout=60_000)
            page.wait_for_selector("text=All pictures", timeout=60_000)
            page.wait_for_timeout(5_000)
            page.screenshot(path=str(images / "real_photos_app.png"))
            browser.close()
        finally:
            server.terminate()


def main() -> None:
    """Runs everything; finished trainings are kept and not repeated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with ade20k/ and voc/")
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    rows = [
        train_one(options.data.resolve(), dataset, loss, options.steps)
        for dataset in ROOTS
        for loss in LOSSES
    ]
    first = RunDirectory.open(REPOSITORY / RUNS / f"ade20k-{LOSSES[0]}")
    gpus = ", ".join(first.environment()["gpus"]) or "none"
    machine = f"Machine: {platform.machine()} CPU, {os.cpu_count()} cores; GPUs: {gpus}."
    docs = REPOSITORY / "docs"
    write_json(docs / "real_photos.json", {"machine": machine, "rows": rows})
    write_text(docs / "real_photos.md", table(rows, machine))
    curves = {
        (row["dataset"], row["loss"]): RunDirectory.open(
            REPOSITORY / RUNS / f"{row['dataset']}-{row['loss']}"
        ).metrics()
        for row in rows
    }
    (docs / "images").mkdir(exist_ok=True)
    photograph(draw(curves), docs / "images")


if __name__ == "__main__":
    main()
