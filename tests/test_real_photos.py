"""The real ADE20K and Pascal VOC files, all the way: train, evaluate, predict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.runs import RunDirectory

SETTINGS = {
    "model.network": "small",
    "model.width": 32,
    "data.crop": 96,
    "data.scale": "[0.25, 0.5]",
    "data.workers": 0,
    "loss.pixels": 2048,
    "train.batch_size": 4,
    "train.steps": 24,
    "train.optimizer": "adamw",
    "train.lr": 0.002,
    "train.log_every": 1,
}


@pytest.mark.parametrize(
    ("dataset", "classes", "loss"),
    [
        *[("ade20k", 150, loss) for loss in ("nearest", "streaming", "dense")],
        ("voc", 21, "streaming"),
        *[pytest.param("voc", 21, loss, marks=pytest.mark.slow) for loss in ("nearest", "dense")],
    ],
)
def test_loss_falls_and_masks_come_out(
    dataset: str,
    classes: int,
    loss: str,
    realdata: Path,
    tmp_path: Path,
    cli,  # noqa: ANN001
) -> None:
    run = tmp_path / "run"
    settings = {**SETTINGS, "loss.name": loss, "data.dataset": dataset}
    flags = [word for key, value in settings.items() for word in (f"--{key}", value)]
    result = cli("train", "--run", run, "--data.root", realdata / dataset, *flags)
    assert result.returncode == 0, result.stderr
    losses = RunDirectory.open(run).metrics()["loss"].to_numpy()
    assert losses[-6:].mean() < 0.9 * losses[:4].mean()

    result = cli("evaluate", run, "--images", 3, "--root", realdata / dataset, "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["classes"] == classes
    assert summary["miou_classes"] + summary["absent_classes"] == classes

    photo = next((realdata / dataset).rglob("*.jpg"))
    result = cli("predict", run, photo, "--out", tmp_path / "masks", "--json")
    assert result.returncode == 0, result.stderr
    with (
        Image.open(json.loads(result.stdout)["masks"][0]) as mask,
        Image.open(photo) as picture,
    ):
        assert mask.size == picture.size
        assert int(np.asarray(mask).max()) < classes
