"""Augmentation of an image and its mask together.

Geometry is shared, interpolation is not: images are resized bilinearly with antialiasing,
masks take the nearest pixel, and padding is the dataset's mean colour in the image and
IGNORE_INDEX in the mask. All randomness is torch's global generator, which the trainer
seeds per sample; so a resumed run sees the same crops.

What is not needed is not made: masks are resized within the crop only, and padding, mirroring
and the change from interleaved to planar pixels are one copy. ``workbench bench loading``
compares this with torchvision's building blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from workbench.constants import IGNORE_INDEX
from workbench.errors import ConfigError

Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

_CHANGES = ("brightness", "contrast", "saturation")  # numbered as in v2.ColorJitter
_LUMA = torch.tensor([0.2989, 0.587, 0.114])  # grey as torchvision's, ITU-R BT.601


def train_transform(
    crop: int,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
    color_jitter: float = 0.0,
    fill: tuple[int, int, int] = (124, 116, 104),
) -> Transform:
    """Random scale, crop with padding, flip and colour jitter.

    Args:
        crop: Side of the square result in pixels.
        scale: Smallest and largest factor, drawn uniformly; (1, 1) skips resizing.
        flip: Mirror left and right in half of the cases.
        color_jitter: Largest relative change of brightness, contrast and saturation, see
            :func:`jitter_colors`.
        fill: RGB 0..255 beyond the image's right and bottom edge.

    Returns:
        (image uint8 (3, H, W), mask int64 (H, W)) -> (image uint8 (3, crop, crop),
        mask int64 (crop, crop)).

    Raises:
        ConfigError: A setting is out of range.
    """
    return _TrainTransform(crop, scale, flip, color_jitter, fill)


def warp_transform(side: int) -> Transform:
    """Every image to one square size, whatever its shape: circles become ellipses.

    So the paper's reference implementation treats COCO-Stuff 10K, at 512 pixels.

    Args:
        side: Of the square, pixels.

    Returns:
        (image uint8 (3, H, W), mask int64 (H, W)) -> both of (side, side).

    Raises:
        ConfigError: The side is below 1.
    """
    if side < 1:
        raise ConfigError(f"side must be at least 1 pixel, not {side}")
    return partial(_warp, side=side)


class _TrainTransform:
    """See ``train_transform``; a class so that spawned loader workers can pickle it."""

    def __init__(
        self,
        crop: int,
        scale: tuple[float, float],
        flip: bool,
        color_jitter: float,
        fill: tuple[int, int, int],
    ) -> None:
        if crop < 1:
            raise ConfigError(f"crop must be at least 1 pixel, not {crop}")
        if not 0 < scale[0] <= scale[1]:
            raise ConfigError(f"scale must be two factors, smaller first, above 0, not {scale}")
        if not 0 <= color_jitter <= 1:
            raise ConfigError(f"color_jitter must lie in 0..1, not {color_jitter}")
        self.crop = crop
        self.scale = scale
        self.flip = flip
        self.fill = np.array(fill, dtype=np.uint8)[:, None, None]
        self.jitter = v2.ColorJitter(*[color_jitter] * 3) if color_jitter else None

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        height, width = mask.shape
        if self.scale != (1.0, 1.0):
            low, high = self.scale
            factor = low + (high - low) * torch.rand(()).item()
            height, width = max(1, round(height * factor)), max(1, round(width * factor))
        top = _random_below(height - self.crop + 1)
        left = _random_below(width - self.crop + 1)
        rows, columns = slice(top, top + self.crop), slice(left, left + self.crop)
        mirrored = self.flip and torch.rand(()).item() < 0.5
        picture, labels = self._on_canvas(
            _resize_image(image, height, width)[:, rows, columns].numpy(),
            _resize_mask(mask.numpy(), height, width, rows, columns),
            mirrored,
        )
        if self.jitter is not None:
            drawn = self.jitter.make_params([])
            order = [_CHANGES[number] for number in drawn["fn_idx"] if number < len(_CHANGES)]
            picture = jitter_colors(picture, [(name, drawn[f"{name}_factor"]) for name in order])
        return picture, labels

    def _on_canvas(
        self, image: npt.NDArray[np.uint8], mask: npt.NDArray[np.int64], mirrored: bool
    ) -> tuple[Tensor, Tensor]:
        """Copies a crop into the upper left corner, DeepLab's convention, and mirrors it all."""
        height, width = mask.shape
        picture = np.empty((3, self.crop, self.crop), dtype=np.uint8)
        labels = np.empty((self.crop, self.crop), dtype=np.int64)
        if (height, width) != labels.shape:
            picture[:] = self.fill
            labels[:] = IGNORE_INDEX
        across = slice(None, None, -1 if mirrored else 1)
        picture[:, :, across][:, :height, :width] = image
        labels[:, across][:height, :width] = mask
        return torch.from_numpy(picture), torch.from_numpy(labels)


