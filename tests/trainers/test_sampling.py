"""Which images make up which step, and the augmentation each draw gets."""

from __future__ import annotations

import importlib
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.config import Data
from workbench.datasets import open_dataset
from workbench.runs import RunDirectory
from workbench.trainers.sampling import (
    Draw,
    SeededDataset,
    StepSampler,
    collate,
    epoch_length,
    epoch_order,
    repeat_factors,
    step_seed,
    training_batches,
)
from workbench.trainers.train import open_training_set, survey, train


def draws(sampler: StepSampler) -> list[list[Draw]]:
    steps = list(sampler)
    assert len(steps) == len(sampler)
    return steps


@settings(max_examples=60, deadline=None)
@given(length=st.integers(1, 30), size=st.integers(1, 12), seed=st.integers(0, 99))
def test_every_image_comes_once_an_epoch(length: int, size: int, seed: int) -> None:
    steps = -(-3 * length // size)
    flat = [
        d for step in draws(StepSampler(length, size, seed=seed, start=0, stop=steps)) for d in step
    ]
    assert [draw.position for draw in flat] == list(range(steps * size))
    for epoch in range(3):
        seen = [draw.index for draw in flat[epoch * length : (epoch + 1) * length]]
        assert sorted(seen) == list(range(length))


def test_epochs_and_seeds_have_their_own_order() -> None:
    first, second = draws(StepSampler(40, 40, seed=0, start=0, stop=2))
    assert [d.index for d in first] != [d.index for d in second]
    (other,) = draws(StepSampler(40, 40, seed=1, start=0, stop=1))
    assert [d.index for d in first] != [d.index for d in other]


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 30),
    size=st.integers(1, 8),
    stop=st.integers(1, 20),
    data=st.data(),
)
def test_a_resumed_run_sees_the_same_tail(length: int, size: int, stop: int, data: Any) -> None:
    start = data.draw(st.integers(0, stop))
    whole = draws(StepSampler(length, size, seed=7, start=0, stop=stop))
    assert draws(StepSampler(length, size, seed=7, start=start, stop=stop)) == whole[start:]


@pytest.mark.parametrize("world", [2, 3, 4, 5, 12])
def test_processes_share_the_global_batch(world: int) -> None:
    whole = draws(StepSampler(17, 12, seed=3, start=0, stop=9))
    parts = [
        draws(StepSampler(17, 12, seed=3, start=0, stop=9, rank=rank, world=world))
        for rank in range(world)
    ]
    for step, expected in enumerate(whole):
        assert [draw for part in parts for draw in part[step]] == expected
        sizes = [len(part[step]) for part in parts]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


def test_repeat_factors_by_hand() -> None:
    lists = [[0], [0, 700], [0, 5], [0, 5], [], [0], [0], [0]]
    images = [np.array(present, dtype=np.int64) for present in lists]
    # Class 700 is in 1/8 of the images, class 5 in 2/8, class 0 in 7/8; threshold 1/2.
    assert repeat_factors(images, 1284, 0.5) == pytest.approx(
        [1.0, 2.0, 2**0.5, 2**0.5, 1.0, 1.0, 1.0, 1.0]
    )
    assert (repeat_factors(images, 1284, 0.0) == 1).all()
    assert (repeat_factors(images, 1284, 1 / 8) == 1).all()


