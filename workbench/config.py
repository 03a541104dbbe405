"""Everything a run can be told: keyword-only dataclasses, YAML round trip.

The command line's flags are the dotted fields (``--train.steps 500``); a run directory
keeps the whole configuration as ``config.yaml``. Types are checked by jsonargparse, values
by the dataclasses themselves, and both speak one clear line.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from workbench.errors import ConfigError, first_line

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _require(condition: bool, name: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f"{name}: {rule}, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the pictures are and how they are cut for training.

    Attributes:
        dataset: Key of the dataset: "shapeworld", "lvis-coco", "ade20k", "voc", ...
        root: Folder of the dataset (its own folder or its parent).
        train_split: Split to learn from.
        val_split: Split to evaluate on during and after training.
        variant: Another reading of the same files: "legacy" (lvis-coco), "182"
            (coco-stuff10k); empty is the usual one.
        crop: Side of the square training crop in pixels.
        scale: Smallest and largest random scale before cropping; equal values: no scaling.
        flip: Mirror half of the images.
        color_jitter: Strength of brightness, contrast and saturation changes; 0 is off.
        repeat_threshold: Images with a class that fewer than this share of the images have are
            shown more often (LVIS: 0.001); 0 shows all equally often.
        workers: Processes that load images; 0 loads in the training process.
    """

    dataset: str = "shapeworld"
    root: str = "data/shapeworld"
    train_split: str = "train"
    val_split: str = "val"
    variant: str = ""
    crop: int = 512
    scale: tuple[float, float] = (0.5, 2.0)
    flip: bool = True
    color_jitter: float = 0.0
    repeat_threshold: float = 0.0
    workers: int = 2

    def __post_init__(self) -> None:
        """Checks the values."""
        _require(self.crop >= 16, "data.crop", self.crop, "at least 16 pixels")
        _require(
            0 < self.scale[0] <= self.scale[1],
            "data.scale",
            self.scale,
            "two positive numbers, smallest first",
        )
        _require(self.color_jitter >= 0, "data.color_jitter", self.color_jitter, "at least 0")
        value = self.repeat_threshold
        _require(0 <= value <= 1, "data.repeat_threshold", value, "a share from 0 to 1")
        _require(self.workers >= 0, "data.workers", self.workers, "at least 0")
        _require(bool(self.root), "data.root", self.root, "the folder of the dataset")


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network and the space its embeddings live in.

    Attributes:
        network: "deeplabv3plus" (ASPP and decoder over a timm backbone) or "small" (a plain
            conv net that is quick on a CPU).
        backbone: A timm model with ``features_only`` and ``output_stride`` (for "deeplabv3plus").
        pretrained: Load the backbone's published weights (needs the network once).
        output_stride: Stride of the deepest features, 8, 16 or 32.
        width: Channels at quarter resolution (for "small").
        embedding_dim: D, numbers per pixel and per class.
        distance: "euclidean", "squared_euclidean", "cosine" or "linear".
        temperature: T that multiplies every logit (the paper: 20); 1 for "linear".
        learn_temperature: Let training change T.
        mean: Mean of RGB in 0..1, subtracted inside the model.
        std: Standard deviation of RGB in 0..1.
    """

    network: str = "deeplabv3plus"
    backbone: str = "mobilenetv2_100"
    pretrained: bool = False
    output_stride: Literal[8, 16, 32] = 16
    width: int = 64
    embedding_dim: int = 12
    distance: str = "euclidean"
    temperature: float = 20.0
    learn_temperature: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Checks the values."""
        _require(self.embedding_dim >= 1, "model.embedding_dim", self.embedding_dim, "at least 1")
        _require(self.width >= 8, "model.width", self.width, "at least 8")
        _require(0 < self.temperature < math.inf, "model.temperature", self.temperature, "above 0")
        _require(min(self.std) > 0, "model.std", self.std, "three numbers above 0")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What is minimised.

    Attributes:
        name: "nearest" (the paper's), "streaming" (exact), "dense" (the baseline) or
            "published" (the paper's with its code's quirk, for comparison).
        k: Nearest classes taken as negatives (for "nearest", "published").
        search: How they are found: "exact", or for tables above about 50,000 classes "index"
            (approximate, needs faiss; a resumed run builds it anew and may differ in a few
            neighbours).
        index_refresh: Batches between two builds of the index; in between the classes move on,
            and their present embeddings rank the candidates.
        pixels: Labelled pixels drawn per step and process; 0 takes all.
        balance: How they are drawn: "inverse_sqrt" of the class's pixel count, or "none".
        label_smoothing: Share of each target that goes to all classes alike (for "streaming",
            "dense").
        logit_adjustment: Strength tau of adding the log of each class's share of the training
            pixels to its logit while training, so that rare classes are not outvoted; 0 is off.
        separation_weight: Weight of the penalty on class embeddings closer than the margin.
        separation_margin: Distance beyond which two class embeddings leave each other alone.
        budget_mb: Working memory of the loss in MiB.
    """

    name: str = "nearest"
    k: int = 7
    search: Literal["exact", "index"] = "exact"
    index_refresh: int = 100
    pixels: int = 0
    balance: Literal["none", "inverse_sqrt"] = "inverse_sqrt"
    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0
    separation_weight: float = 1.0
    separation_margin: float = 0.2
    budget_mb: float = 64.0

    def __post_init__(self) -> None:
        """Checks the values."""
        _require(self.k >= 1, "loss.k", self.k, "at least 1")
        refresh = self.index_refresh
        _require(refresh >= 1, "loss.index_refresh", refresh, "at least 1")
        _require(self.pixels >= 0, "loss.pixels", self.pixels, "at least 0 (0 takes all)")
        smoothing = self.label_smoothing
        _require(0 <= smoothing < 1, "loss.label_smoothing", smoothing, "from 0 to below 1")
        if smoothing > 0 and self.name == "nearest":
            raise ConfigError(
                "loss.label_smoothing: the nearest classes alone cannot be smoothed over; "
                "set it to 0 or choose --loss.name streaming"
            )
        for name in ("logit_adjustment", "separation_weight", "separation_margin"):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"loss.{name}", value, "at least 0")
        _require(0 < self.budget_mb < math.inf, "loss.budget_mb", self.budget_mb, "above 0")


@dataclass(frozen=True, kw_only=True)
class Train:
    """How long, how fast and how often.

    Attributes:
        steps: Optimiser steps.
        batch_size: Images per step and process.
        optimizer: "sgd" (momentum) or "adamw".
        lr: Learning rate of decoder and embeddings.
        backbone_lr_factor: The backbone's learning rate relative to ``lr``.
        table_lr_factor: The class table's learning rate relative to ``lr``.
        momentum: Of SGD.
        weight_decay: Of all weights but normalisation, bias, class table and temperature.
        power: Exponent of the poly schedule.
        table_power: The same for the class table.
        lr_floor: Learning rates do not fall below it.
        warmup_steps: Steps of linear increase at the start.
        precision: "fp32", "bf16" or "fp16".
        channels_last: Memory format; faster for convolutions on most devices.
        seed: Of everything random.
        log_every: Steps between lines in metrics.jsonl.
        evaluate_every: Steps between evaluations during training; 0 leaves them out.
        evaluate_images: Images of the periodic evaluations; 0 takes all.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: Checkpoints kept beside the best one.
    """

    steps: int = 200_000
    batch_size: int = 16
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    backbone_lr_factor: float = 0.1
    table_lr_factor: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    power: float = 0.9
    table_power: float = 0.95
    lr_floor: float = 1e-6
    warmup_steps: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 0
    evaluate_images: int = 0
    checkpoint_every: int = 500
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in ("steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"):
            value = getattr(self, name)
            _require(value >= 1, f"train.{name}", value, "at least 1")
        for name in (
            *("evaluate_every", "evaluate_images", "warmup_steps", "weight_decay", "lr_floor"),
            *("backbone_lr_factor", "table_lr_factor", "power", "table_power", "seed"),
        ):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"train.{name}", value, "at least 0")
        _require(0 < self.lr < math.inf, "train.lr", self.lr, "above 0")
        _require(0 <= self.momentum < 1, "train.momentum", self.momentum, "from 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run.

    Attributes:
        preset: Name of the preset it started from.
        data: Pictures.
        model: Network and embedding space.
        loss: What is minimised.
        train: Schedule.
    """

    preset: str = "default"
    data: Data = field(default_factory=Data)
    model: Model = field(default_factory=Model)
    loss: Loss = field(default_factory=Loss)
    train: Train = field(default_factory=Train)

    def __post_init__(self) -> None:
        """Checks what involves more than one section."""
        _require(
            self.train.batch_size > 1 or self.data.crop > self.model.output_stride,
            "data.crop",
            self.data.crop,
            f"more than model.output_stride ({self.model.output_stride}) where batch_size is 1",
        )
        if self.model.distance == "linear" and self.model.temperature != 1.0:
            raise ConfigError(
                "model.temperature: the linear distance has temperature 1, "
                f"got {self.model.temperature!r}; set it to 1"
            )


def to_dict(run: Run) -> dict[str, Any]:
    """Nested plain dict of a configuration, tuples as lists: what YAML and JSON can hold."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple | list) else value

    return {key: plain(value) for key, value in dataclasses.asdict(run).items()}


def from_dict(values: Mapping[str, Any], *, base: Run | None = None) -> Run:
    """Validates a nested dict and lays it over a base configuration.

    Args:
        values: Sections and fields; what is absent keeps the base's value.
        base: Configuration to start from, the defaults if None.

    Raises:
        ConfigError: An unknown field (with the nearest valid one) or a value of wrong type.
    """
    from jsonargparse import ArgumentParser

    base = base or Run()
    merged = _merge(to_dict(base), values, prefix="")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Run, as_group=False)
    try:
        parsed = parser.parse_object(merged)
        built = parser.instantiate(parsed)
    except ConfigError:
        raise
    except Exception as error:  # jsonargparse raises several kinds; all mean a wrong value
        raise _as_config_error(error) from error
    return Run(**{name: getattr(built, name) for name in to_dict(base)})


def _as_config_error(error: BaseException) -> ConfigError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):
            return cause
        cause = cause.__cause__ or cause.__context__
    message = " ".join(str(error).split())
    message = re.sub(r'^Parser key "([^"]+)": E', r"\1: e", message)
    message = re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", message)
    message = re.sub(r"\. Got value: ", ", got ", message)
    return ConfigError(re.sub(r"<class '(\w+)'>", r"\1", message))


def _merge(base: dict[str, Any], values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in values.items():
        if key not in base:
            close = difflib.get_close_matches(str(key), base, n=1)
            hint = f"did you mean {prefix}{close[0]}?" if close else f"known: {', '.join(base)}"
            raise ConfigError(f"{prefix}{key}: unknown setting; {hint}")
        if value is None:  # jsonargparse would take it for any type
            raise ConfigError(f"{prefix}{key}: a value is missing")
        if isinstance(base[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{key}: expected a section with fields, got {value!r}")
            merged[key] = _merge(base[key], value, prefix=f"{prefix}{key}.")
        else:
            merged[key] = value
    return merged


def from_overrides(base: Run, overrides: Mapping[str, str]) -> Run:
    """Lays dotted command-line fields over a configuration.

    Args:
        base: Usually a preset.
        overrides: {"train.steps": "500", ...}; values are read as YAML, except those of text
            fields, which are taken as they are (a folder may be called 2024).

    Raises:
        ConfigError: See :func:`from_dict`.
    """
    known, nested = to_dict(base), dict[str, Any]()
    for dotted, text in overrides.items():
        section, _, name = dotted.partition(".")
        fields = known.get(section)
        if not isinstance(fields, dict) or not name:
            sections = [key for key, value in known.items() if isinstance(value, dict)]
            close = difflib.get_close_matches(section, sections, n=1)
            hint = f"did you mean {close[0]}?" if close else f"sections: {', '.join(sections)}"
            raise ConfigError(f"{dotted}: unknown setting; {hint}")
        try:
            value = text if isinstance(fields.get(name), str) else yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"{dotted}: cannot read the value {text!r}") from error
        nested.setdefault(section, {})[name] = value
    return from_dict(nested, base=base)


def describe_settings() -> str:
    """All dotted fields with their defaults, one a line: the help of ``workbench train``."""

    def lines(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from lines(value, f"{prefix}{key}.")
            elif prefix:
                yield f"  --{prefix}{key} {value}"

    return "\n".join(("settings and their defaults:", *lines(to_dict(Run()), "")))


def load_yaml(path: Path) -> Run:
    """Reads a configuration file.

    Raises:
        ConfigError: The file cannot be read, is not YAML or holds an invalid field.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot read the configuration: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections data, model, loss and train")
    try:
        return from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
