"""All architectures of segmentation-models-pytorch through one adapter.

Encoder, decoder and the head's convolutions are its own. Left out is what its heads do last,
upsampling to the size of the picture: our losses and predictions do that themselves, in strips,
so that no tensor of (B, D, H, W) is made.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from workbench import config
from workbench.errors import ConfigError, first_line
from workbench.models.padding import pad, without_padding
from workbench.models.weights import Statistics, download, slow_down_statistics

PREFIX = "smp-"

_LEAST_CELLS = {"pan": 8}
"""Cells of the deepest features that a side needs at least: PAN halves them three times."""

_SMALLEST = 32  # pixels that a side has at least: MiT's first stage takes no fewer

_DPT_STRIDE = 32  # of the deepest features that DPT makes of a transformer's, whatever its patch

# How to ask timm for an encoder of pictures of any size, where its weights fix one.
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})


class SmpNetwork(nn.Module):
    """A model of segmentation-models-pytorch with its output at the decoder's resolution.

    Attributes:
        backbone: The encoder; the name gives it its own learning rate.
        out_channels: Numbers per pixel of the output.
        multiple: Pictures are padded to a multiple of this.
    """

    def __init__(
        self, model: nn.Module, out_channels: int, *, multiple: int, least_cells: int = 1
    ) -> None:
        """Takes a model apart.

        Args:
            model: Built with ``upsampling`` 1, where it knows that.
            out_channels: What it was built with as ``classes``.
            multiple: Sides that the model takes are multiples of this.
            least_cells: So many times that is the shortest side that it takes.
        """
        super().__init__()
        self.out_channels = out_channels
        parts = _parts(model)
        self.backbone: nn.Module = parts.encoder
        self.decoder: nn.Module = parts.decoder
        # DPT's head upsamples by a function behind the layers it keeps in `head`.
        self.project: nn.Module = getattr(parts.segmentation_head, "head", parts.segmentation_head)
        self.multiple = multiple
        self.least_cells = least_cells

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_channels, h, w), which cover the pictures exactly.

        Raises:
            ConfigError: A batch of one picture, which cannot be normalised.
        """
        size = (images.shape[-2], images.shape[-1])
        padded = pad(images, self.multiple, self.least_cells * self.multiple)
        try:
            features = self.backbone(padded)
            # Transformers (DPT) give their features and, apart from them, the class tokens.
            inputs = features if isinstance(features, tuple) else (features,)
            outputs: Tensor = self.project(self.decoder(*inputs))
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise ConfigError(
                "train.batch_size: this architecture normalises numbers of which a picture has "
                "one; at least 2 pictures a batch"
            ) from error
        return without_padding(outputs, (padded.shape[-2], padded.shape[-1]), size)


def smp_names() -> list[str]:
    """Names of all architectures, "smp-unet" and so on; empty without the package."""
    try:
        return [PREFIX + name for name in _load().MODEL_ARCHITECTURES_MAPPING]
    except ConfigError:
        return []


