"""The promise of the method: beside the class table, no tensor grows with the classes.

Every operation of a training step and of a prediction is watched, and the largest tensor it
makes is compared between 1,284 and 100,000 classes. The dense baseline shows that the
measure sees what it should.
"""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from workbench import config
from workbench.inference import build_from_config, predict_labels
from workbench.losses import build_loss, separation_penalty
from workbench.neighbours import DEFAULT_BUDGET
from workbench.presets import get_preset
from workbench.trainers import Trainer
from workbench.trainers.sampling import Batch

FEW, MANY, DIM, SIDE = 1_284, 100_000, 16, 64
SMALL_BUDGET_MB = 0.06  # activations are larger than that


class Largest(NamedTuple):
    """The largest new tensor: bytes, shape and the operation that made it."""

    bytes: int
    shape: tuple[int, ...]
    operation: str


class Watch(TorchDispatchMode):
    """Records the largest tensor that owns new memory and is not shaped like the table."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.spared = {(classes, DIM), (DIM, classes), (classes,), (classes, 1)}
        self.largest = Largest(0, (), "")
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operations += 1
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if not isinstance(tensor, Tensor):
                continue
            size = tensor.numel() * tensor.element_size()
            if size <= self.largest.bytes or tuple(tensor.shape) in self.spared:
                continue
            given = (leaf for leaf in pytree.tree_leaves((args, kwargs)) if torch.is_tensor(leaf))
            own = tensor.untyped_storage().data_ptr()
            if own not in {leaf.untyped_storage().data_ptr() for leaf in given}:  # not a view
                self.largest = Largest(size, tuple(tensor.shape), str(func))
        return result


def run_config(loss: str, distance: str, budget_mb: float, pixels: int) -> config.Run:
    smoke = get_preset("smoke")
    return dataclasses.replace(
        smoke,
        model=dataclasses.replace(
            smoke.model,
            width=16,
            embedding_dim=DIM,
            distance=distance,
            temperature=1.0 if distance == "linear" else 20.0,
        ),
        loss=dataclasses.replace(
            smoke.loss, name=loss, pixels=pixels, budget_mb=budget_mb, separation_weight=0.0
        ),
    )


def make_images(number: int, side: int) -> Tensor:
    return torch.randint(0, 256, (number, 3, side, side), dtype=torch.uint8)


def make_batch(classes: int, side: int) -> Batch:
    masks = torch.randint(0, classes, (2, side, side))
    masks[:, :5] = -100
    return Batch(make_images(2, side), masks, ["a", "b"])


def training(
    classes: int,
    loss: str,
    *,
    distance: str = "cosine",
    budget_mb: float = SMALL_BUDGET_MB,
    pixels: int = 32,
    side: int = SIDE,
) -> Largest:
    """A whole step: forward, backward, optimiser."""
    run = run_config(loss, distance, budget_mb, pixels)
    model = build_from_config(run, classes)
    trainer = Trainer(run, model, build_loss(run.loss, distance))
    batch = make_batch(classes, side)
    with Watch(classes) as watch:
        trainer.train_step(batch)
    assert watch.operations > 150
    return watch.largest


def prediction(
    classes: int, *, distance: str = "cosine", budget: int = int(SMALL_BUDGET_MB * 2**20)
) -> Largest:
    model = build_from_config(run_config("streaming", distance, 1.0, 0), classes).eval()
    with Watch(classes) as watch:
        labels = predict_labels(model, make_images(1, 32), budget=budget)
    assert labels.shape == (1, 32, 32) and watch.operations > 50
    return watch.largest


ACTIVATIONS = 2 * 3 * SIDE * SIDE * 4  # the normalised images; all other layers are smaller
assert SMALL_BUDGET_MB * 2**20 < ACTIVATIONS


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "linear"])
@pytest.mark.parametrize("loss", ["streaming", "nearest"])
def test_training_makes_the_same_largest_tensor_for_any_classes(loss: str, distance: str) -> None:
    few, many = (training(classes, loss, distance=distance) for classes in (FEW, MANY))
    assert few == many
    assert few.bytes < 4 * ACTIVATIONS


@pytest.mark.parametrize("loss", ["streaming", "nearest"])
def test_training_on_all_pixels_too(loss: str) -> None:
    few, many = (training(classes, loss, pixels=0, side=32) for classes in (FEW, MANY))
    assert few == many
    assert few.bytes < 2 * DIM * 32 * 32 * 4  # the embeddings at full resolution are never made


@pytest.mark.parametrize("pixels", [0, 500])
@pytest.mark.parametrize("loss", ["streaming", "nearest"])
def test_what_kernels_allocate_fits_the_budget(loss: str, pixels: int) -> None:
    """Compiled kernels work in numpy's memory, which torch's operations do not show."""
    peaks = []
    for classes in (FEW, 20_000):
        run = run_config(loss, "euclidean", 1.0, pixels)
        trainer = Trainer(run, build_from_config(run, classes), build_loss(run.loss, "euclidean"))
        batch = make_batch(classes, 32)
        trainer.train_step(batch)  # compiles, and fills caches
        tracemalloc.start()
        trainer.train_step(batch)
        peaks.append(tracemalloc.get_traced_memory()[1] - 3 * 4 * DIM * classes)
        tracemalloc.stop()
    # Beside the table and its gradient, transposed and not.
    assert peaks[1] < peaks[0] + 2**20, peaks
    assert peaks[0] < 3 * 2**20, peaks


@pytest.mark.parametrize("loss", ["streaming", "nearest"])
def test_the_default_budget_holds(loss: str) -> None:
    default = config.Loss().budget_mb
    assert default * 2**20 == DEFAULT_BUDGET
    for classes in (FEW, MANY):
        largest = training(classes, loss, budget_mb=default, pixels=1024)
        assert largest.bytes <= DEFAULT_BUDGET, largest


def test_prediction_makes_the_same_largest_tensor_for_any_classes() -> None:
    few, many = (prediction(classes) for classes in (FEW, MANY))
    assert few == many
    assert few.bytes == DIM * 32 * 32 * 4  # the embeddings at full resolution
    assert prediction(MANY, budget=DEFAULT_BUDGET).bytes <= DEFAULT_BUDGET


def test_the_separation_penalty_makes_no_square() -> None:
    def largest(classes: int) -> Largest:
        weight = torch.randn(classes, DIM, requires_grad=True)
        with Watch(classes) as watch:
            separation_penalty(weight, budget=500_000).backward()
        return watch.largest

    few, many = largest(FEW), largest(12_840)
    assert few.bytes <= 500_000 and many.bytes <= 500_000


@pytest.mark.parametrize(
    "measure",
    [
        lambda classes: training(classes, "dense"),
        lambda classes: training(classes, "dense", pixels=0),
    ],
)
def test_the_dense_baseline_grows(measure: Callable[[int], Largest]) -> None:
    few, many = measure(200), measure(2_000)
    assert many.bytes > 8 * few.bytes
