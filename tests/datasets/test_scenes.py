"""The twins that draw scenes: what each lesson needs is in them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from workbench.constants import IGNORE_INDEX
from workbench.datasets import PREPARED, open_dataset, prepare
from workbench.datasets.counts import count_classes
from workbench.datasets.twins import (
    SCENES,
    TWINS,
    landscapes,
    objects,
    rooms,
    street,
    write_twin,
)
from workbench.errors import ConfigError


@pytest.mark.parametrize("key", SCENES)
def test_scenes_open_and_are_the_same_for_the_same_seed(key: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_twin(key, tmp_path / name, images=3, size=(96, 128), scenes=True, seed=4)
        if key in PREPARED:
            prepare(key, tmp_path / name, workers=1)
    one, two = (open_dataset(key, tmp_path / name, "val") for name in ("one", "two"))
    assert len(one) == 3
    for index in range(3):
        picture, mask = one.read(index)
        again, mask_again = two.read(index)
        assert picture.size == (128, 96)
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(again))
        np.testing.assert_array_equal(mask, mask_again)
    counts = count_classes(one)
    assert (counts.pixels > 0).sum() >= 3


def test_only_some_twins_have_scenes(tmp_path: Path) -> None:
    assert set(SCENES) < set(TWINS)
    with pytest.raises(ConfigError, match="no scenes for the twin of folder; only for ade20k"):
        write_twin("folder", tmp_path, scenes=True)


def test_streets_hold_all_classes_and_poles_are_thin() -> None:
    rng = np.random.default_rng(0)
    masks = [street.paint(rng, (128, 256))[1] for _ in range(60)]
    found = set(np.unique(masks).tolist())
    evaluated = {7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33}
    assert evaluated <= found <= evaluated | {1, 4}
    widths = Counter[int]()
    for mask in masks:
        for row in mask == 17:
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(np.int8), [0]])))
            widths.update((edges[1::2] - edges[::2]).tolist())
    assert widths.total() > 1000
    thin = sum(count for width, count in widths.items() if width <= 3)
    assert thin > 0.9 * widths.total()


def test_borders_lie_between_all_different_ids() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        _, mask = objects.paint(rng, (100, 125))
        for one, other in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            apart = one != other
            assert ((one[apart] == 255) | (other[apart] == 255)).all()
        assert 0.01 < (mask == 255).mean() < 0.15


def test_a_border_is_as_wide_as_asked() -> None:
    mask = np.zeros((9, 20), dtype=np.uint8)
    mask[:, 10:] = 7
    row = objects.with_wide_border(mask, 2)[4].tolist()
    assert row == [0] * 8 + [255] * 4 + [7] * 8


def test_rooms_have_a_long_tail_in_the_order_of_the_ids() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros(151)
    for _ in range(600):
        images[np.unique(rooms.paint(rng, (48, 48))[1])] += 1
    head, middle, tail = images[8:30].mean(), images[60:90].mean(), images[121:].mean()
    assert head > 3 * middle > 3 * tail > 0


def test_voc_with_its_borders_filled(tmp_path: Path) -> None:
    write_twin("voc", tmp_path, images=2, size=(64, 64), scenes=True)
    plain, filled = (open_dataset("voc", tmp_path, "val", variant=v) for v in ("", "filled"))
    mask, full = plain.read_mask(0), filled.read_mask(0)
    border = mask == IGNORE_INDEX
    assert border.any()
    assert (full[border] == 0).all() and (full[~border] == mask[~border]).all()


def test_landscapes_have_stuff_everywhere_and_things_that_are_small() -> None:
    rng = np.random.default_rng(0)
    pixels = np.zeros(256)
    things: list[float] = []
    for _ in range(80):
        mask = landscapes.paint(rng, (96, 144))[1]
        ids, counts = np.unique(mask, return_counts=True)
        pixels[ids] += counts
        things += (counts[(ids >= 1) & (ids <= 91)] / mask.size).tolist()
    labelled = pixels[1:].sum()
    assert 0.6 < pixels[92:].sum() / labelled < 0.97
    assert 0 < pixels[0] < 0.05 * labelled
    assert (pixels[1:92] > 0).sum() >= 12 and (pixels[92:183] > 0).sum() >= 12
    assert not pixels[183:].any() and not pixels[[12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91]].any()
    assert np.median(things) < 0.05