def build_smp(settings: config.Model, out_channels: int) -> SmpNetwork:
    """Makes the network that ``settings.network`` names, with random weights in the decoder.

    Args:
        settings: ``backbone`` is a name of smp's own encoders or of a timm model, for which
            smp's prefix "tu-" may be left out; ``output_stride`` counts for architectures that
            dilate their encoder.
        out_channels: D for embeddings, C for the dense baseline.

    Raises:
        ConfigError: The package is missing, the architecture or the encoder is unknown, they
            do not fit each other, or the weights could not be downloaded.
    """
    smp = _load()
    name = settings.network.removeprefix(PREFIX)
    if name not in smp.MODEL_ARCHITECTURES_MAPPING:
        known = ", ".join(smp_names())
        raise ConfigError(
            f"model.network: unknown network {settings.network!r}; choose one of {known}"
        )
    kind = smp.MODEL_ARCHITECTURES_MAPPING[name]
    takes = inspect.signature(kind.__init__).parameters
    wanted: dict[str, Any] = {"upsampling": 1, "encoder_output_stride": settings.output_stride}
    options = {key: value for key, value in wanted.items() if key in takes}
    encoder = _encoder_name(smp, settings.backbone, transformer=name == "dpt")
    timm_encoder = encoder.startswith("tu-")
    options |= {
        "encoder_name": encoder,
        "encoder_weights": (timm_encoder or "imagenet") if settings.pretrained else None,
        "classes": out_channels,
    }
    model = _create(kind, settings, _ways(encoder) if timm_encoder else ({},), options)
    if name != "dpt":
        least = max(_LEAST_CELLS.get(name, 1), _SMALLEST // _stride(model))
        network = SmpNetwork(model, out_channels, multiple=_stride(model), least_cells=least)
        return _tried(network, settings)
    if _DPT_STRIDE % _stride(model) != 0:
        # Its decoder doubles and halves, which a patch of 14 (DINOv2) does not go into: timm
        # resamples the weights to one of 16.
        model = _create(kind, settings, ({"dynamic_img_size": True, "patch_size": 16},), options)
    return _tried(SmpNetwork(model, out_channels, multiple=_DPT_STRIDE), settings)


def timm_encoder(settings: config.Model) -> str | None:
    """Timm's name of the encoder that a configuration names; None for one of smp's own."""
    dpt = settings.network == f"{PREFIX}dpt"
    encoder = _encoder_name(_load(), settings.backbone, transformer=dpt)
    return encoder.removeprefix("tu-") if encoder.startswith("tu-") else None


def published_statistics(encoder: str) -> Statistics:
    """The mean and deviation that the published weights of one of smp's own encoders take.

    They lie on the hub beside the weights, which are downloaded in any case.

    Raises:
        ConfigError: They could not be downloaded, or there are none.
    """
    try:
        with download(encoder):
            found = _load().encoders.get_preprocessing_params(encoder)
    except ValueError as error:
        raise ConfigError(
            f"model.pretrained: segmentation-models-pytorch has no ImageNet weights of {encoder}; "
            "give a file with --model.weights FILE, or start at random with "
            "--model.pretrained false"
        ) from error
    return tuple(found["mean"]), tuple(found["std"])


def _tried(network: SmpNetwork, settings: config.Model) -> SmpNetwork:
    """A network that takes a picture, without what it does not use."""
    try:
        return _without_unused(network)
    except RuntimeError as error:  # parts that can be built and do not fit each other
        raise _unsuitable(settings, first_line(error)) from error


def _unsuitable(settings: config.Model, why: str) -> ConfigError:
    where = f"{settings.network} over {settings.backbone}"
    return ConfigError(f"model.backbone: {where} does not fit: {why}")


def _without_unused(network: SmpNetwork) -> SmpNetwork:
    """Takes layers out that nothing depends on: encoders keep their later stages and classifier.

    They would cost memory, and several processes would wait for their gradients for ever.
    """
    called: set[nn.Module] = set()
    watches = [
        module.register_forward_pre_hook(lambda module, _: called.add(module))
        for module in network.modules()
    ]
    network.eval()  # draws no random numbers, keeps the batch statistics
    parameters = dict(network.named_parameters())
    outputs = network(torch.zeros(1, 3, network.multiple, network.multiple))
    gradients = torch.autograd.grad(outputs.sum(), list(parameters.values()), allow_unused=True)
    network.train()
    for watch in watches:
        watch.remove()
    unused = {name for name, grad in zip(parameters, gradients, strict=True) if grad is None}
    for name in unused:
        parameters[name].requires_grad_(False)  # for what cannot be taken out
    dropped: list[str] = []
    for name, module in list(network.named_modules()):
        within = [f"{name}.{inner}" for inner, _ in module.named_parameters()]
        gone = name.startswith(tuple(dropped))
        if within and unused.issuperset(within) and module not in called and not gone:
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, nn.Identity())
            dropped.append(f"{name}.")
    return network


def _stride(model: nn.Module) -> int:
    return int(_parts(model).encoder.output_stride)


def _parts(model: Any) -> Any:  # noqa: ANN401
    """A model as an object whose parts have no types."""
    return model


def _load() -> ModuleType:
    try:
        import segmentation_models_pytorch  # seconds; only who builds one of its models pays
    except ModuleNotFoundError as error:
        raise ConfigError(
            "model.network: networks named smp-... are segmentation-models-pytorch's, which is "
            "not installed: pip install 'segmentation-workbench[smp]', or choose deeplabv3plus"
        ) from error
    module: ModuleType = segmentation_models_pytorch
    return module


def _encoder_name(smp: ModuleType, name: str, *, transformer: bool) -> str:
    """The backbone as smp calls it: its own encoder, or "tu-" and the name of a timm model."""
    import timm

    own: list[str] = list(smp.encoders.encoders)
    if name in own and not transformer:
        return name
    known = name.removeprefix("tu-")
    if timm.is_model(known):
        return f"tu-{known}"
    if name in own:
        raise ConfigError(
            f"model.backbone: smp-dpt takes timm's vision transformers, {name} is none; "
            "for example vit_small_patch16_224"
        )
    names = dict.fromkeys((*own, *timm.list_models()))
    close = difflib.get_close_matches(known, names, n=5)
    hint = f"; similar: {', '.join(close)}" if close else ""
    raise ConfigError(
        f"model.backbone: neither segmentation-models-pytorch nor timm knows {name!r}{hint}"
    )


def _ways(encoder: str) -> tuple[dict[str, Any], ...]:
    import timm

    cfg: Any = timm.get_pretrained_cfg(encoder.removeprefix("tu-"))
    return _ANY_SIZE if getattr(cfg, "fixed_input_size", False) else ({},)


def _create(
    kind: Any,  # noqa: ANN401 - a class of smp, which has no types
    settings: config.Model,
    ways: tuple[dict[str, Any], ...],
    options: dict[str, Any],
) -> nn.Module:
    """Builds a model; of an encoder for pictures of one size, a version for all sizes."""
    reason = "it takes images of one size only" if ways == _ANY_SIZE else ""
    for way in ways:
        try:
            with warnings.catch_warnings():
                # DPT says so of every encoder without class tokens, and does what it should.
                warnings.filterwarnings("ignore", message="Encoder does not have prefix tokens")
                with download(settings.backbone):
                    model: nn.Module = kind(**options, **way)
        except TypeError as error:  # the encoder does not know this way to any size
            reason = reason or first_line(error)
        except (ValueError, KeyError, RuntimeError, AttributeError, IndexError) as error:
            raise _unsuitable(settings, first_line(error)) from error
        else:
            if settings.pretrained:
                slow_down_statistics(_parts(model).encoder)
            return model
    raise _unsuitable(settings, reason)
