"""What is known to work: a short list that the tests build, and a trial of everything in timm."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.models.backbones import SKIP_STRIDE, STRIDES
from workbench.models.deeplab import DeepLabV3Plus
from workbench.models.weights import OFFLINE_BACKBONE
from workbench.progress import progress


class KnownBackbone(NamedTuple):
    """A backbone of timm that our tests build.

    Attributes:
        name: For ``model.backbone``.
        kind: "convolutional", "pyramid" (a transformer or mixer with stages) or "transformer"
            (a plain one).
        strides: What ``model.output_stride`` may be.
        parameters: Of the backbone alone.
    """

    name: str
    kind: str
    strides: tuple[int, ...]
    parameters: int

    @property
    def offline(self) -> bool:
        """Whether ``--model.weights offline`` has weights for it."""
        return self.name == OFFLINE_BACKBONE


_ALL = STRIDES

KNOWN = (
    KnownBackbone("mobilenetv2_100", "convolutional", _ALL, 1_811_712),
    KnownBackbone("resnet18", "convolutional", _ALL, 11_176_512),
    KnownBackbone("resnet50", "convolutional", _ALL, 23_508_032),
    KnownBackbone("resnet101", "convolutional", _ALL, 42_500_160),
    KnownBackbone("tf_efficientnet_lite0", "convolutional", _ALL, 2_958_848),
    KnownBackbone("efficientnet_b0", "convolutional", _ALL, 3_595_388),
    KnownBackbone("mobilenetv3_large_100", "convolutional", _ALL, 2_971_952),
    KnownBackbone("mobilenetv4_conv_small", "convolutional", _ALL, 1_261_664),
    KnownBackbone("regnety_004", "convolutional", _ALL, 3_903_144),
    KnownBackbone("convnext_atto", "convolutional", _ALL, 3_373_880),
    KnownBackbone("convnext_tiny", "convolutional", _ALL, 27_818_592),
    KnownBackbone("fastvit_t8", "pyramid", (32,), 3_171_936),
    KnownBackbone("edgenext_xx_small", "pyramid", (32,), 1_157_880),
    KnownBackbone("pvt_v2_b0", "pyramid", (32,), 3_409_760),
    KnownBackbone("pvt_v2_b2", "pyramid", (32,), 24_849_856),
    KnownBackbone("swin_tiny_patch4_window7_224", "pyramid", (32,), 27_517_818),
    KnownBackbone("swinv2_tiny_window8_256", "pyramid", (32,), 27_576_618),
    KnownBackbone("mambaout_femto", "pyramid", (32,), 5_815_728),
    KnownBackbone("caformer_s18", "pyramid", (32,), 23_236_912),
    KnownBackbone("vit_tiny_patch16_224", "transformer", (16,), 5_524_032),
    KnownBackbone("deit_small_patch16_224", "transformer", (16,), 21_664_896),
    KnownBackbone("vit_small_patch14_dinov2", "transformer", (16,), 22_055_424),
    KnownBackbone("vit_small_patch14_reg4_dinov2", "transformer", (16,), 22_056_576),
    KnownBackbone("eva02_tiny_patch14_224", "transformer", (16,), 5_501_760),
)


class Trial(NamedTuple):
    """How many of timm's names work, by :func:`working_strides`.

    Attributes:
        timm: Its release.
        names: How many it has.
        work: How many of them work with at least one output stride.
    """

    timm: str
    names: int
    work: int


LAST_TRIAL = Trial(timm="1.0.31", names=1371, work=1079)
"""Of `workbench models --all`, which takes half an hour; the quick list quotes it."""

NETWORKS_TEXT = {
    "deeplabv3plus": "atrous spatial pyramid pooling and a decoder, over any backbone",
    "small": "a plain conv net that is quick on a CPU; no backbone",
}

# Importing the package takes seconds; a test compares.
SMP_NETWORKS = (
    *("smp-unet", "smp-unetplusplus", "smp-manet", "smp-linknet", "smp-fpn", "smp-pspnet"),
    *("smp-deeplabv3", "smp-deeplabv3plus", "smp-pan", "smp-upernet", "smp-segformer", "smp-dpt"),
)


SMP_ENCODERS = ("mit_b0", "mit_b1", "mit_b2", "mit_b3", "mit_b4", "mit_b5")
"""Of segmentation-models-pytorch's own encoders those that timm has nothing like."""


def installed_smp_networks() -> tuple[str, ...]:
    """Names of segmentation-models-pytorch's architectures, none if it is not installed."""
    found = importlib.util.find_spec("segmentation_models_pytorch")
    return () if found is None else SMP_NETWORKS


def timm_names() -> list[str]:
    """All names of the installed timm."""
    import timm

    return list(timm.list_models())


def try_all() -> tuple[Trial, dict[str, tuple[int, ...]]]:
    """Tries every name of the installed timm, with a progress bar.

    Returns:
        (the numbers, the output strides of those that work).
    """
    import timm

    names = timm_names()
    found = {
        name: strides
        for name in progress(names, description="models", total=len(names), unit="model")
        if (strides := working_strides(name))
    }
    return Trial(timm.__version__, len(names), len(found)), found


def working_strides(name: str) -> tuple[int, ...]:
    """The output strides with which DeepLabV3+ works over a backbone, images of odd sizes too.

    Nothing is computed: the tensors have shapes only. A model that cannot be built that way
    counts as not working; before timm 1.0.30 that is RegNet.
    """
    return tuple(stride for stride in STRIDES if _works(name, stride))


def _works(name: str, stride: int) -> bool:
    height, width = 97, 65
    try:
        with torch.device("meta"), torch.inference_mode():
            network = DeepLabV3Plus(8, backbone=name, output_stride=stride, channels=8).eval()
            output: Tensor = network(torch.empty(1, 3, height, width))
    except Exception:  # whatever a model says about a size or a setting: it does not work
        return False
    return tuple(output.shape[-2:]) == (-(-height // SKIP_STRIDE), -(-width // SKIP_STRIDE))
