"""A run that starts from weights normalises as they do, and goes on without their file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from workbench import config
from workbench.inference import load_model
from workbench.runs import RunDirectory
from workbench.trainers import train

MakeConfig = Callable[..., config.Run]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a classifier whose pictures had mean and deviation 0.5."""
    path = tmp_path / "elsewhere" / "w.safetensors"
    path.parent.mkdir()
    torch.manual_seed(5)
    save_file(timm.create_model("test_resnet").state_dict(), path)
    return path


def test_training_prediction_and_resume_normalise_alike(
    weights: Path,
    shapeworld: Path,
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = {
        "network": "deeplabv3plus",
        "backbone": "test_resnet",
        "pretrained": True,  # the file takes the hub's place
        "weights": str(weights),
    }
    data = {"root": str(shapeworld), "crop": 32}
    run_config = make_config(model=model, data=data, train={"steps": 2, "checkpoint_every": 2})
    run = train(run_config, tmp_path / "run")
    kept = config.from_dict(run.config()).model
    assert kept.mean == kept.std == (0.5, 0.5, 0.5)
    assert kept.weights == "elsewhere/w.safetensors"  # as the data's folder: no absolute path
    trained, _ = load_model(run)
    torch.testing.assert_close(trained.mean.flatten(), torch.full((3,), 127.5))
    torch.testing.assert_close(trained.std.flatten(), torch.full((3,), 127.5))

    weights.unlink()  # neither prediction nor going on needs it
    load_model(RunDirectory.open(tmp_path / "run"))
    # A script may pass the settings it began with: not the defaults, what the run has, counts.
    again = train(
        make_config(model=model, data=data, train={"steps": 4, "checkpoint_every": 2}),
        tmp_path / "run",
        resume=True,
    )
    assert config.from_dict(again.config()).model == kept
    gone_on, step = load_model(again)
    assert step == 4
    torch.testing.assert_close(gone_on.mean, trained.mean)
