"""A plain conv net that learns quickly on a CPU.

Only 3x3 convolutions: depthwise ones, which make mobile backbones small, run at a fraction
of a CPU's arithmetic rate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def _conv(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _Residual(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels, dilation=dilation)
        self.second = _conv(channels, channels, dilation=1)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = inputs + self.second(self.first(inputs))
        return outputs


class SmallNetwork(nn.Module):
    """Encoder to stride 8 with dilated residual blocks, decoder to stride 4 with a skip.

    Attributes:
        out_channels: Numbers per pixel of the output.
    """

    def __init__(self, out_channels: int, *, width: int = 64) -> None:
        """Builds the layers.

        Args:
            out_channels: D for embeddings, C for the dense baseline.
            width: Channels at stride 4; half at stride 2, double at stride 8.
        """
        super().__init__()
        self.out_channels = out_channels
        self.stem = _conv(3, width // 2, stride=2)
        self.quarter = nn.Sequential(_conv(width // 2, width, stride=2), _Residual(width, 1))
        self.eighth = nn.Sequential(
            _conv(width, 2 * width, stride=2),
            *(_Residual(2 * width, dilation) for dilation in (1, 2, 4)),
        )
        self.reduce = nn.Conv2d(2 * width, 2 * width, 1)
        self.fuse = _conv(3 * width, 2 * width)
        self.project = nn.Conv2d(2 * width, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_channels, H/4, W/4), rounded up."""
        quarter = self.quarter(self.stem(images))
        deep = functional.interpolate(
            self.reduce(self.eighth(quarter)), quarter.shape[-2:], mode="bilinear"
        )
        outputs: Tensor = self.project(self.fuse(torch.cat((quarter, deep), dim=1)))
        return outputs