@settings(max_examples=60, deadline=None)
@given(
    factors=st.lists(st.floats(1, 40), min_size=1, max_size=30),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 99),
)
def test_each_image_comes_as_often_as_its_factor_says(
    factors: list[float], seed: int, epoch: int
) -> None:
    order = epoch_order(np.array(factors), seed, epoch)
    total = sum(map(Fraction, factors))  # exact
    assert len(order) == -(-total.numerator // total.denominator)
    seen = Counter(order.tolist())
    for index, factor in enumerate(factors):
        expected = Fraction(factor) * len(order) / total
        # A whole number, but for the float arithmetic, must be met exactly.
        assert int(expected - Fraction(1, 10**9)) <= seen[index] <= int(expected) + 1
        assert seen[index] >= 1


def test_over_many_epochs_the_factors_are_met() -> None:
    factors = np.array([1.0, 1.0, 1.25, 3.7, 1.05])
    counts = np.zeros(5)
    for epoch in range(2000):
        order = epoch_order(factors, 3, epoch)
        assert len(order) == 8
        counts += np.bincount(order, minlength=5)
    # An image's count is one of two neighbours: deviation 0.5 at most, 0.011 of 2000 means.
    assert counts / 2000 == pytest.approx(factors, abs=0.045)


def test_repeats_are_spread_over_the_epoch() -> None:
    factors = np.ones(200)
    factors[50] = 20.0
    places = [np.flatnonzero(epoch_order(factors, 0, epoch) == 50) for epoch in range(60)]
    assert {len(place) for place in places} == {20}
    means = np.array([place.mean() for place in places])
    # Uniform over 0..218: deviation of a mean of 20 is 63 / sqrt(20), of 60 such 1.8.
    assert means.mean() == pytest.approx(109, abs=8)
    assert means.std() == pytest.approx(63 / 20**0.5, rel=0.4)


@pytest.mark.parametrize("factors", [None, np.ones(13)])
def test_without_repeats_an_epoch_is_the_plain_shuffle(factors: Any) -> None:
    steps = draws(StepSampler(13, 5, seed=4, start=0, stop=11, factors=factors))
    plain = [np.random.default_rng((4, epoch)).permutation(13) for epoch in range(5)]
    wanted = np.concatenate(plain)[:55].tolist()
    assert [draw.index for step in steps for draw in step] == wanted


@settings(max_examples=40, deadline=None)
@given(
    factors=st.lists(st.floats(1, 9), min_size=1, max_size=20),
    world=st.sampled_from([1, 2, 3]),
    start=st.integers(0, 12),
)
def test_repeats_survive_a_resume_on_other_processes(
    factors: list[float], world: int, start: int
) -> None:
    repeat = {"seed": 7, "stop": 12, "factors": np.array(factors)}
    whole = draws(StepSampler(len(factors), 6, start=0, **repeat))
    parts = [
        draws(StepSampler(len(factors), 6, start=start, rank=rank, world=world, **repeat))
        for rank in range(world)
    ]
    for step in range(start, 12):
        assert [draw for part in parts for draw in part[step - start]] == whole[step]
    epoch = epoch_length(repeat["factors"])
    flat = [draw.index for step in whole for draw in step]
    for first in range(0, len(flat) - epoch + 1, epoch):
        assert set(flat[first : first + epoch]) == set(range(len(factors)))


def test_images_of_rare_classes_are_shown_more_often(
    shapeworld: Path, make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the setting to the pictures a training takes, with the masks as the oracle."""
    dataset = open_dataset("shapeworld", shapeworld, "train")
    masks = [dataset.read_mask(index) for index in range(len(dataset))]
    present = [set(np.unique(mask[mask >= 0]).tolist()) for mask in masks]
    holders = Counter(label for labels in present for label in labels)
    threshold = 0.2
    wanted = {
        name: max((threshold * len(masks) / holders[label]) ** 0.5 for label in labels)
        for name, labels in zip(dataset.ids, present, strict=True)
    }
    wanted = {name: max(1.0, factor) for name, factor in wanted.items()}
    assert max(wanted.values()) > 2 and any(max(labels) > 255 for labels in present)

    shown: list[list[str]] = []

    def record(dataset: Any, sampler: StepSampler, **_: Any) -> Any:
        shown.extend([dataset.ids[draw.index] for draw in step] for step in sampler)
        for batch in training_batches(dataset, sampler, seed=0, workers=0):
            yield batch
            return  # one step is enough of the training itself

    module = importlib.import_module("workbench.trainers.train")  # hidden by its function
    monkeypatch.setattr(module, "training_batches", record)
    run = make_config(
        data={"root": str(shapeworld), "crop": 32, "repeat_threshold": threshold},
        train={"batch_size": 4, "steps": 400, "checkpoint_every": 400},
    )
    train(run, tmp_path / "run")
    counts = Counter(name for step in shown for name in step)
    epochs = counts.total() / sum(wanted.values())
    for name, factor in wanted.items():
        assert counts[name] / epochs == pytest.approx(factor, abs=0.2)

    monkeypatch.undo()
    factors = survey(open_training_set(run.data), threshold, RunDirectory(tmp_path / "run"))[1]
    sampler = StepSampler(
        len(dataset), 4, seed=run.train.seed, start=300, stop=400, factors=factors
    )
    assert [[dataset.ids[d.index] for d in step] for step in sampler] == shown[300:]


def test_seeds_are_mixed() -> None:
    seeds = {step_seed(seed, number) for seed in range(20) for number in range(200)}
    assert len(seeds) == 20 * 200 and min(seeds) >= 0 and max(seeds) < 2**63
    bits = Counter(bit for seed in seeds for bit in range(63) if seed >> bit & 1)
    assert all(0.4 < bits[bit] / len(seeds) < 0.6 for bit in range(63))


class Noise:
    """A stand-in for a dataset with a random transform."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        noise = torch.rand(3, 2, 2).mul(255).byte()
        return {"image": noise, "mask": torch.full((2, 2), 1283), "id": f"{index}"}

    def __len__(self) -> int:
        return 9


def test_augmentation_depends_on_the_draw_alone() -> None:
    dataset = SeededDataset(cast(Any, Noise()), seed=5)
    wanted = [Draw(0, 3), Draw(1, 3), Draw(9, 3)]
    torch.manual_seed(1)
    one = [dataset[draw]["image"] for draw in wanted]
    torch.rand(77)
    two = [dataset[draw]["image"] for draw in reversed(wanted)][::-1]
    for left, right in zip(one, two, strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one[0], one[1])  # the same image looks new each time
    other = SeededDataset(cast(Any, Noise()), seed=6)
    assert not torch.equal(one[0], other[wanted[0]]["image"])


def test_drawing_leaves_the_global_generator_alone() -> None:
    dataset = SeededDataset(cast(Any, Noise()), seed=5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    dataset[Draw(4, 2)]
    assert torch.equal(state, torch.get_rng_state())


def test_a_batch_keeps_ids_and_types() -> None:
    batch = collate([cast(Any, Noise()[index]) for index in range(3)])
    assert batch.images.shape == (3, 3, 2, 2) and batch.images.dtype == torch.uint8
    assert batch.masks.dtype == torch.int64 and (batch.masks == 1283).all()
    assert batch.ids == ["0", "1", "2"]


@pytest.mark.parametrize("color_jitter", [0.0, 0.5])
def test_real_batches_are_the_same_after_a_resume(shapeworld: Path, color_jitter: float) -> None:
    settings = Data(root=str(shapeworld), crop=32, scale=(0.5, 2.0), color_jitter=color_jitter)
    dataset = open_training_set(settings)

    def batches(start: int) -> list[Any]:
        sampler = StepSampler(len(dataset), 3, seed=1, start=start, stop=4)
        return list(training_batches(dataset, sampler, seed=1, workers=0))

    torch.manual_seed(1)
    whole = batches(0)
    torch.manual_seed(2)
    for one, other in zip(whole[2:], batches(2), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)
        assert one.ids == other.ids
    assert whole[0].images.shape == (3, 3, 32, 32)
    assert max(int(batch.masks.max()) for batch in whole) > 255


def test_worker_processes_give_the_same_batches(shapeworld: Path) -> None:
    dataset = open_training_set(Data(root=str(shapeworld), crop=32))
    sampler = StepSampler(len(dataset), 3, seed=1, start=0, stop=2)
    here = list(training_batches(dataset, sampler, seed=1, workers=0))
    there = list(training_batches(dataset, sampler, seed=1, workers=1))
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.masks, other.masks)
