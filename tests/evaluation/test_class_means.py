"""Mean directions of classes against numpy, one pixel after another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from workbench import config
from workbench.datasets import open_dataset
from workbench.datasets.base import SegmentationDataset
from workbench.datasets.twins import write_twin
from workbench.errors import DataError
from workbench.evaluation.class_means import class_means
from workbench.models import SegmentationModel, build_model


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SegmentationDataset:
    root: Path = write_twin("voc", tmp_path_factory.mktemp("twin"), images=3, size=(32, 40))
    return open_dataset("voc", root, "train")


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    torch.manual_seed(0)
    settings = config.Model(network="small", width=8, embedding_dim=5, distance="cosine")
    return build_model(settings, 21).eval()


def test_against_numpy(model: SegmentationModel, dataset: SegmentationDataset) -> None:
    present = sorted({int(c) for index in range(len(dataset)) for c in dataset.classes_in(index)})
    wanted = present[::-1][:3]
    found = class_means(model, dataset, wanted)
    sums = {class_id: np.zeros(5) for class_id in wanted}
    for index in range(len(dataset)):
        sample = dataset[index]
        with torch.no_grad():
            low = model(sample["image"][None]).pixels
        full = torch.nn.functional.interpolate(low, sample["mask"].shape, mode="bilinear")[0]
        for class_id in wanted:
            for y, x in zip(*np.nonzero(sample["mask"].numpy() == class_id), strict=True):
                pixel = full[:, y, x].double().numpy()
                sums[class_id] += pixel / np.linalg.norm(pixel)
    for row, class_id in zip(found.numpy(), wanted, strict=True):
        assert row == pytest.approx(sums[class_id] / np.linalg.norm(sums[class_id]), abs=1e-4)


def test_a_class_without_a_pixel(model: SegmentationModel, dataset: SegmentationDataset) -> None:
    present = {int(c) for index in range(len(dataset)) for c in dataset.classes_in(index)}
    absent = next(c for c in range(21) if c not in present)
    with pytest.raises(DataError, match=f"class {absent} has no pixel in the split 'train'"):
        class_means(model, dataset, [min(present), absent])
    with pytest.raises(DataError, match=f"class {absent} has no pixel"):
        class_means(model, dataset, [absent])
