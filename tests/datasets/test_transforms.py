from __future__ import annotations

import itertools
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from workbench.constants import IGNORE_INDEX
from workbench.datasets.transforms import (
    jitter_colors,
    train_transform,
    warp_transform,
)
from workbench.errors import ConfigError

FILL = (11, 22, 33)


def coded(height: int, width: int) -> tuple[Tensor, Tensor]:
    """An image that tells which mask pixel each of its pixels belongs to."""
    mask = torch.arange(height * width).reshape(height, width)  # ids far above 255
    image = torch.stack([mask % 256, mask // 256 % 256, mask // 65536]).to(torch.uint8)
    return image, mask


def decoded(image: Tensor) -> Tensor:
    red, green, blue = image.long()
    return red + 256 * green + 65536 * blue


@pytest.mark.parametrize("size", [(90, 120), (40, 40), (30, 70), (70, 30), (12, 9)])
def test_crop_pad_and_flip_keep_image_and_mask_together(size: tuple[int, int]) -> None:
    image, mask = coded(*size)
    transform = train_transform(40, scale=(1, 1), fill=FILL)
    for seed in range(20):
        torch.manual_seed(seed)
        cropped, labels = transform(image, mask)
        assert (cropped.shape, labels.shape) == ((3, 40, 40), (40, 40))
        assert (cropped.dtype, labels.dtype) == (torch.uint8, torch.int64)
        assert type(cropped) is Tensor
        assert type(labels) is Tensor
        inside = labels != IGNORE_INDEX
        assert int(inside.sum()) == min(40, size[0]) * min(40, size[1])
        assert (decoded(cropped)[inside] == labels[inside]).all()
        padding = cropped[:, ~inside]
        assert padding.unique(dim=1).tolist() in ([], [[value] for value in FILL], [[], [], []])


def test_every_position_and_both_orientations_occur() -> None:
    image, mask = coded(6, 6)
    transform = train_transform(5, scale=(1, 1))
    torch.manual_seed(0)
    corners = {tuple(transform(image, mask)[1][0, [0, -1]].tolist()) for _ in range(200)}
    plain = {(row * 6 + column, row * 6 + column + 4) for row in (0, 1) for column in (0, 1)}
    assert corners == plain | {(right, left) for left, right in plain}


def test_without_flip_columns_keep_their_order() -> None:
    image, mask = coded(20, 20)
    transform = train_transform(8, scale=(1, 1), flip=False)
    assert all((transform(image, mask)[1].diff(dim=1) == 1).all() for _ in range(20))


def test_scaled_masks_hold_no_new_ids_and_follow_the_image() -> None:
    mask = torch.tensor([[0, 1283], [700, 300]]).repeat_interleave(40, 0).repeat_interleave(40, 1)
    values = {0: 0, 1283: 255, 700: 100, 300: 180}
    image = torch.zeros(3, 80, 80, dtype=torch.uint8)
    for label, value in values.items():
        image[:, mask == label] = value
    transform = train_transform(64, scale=(0.5, 2.0), fill=(0, 0, 0))
    for seed in range(30):
        torch.manual_seed(seed)
        scaled, labels = transform(image, mask)
        assert set(labels.unique().tolist()) <= {*values, IGNORE_INDEX}
        wanted = torch.zeros(64, 64)
        for label, value in values.items():
            wanted[labels == label] = value
        inside = labels != IGNORE_INDEX
        # Only at the edges between two areas may interpolation differ.
        differs = (scaled[0].float() - wanted).abs() > 2
        assert differs[inside].float().mean() < 0.1


@pytest.mark.parametrize("factor", [0.5, 0.77, 1.0, 1.3, 2.0])
@pytest.mark.parametrize("flip", [False, True])
def test_crops_are_windows_of_the_whole_image_resized(factor: float, flip: bool) -> None:
    """Pillow resizes everything; our crop must be found in it, at the same place in both."""
    mask = coded(61, 83)[1]
    noise = np.random.default_rng(0).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    height, width = round(61 * factor), round(83 * factor)
    size = (width, height)
    photo = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BILINEAR))
    ids = Image.fromarray(mask.numpy().astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    rows, columns = min(40, height), min(40, width)
    windows = np.lib.stride_tricks.sliding_window_view(np.asarray(ids), (rows, columns))
    transform = train_transform(40, scale=(factor, factor), flip=flip, fill=FILL)
    mirrored = 0
    for seed in range(8):
        torch.manual_seed(seed)
        picture, labels = transform(torch.from_numpy(noise).permute(2, 0, 1), mask)
        if flip and (labels[0].diff() < 0).any():
            mirrored += 1
            picture, labels = picture.flip(2), labels.flip(1)
        cropped = labels[:rows, :columns].numpy()
        ((top, left),) = np.argwhere((windows == cropped).all(axis=(2, 3)))
        wanted = photo[top : top + rows, left : left + columns].transpose(2, 0, 1)
        difference = picture[:, :rows, :columns].numpy().astype(int) - wanted
        assert np.abs(difference).max() <= 1
        assert (labels[rows:] == IGNORE_INDEX).all() and (labels[:, columns:] == IGNORE_INDEX).all()
    assert (mirrored > 0) == flip


def test_memory_layout_of_the_input_makes_no_difference() -> None:
    photo = torch.randint(0, 256, (50, 70, 3), dtype=torch.uint8)
    mask = torch.randint(0, 1284, (50, 70))
    transform = train_transform(32, color_jitter=0.4)
    results = []
    for image in (photo.permute(2, 0, 1), photo.permute(2, 0, 1).contiguous()):
        torch.manual_seed(3)
        results.append(transform(image, mask))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert results[0][0].is_contiguous() and results[0][1].is_contiguous()


@pytest.mark.parametrize("target", [17, 33, 64, 100])
def test_resized_masks_are_aligned_like_pillow_nearest(target: int) -> None:
    mask = torch.randint(0, 1284, (101, 75), generator=torch.Generator().manual_seed(0))
    image = torch.zeros(3, 101, 75, dtype=torch.uint8)
    small, labels = warp_transform(target)(image, mask)
    oracle = Image.fromarray(mask.numpy().astype(np.int32)).resize(
        (target, target), Image.Resampling.NEAREST
    )
    assert (labels.numpy() == np.asarray(oracle)).all()
    assert small.shape == (3, target, target)


def test_randomness_is_torchs_global_generator() -> None:
    image, mask = coded(90, 90)
    transform = pickle.loads(pickle.dumps(train_transform(32, color_jitter=0.5)))
    torch.manual_seed(5)
    first = [transform(image, mask) for _ in range(5)]
    np.random.seed(1)
    torch.manual_seed(5)
    again = [transform(image, mask) for _ in range(5)]
    assert all(
        torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
        for a, b in zip(first, again, strict=True)
    )
    assert not torch.equal(first[0][1], first[1][1])


def test_jitter_changes_colours_only() -> None:
    image, mask = coded(16, 16)
    changed, labels = train_transform(16, (1, 1), flip=False, color_jitter=0.5)(image, mask)
    assert torch.equal(labels, mask)
    assert not torch.equal(changed, image)
    assert changed.dtype == torch.uint8


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_jitter_is_torchvisions_where_nothing_is_cut_off(order: tuple[int, ...]) -> None:
    image = torch.randint(100, 150, (3, 20, 30), dtype=torch.uint8)
    image[:, :, 15:] += torch.tensor([10, 0, 30], dtype=torch.uint8)[:, None, None]
    names = ("brightness", "contrast", "saturation")
    steps = [(names[number], (0.8, 1.4, 1.3)[number]) for number in order]
    wanted = image
    for name, factor in steps:
        wanted = getattr(functional, f"adjust_{name}")(wanted, factor)
    assert int(wanted.min()) > 0 and int(wanted.max()) < 255
    difference = jitter_colors(image, steps).int() - wanted.int()
    # torchvision cuts fractions off after each change, ours rounds once.
    assert difference.min() >= -1 and difference.max() <= 3
    assert jitter_colors(image, []).equal(image)


def test_jittered_colours_are_cut_to_their_range_once() -> None:
    image = torch.tensor([0, 100, 200], dtype=torch.uint8).expand(3, 1, 3)
    brighter = jitter_colors(image, [("brightness", 1.5)])
    assert brighter[0].tolist() == [[0, 150, 255]]
    there_and_back = [("brightness", 2.0), ("brightness", 0.5)]
    assert jitter_colors(image, there_and_back).equal(image)
    # Mean 100: 100 + 2 * (value - 100).
    assert jitter_colors(image, [("contrast", 2.0)])[0].tolist() == [[0, 100, 255]]
    red = torch.tensor([200, 0, 0], dtype=torch.uint8)[:, None, None]
    assert jitter_colors(red, [("saturation", 0.0)]).flatten().tolist() == [60, 60, 60]


def test_jitter_draws_order_and_factors_as_torchvision_does() -> None:
    image = torch.randint(110, 140, (3, 24, 24), dtype=torch.uint8)
    mask = torch.zeros(24, 24, dtype=torch.int64)
    transform = train_transform(24, (1, 1), flip=False, color_jitter=0.3)
    for seed in range(10):
        torch.manual_seed(seed)
        ours, _ = transform(image, mask)
        torch.manual_seed(seed)
        torch.randint(1, ()), torch.randint(1, ())  # the crop's place
        theirs = v2.ColorJitter(0.3, 0.3, 0.3)(image)
        assert (ours.int() - theirs.int()).abs().max() <= 3


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"crop": 0}, "crop"),
        ({"crop": 8, "scale": (0.0, 1.0)}, "scale"),
        ({"crop": 8, "scale": (2.0, 1.0)}, "scale"),
        ({"crop": 8, "color_jitter": 2.0}, "color_jitter"),
    ],
)
def test_settings_out_of_range_are_named(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        train_transform(**settings)


def test_warping_gives_squares_that_pillow_would_give() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (30, 45, 3), dtype=np.uint8)
    ids = rng.integers(0, 9, (30, 45))
    image, mask = warp_transform(64)(
        torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(ids)
    )
    assert image.shape == (3, 64, 64) and mask.shape == (64, 64)
    nearest = Image.fromarray(ids.astype(np.uint8)).resize((64, 64), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(mask, np.asarray(nearest))
    smooth = Image.fromarray(pixels).resize((64, 64), Image.Resampling.BILINEAR)
    difference = image.permute(1, 2, 0).int() - torch.from_numpy(np.array(smooth)).int()
    assert difference.abs().max() <= 1
    pickle.dumps(warp_transform(64))
    with pytest.raises(ConfigError, match="side must be at least 1"):
        warp_transform(0)
