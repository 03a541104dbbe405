"""A run of 300 classes with random weights and invented scores, quick to make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from workbench import config
from workbench.inference import build_from_config
from workbench.runs import CONFUSION_COLUMNS, PER_IMAGE_CLASS_COLUMNS, RunDirectory
from workbench.runs.results import PER_CLASS_COLUMNS
from workbench.vocabulary import Vocabulary, palette

CLASSES, STEP = 300, 40

MakeRun = Callable[..., RunDirectory]


def vocabulary(names: list[str]) -> Vocabulary:
    table = {
        "class_id": np.arange(len(names)),
        "name": names,
        "group": ["rare" if index % 3 else "stuff" for index in range(len(names))],
        "supercategory": "",
        "color": palette(len(names)),
        "train_images": 7,
        "train_pixels": 2**40,
        "hue": [None if index % 2 else "teal" for index in range(len(names))],
    }
    return Vocabulary(pd.DataFrame(table))


def evaluate(run: RunDirectory, split: str, *, step: int = STEP) -> None:
    """Invented scores: every third class fails."""
    iou = np.where(np.arange(CLASSES) % 3, 0.5, 0.125)
    table = pd.DataFrame(dict.fromkeys(PER_CLASS_COLUMNS, 0), index=range(CLASSES))
    summary = {
        "split": split,
        "images": 1234,
        "classes": CLASSES,
        "miou": float(iou.mean()),
        "miou_classes": 299,
        "absent_classes": 1,
        "pixel_accuracy": 0.8125,
        "groups": {
            "rare": {"miou": 0.5, "classes": 200, "absent": 0},
            "stuff": {"miou": None, "classes": 0, "absent": 100},
        },
        "checkpoint_step": step,
    }
    run.write_evaluation(
        split,
        summary=summary,
        per_class=table.assign(iou=iou),
        per_image_class=pd.DataFrame(columns=list(PER_IMAGE_CLASS_COLUMNS), dtype="int64"),
        confusions=pd.DataFrame(columns=list(CONFUSION_COLUMNS), dtype="int64"),
    )


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    def make(
        name: str = "mine",
        *,
        loss: str = "streaming",
        names: list[str] | None = None,
        scored: bool = True,
        **model: object,
    ) -> RunDirectory:
        settings = config.to_dict(config.Run())
        small = {"network": "small", "width": 8, "embedding_dim": 6, "pretrained": True}
        settings["model"] |= {**small, **model}
        settings["loss"]["name"] = loss
        settings["data"] |= {"dataset": "lvis-coco", "root": str(tmp_path / "secret place")}
        settings["train"]["seed"] = 77
        classes = vocabulary(names or [f"class {index}" for index in range(CLASSES)])
        run = RunDirectory.create(tmp_path / name, config=settings, vocabulary=classes)
        torch.manual_seed(0)
        bare = {**settings["model"], "pretrained": False, "weights": ""}
        network = build_from_config(config.from_dict({**settings, "model": bare}), len(classes))
        for value in network.state_dict().values():
            if value.is_floating_point():  # statistics of the normalisation too
                value.add_(torch.rand_like(value) * 0.1)
        run.save_checkpoint(STEP, model=network.state_dict(), optimizer=None, trainer={})
        run.append_metrics({"step": STEP, "loss": 1.0, "seconds": 4200.0})
        run.append_metrics({"step": STEP + 10, "loss": 1.0, "seconds": 9999.0})
        if scored:
            evaluate(run, "val")
        return run

    return make
