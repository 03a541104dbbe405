"""Labels against a search over every class, and models back from run directories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from workbench import config
from workbench.constants import IGNORE_INDEX
from workbench.distances import DISTANCES, ClassEmbeddings
from workbench.errors import RunError
from workbench.inference import build_from_config, labels_of, load_model, predict_labels
from workbench.inference.files import Predictor, predict_files
from workbench.inference.picture_paths import find_pictures
from workbench.models import ModelOutput
from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary, palette

CLASSES = 1284
BUDGETS = [5_000, 2**26]


def run_config(loss: str) -> config.Run:
    model = config.Model(
        network="small", width=8, embedding_dim=6, distance="euclidean", pretrained=True
    )
    return config.Run(model=model, loss=config.Loss(name=loss))


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(
        pd.DataFrame(
            {
                "class_id": np.arange(CLASSES),
                "name": [f"class {index}" for index in range(CLASSES)],
                "group": "common",
                "supercategory": "things",
                "color": palette(CLASSES),
                "train_images": 1,
                "train_pixels": 1,
            }
        )
    )


def brute_force(output: ModelOutput, name: str) -> Tensor:
    """Nearest class of each pixel at full resolution, over all of them at once."""
    full = functional.interpolate(output.pixels, output.size, mode="bilinear")
    pixels = full.permute(0, 2, 3, 1)
    assert output.classes is not None
    weight, bias, temperature = output.classes
    if name == "linear":
        return (temperature * pixels @ weight.T + (0 if bias is None else bias)).argmax(dim=-1)
    x, e = functional.normalize(pixels, dim=-1), functional.normalize(weight, dim=-1)
    return torch.stack([(x - row).norm(dim=-1) for row in e]).argmin(dim=0)


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("name", list(DISTANCES))
def test_labels_are_the_nearest_class(name: str, budget: int) -> None:
    torch.manual_seed(0)
    bias = torch.randn(CLASSES) if name == "linear" else None
    classes = ClassEmbeddings(torch.randn(CLASSES, 3), bias, torch.tensor(1.0))
    output = ModelOutput(torch.randn(2, 3, 4, 5), classes, (15, 18))
    labels = labels_of(output, name, budget=budget)
    assert labels.shape == (2, 15, 18) and labels.dtype == torch.int64
    assert labels.max() > 255
    assert (labels == brute_force(output, name)).float().mean() > 0.998  # but for rounding ties


@pytest.mark.parametrize("wanted", [0, 255, 256, 1283])
def test_every_class_can_be_predicted(wanted: int) -> None:
    torch.manual_seed(0)
    weight = torch.randn(CLASSES, 8)
    pixels = 5 * weight[wanted][None, :, None, None].expand(1, 8, 2, 2)
    output = ModelOutput(pixels, ClassEmbeddings(weight, None, torch.tensor(20.0)), (7, 9))
    for budget in BUDGETS:
        assert (labels_of(output, "cosine", budget=budget) == wanted).all()


def test_embeddings_are_normalised_after_upsampling() -> None:
    """Between two opposite-ish embeddings of unequal length the longer one reaches further."""
    pixels = torch.tensor([[[[9.0, 0.0]], [[0.0, 1.0]]]])  # (1, 2, 1, 2)
    classes = ClassEmbeddings(torch.eye(2), None, torch.tensor(1.0))
    labels = labels_of(ModelOutput(pixels, classes, (1, 40)), "cosine")[0, 0]
    assert labels.sum() == 12  # class 1 wins where 9 (1 - t) < t, not from the middle on


def test_the_dense_head_takes_the_largest_logit() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, CLASSES, 4, 5)
    full = functional.interpolate(logits, (15, 18), mode="bilinear")
    labels = labels_of(ModelOutput(logits, None, (15, 18)), "euclidean")
    assert torch.equal(labels, full.argmax(dim=1))


@pytest.mark.parametrize("loss", ["nearest", "dense"])
def test_a_model_comes_back_from_its_run(tmp_path: Path, vocabulary: Vocabulary, loss: str) -> None:
    settings = run_config(loss)
    torch.manual_seed(0)
    model = build_from_config(
        config.from_overrides(settings, {"model.pretrained": "false"}), CLASSES
    )
    assert (model.table is None) == (loss == "dense")
    run = RunDirectory.create(
        tmp_path / "run", config=config.to_dict(settings), vocabulary=vocabulary
    )
    with pytest.raises(RunError):
        load_model(run)
    for step in (3, 7):
        with torch.no_grad():
            next(model.parameters()).add_(step)
        run.save_checkpoint(step, model=model.state_dict(), optimizer=None, trainer={})
    loaded, step = load_model(run)
    assert step == 7 and not loaded.training
    images = torch.randint(0, 256, (2, 3, 33, 31), dtype=torch.uint8)
    labels = predict_labels(loaded, images)
    assert labels.shape == (2, 33, 31)
    assert torch.equal(labels, predict_labels(model.eval(), images))
    assert load_model(run, 3)[1] == 3

    pictures = []
    for name, image in zip("ab", images, strict=True):
        pictures.append(tmp_path / f"{name}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(pictures[-1])
    predictor = Predictor(loaded, vocabulary, None, {})
    found = find_pictures([str(path) for path in pictures], tmp_path / "masks")
    batch = predict_files(predictor, found, tmp_path / "masks")
    assert batch.classes == len(labels.unique())
    for written, expected in zip(batch.masks, labels.numpy(), strict=True):
        with Image.open(written) as mask:
            assert mask.mode.startswith("I;16")
            assert (np.asarray(mask).astype(np.int64) == expected).all()
    assert IGNORE_INDEX not in labels
