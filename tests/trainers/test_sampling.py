"""Which images make up which step, and the augmentation each draw gets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.config import Data
from workbench.trainers.sampling import (
    Draw,
    SeededDataset,
    StepSampler,
    collate,
    step_seed,
    training_batches,
)
from workbench.trainers.train import open_training_set


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


@pytest.mark.parametrize("world", [2, 3, 4])
def test_processes_share_the_global_batch(world: int) -> None:
    whole = draws(StepSampler(17, 12, seed=3, start=0, stop=9))
    size = 12 // world
    parts = [
        draws(StepSampler(17, size, seed=3, start=0, stop=9, rank=rank, world=world))
        for rank in range(world)
    ]
    for step, expected in enumerate(whole):
        assert [draw for part in parts for draw in part[step]] == expected


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
