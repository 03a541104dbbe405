"""An exported model on real photographs, beside PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench.datasets.pictures import read_picture, to_pixels
from workbench.export import export_model, load_exported
from workbench.inference import load_model, predict_labels
from workbench.runs import RunDirectory

PHOTOS = 3


def test_photos_get_the_labels_that_pytorch_gives(
    realdata: Path, repository: Path, tmp_path: Path
) -> None:
    photos = sorted((realdata / "coco" / "train2017").glob("*.jpg"))[:PHOTOS]
    if len(photos) < PHOTOS:
        pytest.skip("the folder of real photographs is absent")
    run = RunDirectory.open(repository / "runs" / "demo")
    model = load_model(run)[0]
    path = tmp_path / "demo.onnx"
    export_model(model, run.vocabulary(), path, "onnx", source="demo", step=None)
    exported = load_exported(path)
    same, pixels = 0, 0
    for photo in photos:
        picture = to_pixels(read_picture(photo)).transpose(2, 0, 1)[None]
        picture = np.ascontiguousarray(picture[..., :200, :300])
        expected = predict_labels(model, torch.from_numpy(picture)).numpy()
        labels, distances = exported(picture)
        assert np.isfinite(distances).all()
        same += int((labels == expected).sum())
        pixels += labels.size
    assert same / pixels >= 0.999
