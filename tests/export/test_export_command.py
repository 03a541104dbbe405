"""``workbench export`` on a run with pictures, and on the same model as a shared folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.export_models import CLASSES, make_model, pictures, vocabulary

from workbench import config
from workbench.export import load_exported
from workbench.inference import predict_labels
from workbench.runs import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    settings = config.to_dict(config.Run())
    settings["model"] |= {"network": "small", "width": 8, "embedding_dim": 6, "pretrained": False}
    settings["loss"]["name"] = "streaming"
    made = RunDirectory.create(tmp_path / "mine", config=settings, vocabulary=vocabulary(CLASSES))
    made.save_checkpoint(40, model=make_model().state_dict(), optimizer=None, trainer={})
    return made


def test_a_run_becomes_a_file(run: RunDirectory, tmp_path: Path, cli: Any) -> None:
    import torch

    out = tmp_path / "elsewhere" / "mine.onnx"
    done = cli("export", run.path, "--format", "onnx", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["agreement"] > 0.999 and values["classes"] == CLASSES
    assert values["bytes"] == out.stat().st_size and values["opset"] == 18
    written = load_exported(out)
    assert written.facts["source_run"] == "mine" and written.facts["source_step"] == 40
    assert str(tmp_path).encode() not in out.read_bytes()
    images = pictures(1, 3, 80, 70)
    wanted = predict_labels(make_model(), torch.from_numpy(images)).numpy()
    assert np.mean(written(images)[0] == wanted) > 0.999


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch", "--format", "onnx", "--out", "a.onnx"], ["nosuch"]),
        (["mine", "--format", "tflite", "--out", "a.tflite"], ["onnx", "pt2"]),
        (["mine", "--format", "pt2", "--out", "a.pth"], ["--out", ".pt2"]),
        (["mine", "--format", "onnx", "--out", "a.onnx", "--size", "0", "64"], ["--size"]),
    ],
)
def test_errors_are_one_line(
    run: RunDirectory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Any,
    arguments: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("export", *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