def _warp(image: Tensor, mask: Tensor, side: int) -> tuple[Tensor, Tensor]:
    whole = slice(None)
    labels = _resize_mask(mask.numpy(), side, side, whole, whole)
    return _resize_image(image, side, side), torch.from_numpy(labels)


def _resize_image(image: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with antialiasing; quickest where pixels are interleaved in memory."""
    resized: Tensor = functional.resize(
        image, [height, width], v2.InterpolationMode.BILINEAR, antialias=True
    )
    return resized


def _resize_mask(
    mask: npt.NDArray[np.int64], height: int, width: int, rows: slice, columns: slice
) -> npt.NDArray[np.int64]:
    """A window of the mask resized to (height, width), each pixel from the nearest."""
    if (height, width) == mask.shape:
        return mask[rows, columns]
    window = mask.take(_nearest(mask.shape[0], height)[rows], axis=0)
    return window.take(_nearest(mask.shape[1], width)[columns], axis=1)


def _nearest(source: int, target: int) -> npt.NDArray[np.int64]:
    """For each target pixel's centre, the source pixel it falls into, (target,) int64.

    Bilinear resizing aligns pixel centres. torchvision's NEAREST, which its Mask resize
    uses, aligns corners instead and would shift masks by up to half a pixel.
    """
    centers = (np.arange(target) + 0.5) * (source / target)
    return np.minimum(centers.astype(np.int64), source - 1)


def jitter_colors(image: Tensor, steps: Sequence[tuple[str, float]]) -> Tensor:
    """Changes brightness, contrast and saturation, one after another.

    Each blends the image with another one, ``factor * image + (1 - factor) * other``: black
    for brightness, the mean grey for contrast, the image in grey for saturation. All of it is
    one affine map of RGB, so it is applied once, and values are rounded and cut to 0..255
    once, at the end; ``v2.ColorJitter`` does both after every change.

    Args:
        image: (3, H, W) uint8.
        steps: Names ("brightness", "contrast", "saturation") and factors, 1 = unchanged, in
            their order.

    Returns:
        (3, H, W) uint8.
    """
    pixels = image.reshape(3, -1).float()
    mean = pixels.mean(dim=1)
    matrix, offset = torch.eye(3), 0.0
    for name, factor in steps:
        if name == "saturation":  # which leaves grey as it is, and the offset is one
            matrix = (factor * torch.eye(3) + (1 - factor) * _LUMA) @ matrix
            continue
        other = (_LUMA @ matrix @ mean).item() + offset if name == "contrast" else 0.0
        matrix, offset = factor * matrix, factor * offset + (1 - factor) * other
    # The conversion to whole numbers cuts the fraction off; with a half more, it rounds.
    changed = torch.addmm(torch.full((3, 1), offset + 0.5), matrix, pixels)
    return changed.clamp_(0, 255).to(torch.uint8).view(image.shape)


def _random_below(count: int) -> int:
    """A whole number 0..count-1, 0 for counts below 1; always draws once."""
    return int(torch.randint(max(count, 1), ()).item())
