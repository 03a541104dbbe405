from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from workbench import config
from workbench.datasets import prepare, write_sample
from workbench.inference import build_from_config
from workbench.losses import build_loss
from workbench.presets import get_preset
from workbench.trainers import Trainer
from workbench.trainers.sampling import Batch

CLASSES = 300

MakeTrainer = Callable[..., Trainer]


@pytest.fixture(scope="session")
def shapeworld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generated dataset of 300 classes, prepared."""
    root = tmp_path_factory.mktemp("shapeworld")
    write_sample("shapeworld", root, images=40, val_images=8, size=48, classes=CLASSES)
    prepare("shapeworld", root, workers=1)
    return root


@pytest.fixture
def make_config() -> Callable[..., config.Run]:
    """The smoke preset, smaller still; sections may be changed by dicts of fields."""

    def make(**sections: dict[str, object]) -> config.Run:
        run = get_preset("smoke")
        run = dataclasses.replace(
            run,
            model=dataclasses.replace(run.model, width=8, embedding_dim=8),
            loss=dataclasses.replace(run.loss, pixels=200),
            train=dataclasses.replace(run.train, lr=5e-3, warmup_steps=2),
        )
        for name, fields in sections.items():
            section = dataclasses.replace(getattr(run, name), **fields)
            run = dataclasses.replace(run, **{name: section})
        return run

    return make


@pytest.fixture
def make_trainer(make_config: Callable[..., config.Run]) -> MakeTrainer:
    """A trainer over the small network, without any dataset."""

    def make(classes: int = CLASSES, **sections: dict[str, object]) -> Trainer:
        run = make_config(**sections)
        torch.manual_seed(run.train.seed)
        model = build_from_config(run, classes)
        return Trainer(run, model, build_loss(run.loss, run.model.distance))

    return make


@pytest.fixture
def batch() -> Batch:
    """Four pictures of coloured squares whose class is their colour; ids up to 299."""
    generator = torch.Generator().manual_seed(0)
    images = torch.full((4, 3, 32, 32), 30, dtype=torch.uint8)
    masks = torch.full((4, 32, 32), 299)
    for number in range(4):
        top, left = torch.randint(2, 14, (2,), generator=generator).tolist()
        color = torch.tensor([250 * (number & 1), 125 * (number & 2), 60 * (number + 1)])
        place = (slice(top, top + 14), slice(left, left + 14))
        images[number][:, *place] = color[:, None, None].to(torch.uint8)
        masks[number][place] = 254 + number  # 254 .. 257
    masks[:, :2] = -100
    return Batch(images, masks, [f"square {number}" for number in range(4)])
