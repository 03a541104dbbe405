"""Augmentation of an image and its mask together.

Geometry is shared, interpolation is not: images are resized bilinearly with antialiasing,
masks take the nearest pixel, and padding is the dataset's mean colour in the image and
IGNORE_INDEX in the mask. All randomness is torch's global generator, which the trainer
seeds per sample; so a resumed run sees the same crops.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from workbench.constants import IGNORE_INDEX
from workbench.errors import ConfigError

Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


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
        color_jitter: Largest relative change of brightness, contrast and saturation.
        fill: RGB 0..255 beyond the image's right and bottom edge.

    Returns:
        (image uint8 (3, H, W), mask int64 (H, W)) -> (image uint8 (3, crop, crop),
        mask int64 (crop, crop)).

    Raises:
        ConfigError: A setting is out of range.
    """
    return _TrainTransform(crop, scale, flip, color_jitter, fill)


def eval_transform(long_side: int | None = None) -> Transform:
    """No change, or a limit on the long side.

    Args:
        long_side: Larger images are shrunk to this many pixels, their masks with them;
            scores then refer to the shrunken masks.

    Returns:
        A function of (image uint8 (3, H, W), mask int64 (H, W)).

    Raises:
        ConfigError: The limit is below 1.
    """
    if long_side is not None and long_side < 1:
        raise ConfigError(f"long_side must be at least 1 pixel, not {long_side}")
    return _EvalTransform(long_side)


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
        self.fill = [float(value) for value in fill]
        self.jitter = (
            v2.ColorJitter(color_jitter, color_jitter, color_jitter) if color_jitter else None
        )

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        height, width = mask.shape
        if self.scale != (1.0, 1.0):
            low, high = self.scale
            factor = low + (high - low) * torch.rand(()).item()
            height, width = max(1, round(height * factor)), max(1, round(width * factor))
            image, mask = _resize(image, mask, height, width)
        top = _random_below(height - self.crop + 1)
        left = _random_below(width - self.crop + 1)
        picture, labels = tv_tensors.Image(image), tv_tensors.Mask(mask)
        if (height, width) != (self.crop, self.crop):
            bottom = min(self.crop, height)
            right = min(self.crop, width)
            picture = functional.crop(picture, top, left, bottom, right)
            labels = functional.crop(labels, top, left, bottom, right)
            if (bottom, right) != (self.crop, self.crop):
                # DeepLab's convention: the image stays in the upper left corner.
                border = [0, 0, self.crop - right, self.crop - bottom]
                picture = functional.pad(picture, border, fill=self.fill)
                labels = functional.pad(labels, border, fill=IGNORE_INDEX)
        if self.flip and torch.rand(()).item() < 0.5:
            picture = functional.horizontal_flip(picture)
            labels = functional.horizontal_flip(labels)
        if self.jitter is not None:
            picture = self.jitter(picture)
        return picture.as_subclass(Tensor).contiguous(), labels.as_subclass(Tensor).contiguous()


class _EvalTransform:
    """See ``eval_transform``."""

    def __init__(self, long_side: int | None) -> None:
        self.long_side = long_side

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        height, width = mask.shape
        longest = max(height, width)
        if self.long_side is None or longest <= self.long_side:
            return image, mask
        factor = self.long_side / longest
        return _resize(image, mask, max(1, round(height * factor)), max(1, round(width * factor)))


def _resize(image: Tensor, mask: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Image bilinear with antialiasing, mask nearest."""
    if (height, width) == tuple(mask.shape):
        return image, mask
    resized = functional.resize(
        image, [height, width], v2.InterpolationMode.BILINEAR, antialias=True
    )
    return resized, mask[_nearest(mask.shape[0], height)][:, _nearest(mask.shape[1], width)]


def _nearest(source: int, target: int) -> Tensor:
    """For each target pixel's centre, the source pixel it falls into, (target,) int64.

    Bilinear resizing aligns pixel centres. torchvision's NEAREST, which its Mask resize
    uses, aligns corners instead and would shift masks by up to half a pixel.
    """
    centers = (torch.arange(target, dtype=torch.float64) + 0.5) * (source / target)
    return centers.floor().long().clamp_(0, source - 1)


def _random_below(count: int) -> int:
    """A whole number 0..count-1, 0 for counts below 1; always draws once."""
    return int(torch.randint(max(count, 1), ()).item())
