"""DeepLabV3+ over any timm backbone.

Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
Segmentation" (ECCV 2018): atrous spatial pyramid pooling on the deepest features, and a
decoder that fuses them with features at stride 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.models.backbones import create_backbone
from workbench.models.padding import pad, without_padding
from workbench.models.weights import download, slow_down_statistics

_ASPP_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
_SKIP_CHANNELS = 48  # what the features at stride 4 are reduced to


def _conv(inputs: int, outputs: int, kernel: int, *, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            inputs,
            outputs,
            kernel,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class _ImagePooling(nn.Module):
    """The mean of the whole image as a feature of every pixel.

    Without batch normalisation: over one value per channel and image it is undefined for a
    batch of one.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, features: Tensor) -> Tensor:
        pooled = functional.relu(self.conv(features.mean(dim=(2, 3), keepdim=True)))
        return pooled.expand(-1, -1, *features.shape[-2:])


class ASPP(nn.Module):
    """Parallel atrous convolutions that see the same place at several scales."""

    def __init__(self, inputs: int, outputs: int, rates: tuple[int, ...]) -> None:
        """Builds a 1x1 branch, one 3x3 branch a rate, image pooling and the projection."""
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _conv(inputs, outputs, 1),
                *(_conv(inputs, outputs, 3, dilation=rate) for rate in rates),
                _ImagePooling(inputs, outputs),
            ]
        )
        self.project = nn.Sequential(
            _conv(outputs * len(self.branches), outputs, 1), nn.Dropout(0.1)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs, h, w) to (B, outputs, h, w)."""
        outputs: Tensor = self.project(
            torch.cat([branch(features) for branch in self.branches], dim=1)
        )
        return outputs


class DeepLabV3Plus(nn.Module):
    """Backbone, ASPP, decoder and a 1x1 convolution to ``out_channels``.

    Attributes:
        backbone: The timm feature extractor.
        out_channels: Numbers per pixel of the output.
        multiple: Images are padded to a multiple of this.
    """

    def __init__(
        self,
        out_channels: int,
        *,
        backbone: str = "mobilenetv2_100",
        pretrained: bool = False,
        output_stride: int = 16,
        channels: int = 256,
    ) -> None:
        """Builds the network.

        Args:
            out_channels: D for embeddings, C for the dense baseline.
            backbone: Name of a timm model.
            pretrained: Load its published weights from timm's hub.
            output_stride: 8, 16 or 32, what the backbone can do of it.
            channels: Width of ASPP and decoder.

        Raises:
            ConfigError: timm does not know the backbone, it does not give such features, or
                its weights could not be downloaded.
        """
        super().__init__()
        self.out_channels = out_channels
        if pretrained:
            with download(backbone):
                parts = create_backbone(backbone, output_stride, pretrained=True)
            slow_down_statistics(parts.net)
        else:
            parts = create_backbone(backbone, output_stride)
        self.backbone, self.pyramid, self.multiple = parts.net, parts.pyramid, parts.multiple
        skip, deep = parts.channels
        self.aspp = ASPP(deep, channels, _ASPP_RATES[output_stride])
        self.skip = _conv(skip, _SKIP_CHANNELS, 1)
        self.decoder = nn.Sequential(
            _conv(channels + _SKIP_CHANNELS, channels, 3), _conv(channels, channels, 3)
        )
        self.project = nn.Conv2d(channels, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_channels, H/4, W/4), rounded up."""
        padded = pad(images, self.multiple)
        skip, deep = self.pyramid(padded, self.backbone(padded))
        skip = self.skip(skip)
        deep = functional.interpolate(
            self.aspp(deep), skip.shape[-2:], mode="bilinear", align_corners=False
        )
        outputs: Tensor = self.project(self.decoder(torch.cat((deep, skip), dim=1)))
        sizes = [(x.shape[-2], x.shape[-1]) for x in (padded, images)]
        return without_padding(outputs, sizes[0], sizes[1])
