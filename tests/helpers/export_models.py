"""Small models of 300 classes, to be exported."""

from __future__ import annotations

import numpy as np
import torch

from helpers.vocabularies import make_vocabulary
from workbench import config
from workbench.models import SegmentationModel, build_model
from workbench.vocabulary import Vocabulary

CLASSES = 300


def vocabulary(count: int, prefix: str = "class") -> Vocabulary:
    names = [f"{prefix} é<{index}>" for index in range(count)]
    return make_vocabulary(count, name=names, train_pixels=2**40)


def make_model(
    distance: str = "euclidean", *, dense: bool = False, **model: object
) -> SegmentationModel:
    """Random weights whose labels differ from pixel to pixel."""
    values = {"network": "small", "width": 8, "embedding_dim": 6, "pretrained": False}
    values |= {"distance": distance, "temperature": 1.0 if distance == "linear" else 20.0}
    settings = config.from_dict({"model": values | model}).model
    torch.manual_seed(0)
    made = build_model(settings, CLASSES, class_table=not dense)
    _spread_out(made.eval())
    if made.table is not None and made.table.bias is not None:
        torch.nn.init.normal_(made.table.bias, std=0.05)
    return made


def _spread_out(model: SegmentationModel) -> None:
    """Moves the outputs round zero: all pixels of a random network see nearly the same."""
    images = torch.from_numpy(pictures(2, 3, 96, 96, seed=5))
    last = [m for m in model.network.modules() if isinstance(m, torch.nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        outputs = model(images).pixels
        deviation = outputs.std(dim=(0, 2, 3))
        last.weight /= deviation[:, None, None, None]
        last.bias.copy_((last.bias - outputs.mean(dim=(0, 2, 3))) / deviation)


def pictures(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
