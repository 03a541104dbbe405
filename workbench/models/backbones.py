"""Backbones: any timm model as features at stride 4 and at the output stride.

Three kinds, told apart by what timm says of a model:

* a pyramid that can dilate (ResNet, MobileNetV2, EfficientNet, ConvNeXt, ...): its deepest
  features have stride 8, 16 or 32;
* a pyramid that cannot (PVTv2, a relative of MiT; Swin; MambaOut; ...): 32;
* a plain vision transformer (DINOv2, DeiT, EVA, ...): features of one stride, its patch. What
  is missing, details at stride 4, comes from two convolutions on the image, joined with the
  tokens of an early block.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.errors import ConfigError, first_line

STRIDES = (8, 16, 32)
SKIP_STRIDE = 4
_EARLY_BLOCK = 2  # of a plain transformer: its tokens still know where they are
_STEM_CHANNELS = 64

# Not every pyramid rounds up where a side is odd; all agree on multiples of this.
_PYRAMID_MULTIPLE = 32

_ELSEWHERE = (
    "; `workbench models` lists some, and encoders of segmentation-models-pytorch (mit_b0, ...) "
    "go with --model.network smp-segformer and others of it"
)

# How to ask timm for features of images of any size where a model is made for one.
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"strict_img_size": False},  # Swin
    {"dynamic_img_size": True, "out_indices": (_EARLY_BLOCK, -1)},  # plain transformers
)


class Backbone(NamedTuple):
    """A feature extractor and how to get a decoder's two inputs from it.

    Attributes:
        net: timm's module, images (B, 3, H, W) to a list of features.
        pyramid: (images, features) to (features at stride 4, deepest features), both
            (B, channels, h, w); has parameters only where features at stride 4 are missing.
        channels: Of the two.
        multiple: Images must be padded to a multiple of this.
    """

    net: nn.Module
    pyramid: nn.Module
    channels: tuple[int, int]
    multiple: int


class Stages(nn.Module):
    """Picks two stages of a pyramid, channels first."""

    def __init__(self, skip_index: int, *, channels_last: bool) -> None:
        super().__init__()
        self.skip_index = skip_index
        self.channels_last = channels_last

    def forward(self, images: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Two of the features; the images are not needed."""
        skip, deep = features[self.skip_index], features[-1]
        if self.channels_last:
            return skip.permute(0, 3, 1, 2), deep.permute(0, 3, 1, 2)
        return skip, deep


class TokenPyramid(nn.Module):
    """Features at stride 4 for a transformer whose features all have its patch's stride.

    Outside the backbone on purpose: these layers are new, whatever weights were loaded, and
    learn at the decoder's rate.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        half = _STEM_CHANNELS // 2
        self.stem = nn.Sequential(
            *_conv(3, half, 3, stride=2), *_conv(half, _STEM_CHANNELS, 3, stride=2)
        )
        self.early = nn.Sequential(*_conv(width, _STEM_CHANNELS, 1))
        self.out_channels = 2 * _STEM_CHANNELS

    def forward(self, images: Tensor, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Details of the image joined with early tokens; and the last block's tokens."""
        details = self.stem(images)
        tokens = functional.interpolate(
            self.early(features[0]), details.shape[-2:], mode="bilinear", align_corners=False
        )
        return torch.cat((details, tokens), dim=1), features[-1]


def _conv(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    yield nn.BatchNorm2d(outputs)
    yield nn.ReLU(inplace=True)


def create_backbone(name: str, output_stride: int, *, pretrained: bool = False) -> Backbone:
    """Builds a backbone.

    Args:
        name: Of a timm model, with or without the tag of its weights ("resnet50.a1_in1k").
        output_stride: Of the deepest features. For a plain transformer its patch counts, 14
            as 16.
        pretrained: Load the weights that timm publishes.

    Raises:
        ConfigError: timm does not know the name, it does not give such features, or timm has
            no weights of it.
        OSError: The weights could not be downloaded.
    """
    import timm  # half a second; only who builds a model pays for it

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=5)
        hint = f"; similar: {', '.join(close)}" if close else _ELSEWHERE
        raise ConfigError(f"model.backbone: timm has no model {name!r}{hint}")
    if pretrained and not timm.is_model_pretrained(name):
        raise ConfigError(
            f"model.pretrained: timm has no weights of {name}; give a file with "
            "--model.weights FILE, or start at random with --model.pretrained false"
        )
    net = _create(name, output_stride, pretrained)
    info: Any = net.feature_info  # timm's FeatureInfo, which has no types
    strides: list[int] = info.reduction()
    widths: list[int] = info.channels()
    if len(set(strides)) == 1:
        patch = strides[0]
        if _nearest_stride(patch) != output_stride:
            raise _unsuitable(name, output_stride, f"its patches have {patch} pixels", patch)
        pyramid = TokenPyramid(widths[0])
        multiple = math.lcm(patch, SKIP_STRIDE)
        return Backbone(net, pyramid, (pyramid.out_channels, widths[-1]), multiple)
    if SKIP_STRIDE not in strides:
        raise _unsuitable(name, output_stride, f"its features have strides {strides}, none of 4")
    if strides[-1] != output_stride:
        why = f"it cannot dilate, its deepest features have stride {strides[-1]}"
        raise _unsuitable(name, output_stride, why, strides[-1])
    skip = strides.index(SKIP_STRIDE)
    stages = Stages(skip, channels_last=str(getattr(net, "output_fmt", "")).endswith("NHWC"))
    return Backbone(net, stages, (widths[skip], widths[-1]), _PYRAMID_MULTIPLE)


def _create(name: str, output_stride: int, pretrained: bool) -> nn.Module:
    """A feature extractor of timm, dilated if it can be, else for images of any size."""
    import timm

    reason = ""
    for way in ({"output_stride": output_stride}, *_ANY_SIZE, {}):
        try:
            net: nn.Module = timm.create_model(
                name, features_only=True, pretrained=pretrained, **way
            )
        except OSError:  # no network, or the hub refused
            raise
        except Exception as error:  # a setting the model does not take: each says so its own way
            reason = reason or first_line(error)
            continue
        about: Any = net.pretrained_cfg
        if not about.get("fixed_input_size", False) or way in _ANY_SIZE:
            return net
        reason = "it takes images of one size only"
    raise _unsuitable(name, output_stride, reason)


def _nearest_stride(patch: int) -> int:
    return min(STRIDES, key=lambda stride: abs(stride - patch))


def _unsuitable(name: str, output_stride: int, why: str, stride: int = 0) -> ConfigError:
    """The error for a backbone that gives no such features; ``stride``: what it does give."""
    possible = _nearest_stride(stride) if stride else 0
    remedy = (
        f"set --model.output_stride {possible}"
        if possible not in (0, output_stride)
        else "`workbench models` lists backbones that work"
    )
    return ConfigError(
        f"model.backbone: {name} has no features at output stride {output_stride}: {why}; {remedy}"
    )
