"""The mean loss over a split, against logits written out."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from workbench import config
from workbench.datasets import open_dataset
from workbench.datasets.twins import write_twin
from workbench.distances import ClassEmbeddings
from workbench.evaluation.losses import mean_loss
from workbench.losses import build_loss
from workbench.models import build_model


def test_the_mean_is_over_all_labelled_pixels(tmp_path: Path) -> None:
    write_twin("voc", tmp_path, images=3, size=(32, 40))
    dataset = open_dataset("voc", tmp_path, "val")
    torch.manual_seed(0)
    settings = config.Model(network="small", width=8, embedding_dim=4, distance="cosine")
    model = build_model(settings, 21).eval()
    found = mean_loss(model, build_loss(config.Loss(name="streaming"), "cosine"), dataset)
    values = []
    for index in range(len(dataset)):
        sample = dataset[index]
        with torch.no_grad():
            output = model(sample["image"][None])
        classes = output.classes
        assert isinstance(classes, ClassEmbeddings)
        full = functional.interpolate(output.pixels, (32, 40), mode="bilinear")
        units = functional.normalize(full[0].permute(1, 2, 0).reshape(-1, 4), dim=1)
        logits = classes.temperature * units @ functional.normalize(classes.weight, dim=1).T
        losses = functional.cross_entropy(logits, sample["mask"].flatten(), reduction="none")
        values.append(losses[sample["mask"].flatten() >= 0])
    assert found == pytest.approx(float(torch.cat(values).detach().mean()), rel=1e-4)


def test_without_a_label_there_is_no_loss(tmp_path: Path) -> None:
    write_twin("cityscapes", tmp_path, images=1)
    model = build_model(config.Model(network="small", width=8, embedding_dim=4), 19).eval()
    dataset = open_dataset("cityscapes", tmp_path, "test")  # all void
    loss = build_loss(config.Loss(name="streaming"), "euclidean")
    assert math.isnan(mean_loss(model, loss, dataset))
