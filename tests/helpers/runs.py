"""Changes to invented runs that tests of several pages make."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from helpers.vocabularies import make_vocabulary
from workbench import config
from workbench.inference import build_from_config
from workbench.runs import RunDirectory


def random_run(
    path: Path, *, dim: int = 6, loss: str = "streaming", classes: int = 300
) -> RunDirectory:
    """A run with the weights of a small random network, nothing else."""
    torch.manual_seed(0)
    settings = config.Run(
        model=config.Model(network="small", width=8, embedding_dim=dim, distance="euclidean"),
        loss=config.Loss(name=loss),
    )
    vocabulary = make_vocabulary(classes)
    run = RunDirectory.create(path, config=config.to_dict(settings), vocabulary=vocabulary)
    model = build_from_config(settings, classes)
    run.save_checkpoint(20, model=model.state_dict(), optimizer=None, trainer={})
    return run


def add_checkpoint(
    path: Path, loss: str = "streaming", distance: str | None = None
) -> RunDirectory:
    """Gives a run the weights of a small random network, of another distance if one is named."""
    run = RunDirectory(path)
    settings = run.config()
    settings["model"] |= {"width": 8}
    if distance is not None:
        temperature = 1.0 if distance == "linear" else 20.0
        settings["model"] |= {"distance": distance, "temperature": temperature}
    settings["loss"] = {"name": loss}
    run = RunDirectory.create(path, config=settings, vocabulary=run.vocabulary(), resume=True)
    torch.manual_seed(0)
    model = build_from_config(config.from_dict(settings), len(run.vocabulary()))
    run.save_checkpoint(2000, model=model.state_dict(), optimizer=None, trainer={})
    return run


def replace_per_class(run: RunDirectory, table: pd.DataFrame) -> None:
    """Writes another class table into the evaluation of a run; all else stays."""
    run.write_evaluation(
        "val",
        summary=run.read_summary("val"),
        per_class=table,
        per_image_class=run.read_per_image_class("val"),
        confusions=run.read_confusions("val"),
    )
