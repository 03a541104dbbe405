"""The sections of a configuration: keyword-only dataclasses that check their values."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from workbench.errors import ConfigError

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
            0 < self.scale[0] <= self.scale[1] < math.inf,
            "data.scale",
            self.scale,
            "two positive numbers, smallest first",
        )
        value = self.color_jitter
        _require(0 <= value <= 1, "data.color_jitter", value, "a share from 0 to 1")
        value = self.repeat_threshold
        _require(0 <= value <= 1, "data.repeat_threshold", value, "a share from 0 to 1")
        _require(self.workers >= 0, "data.workers", self.workers, "at least 0")
        _require(bool(self.root), "data.root", self.root, "the folder of the dataset")


@dataclass(frozen=True, kw_only=True)
class Model:
    """The network and the space its embeddings live in.

    Attributes:
        network: "deeplabv3plus" (ASPP and decoder over a timm backbone), "small" (a plain conv
            net that is quick on a CPU), "smp-unet", "smp-segformer", ... (the architectures of
            segmentation-models-pytorch) or a name of ``workbench.models.register_network``.
        backbone: A timm model, convolutional or a transformer; `workbench models` lists some.
        pretrained: Load the backbone's published weights (needs the network once).
        weights: Weights to start from instead: a file (safetensors, or a state dict) of the
            backbone or of a run; or "offline", those of ``tf_efficientnet_lite0`` that the extra
            ``offline-backbone`` installs.
        output_stride: Stride of the deepest features, 8, 16 or 32.
        width: Channels at quarter resolution (for "small").
        embedding_dim: D, numbers per pixel and per class.
        distance: "euclidean", "squared_euclidean", "cosine" or "linear".
        temperature: T that multiplies every logit (the paper: 20); 1 for "linear".
        learn_temperature: Let training change T.
        mean: Mean of RGB in 0..1, subtracted inside the model. Left at its default, with
            ``std``, it becomes what weights to start from were trained with.
        std: Standard deviation of RGB in 0..1.
    """

    network: str = "deeplabv3plus"
    backbone: str = "mobilenetv2_100"
    pretrained: bool = False
    weights: str = ""
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
        finite = all(map(math.isfinite, self.mean))
        _require(finite, "model.mean", self.mean, "three finite numbers")
        positive = all(0 < value < math.inf for value in self.std)
        _require(positive, "model.std", self.std, "three numbers above 0")

    def without_start(self) -> Model:
        """The same model for weights that are at hand: nothing to download or read first."""
        return dataclasses.replace(self, pretrained=False, weights="")


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
        pixels: Labelled pixels drawn per step; 0 takes all.
        balance: How they are drawn: "inverse_sqrt" of the class's pixel count, or "none".
        label_smoothing: Share of each target that goes to all classes alike (for "streaming",
            "dense").
        logit_adjustment: Strength tau of adding the log of each class's share of the training
            pixels to its logit while training, so that rare classes are not outvoted; 0 is off.
        separation_weight: Weight of the penalty on class embeddings closer than the margin.
        separation_margin: Distance beyond which two class embeddings leave each other alone.
        budget_mb: Working memory of the loss in MiB; on a GPU a block of pixels takes up to 256.
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
        if smoothing > 0 and self.name in ("nearest", "published"):
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
        batch_size: Images per step, over all processes and micro-batches.
        accumulate: Micro-batches a step is computed in, one after another: more of them need
            less memory and give the same step (but for batch normalisation, see ``batch_norm``).
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
        clip_norm: Largest norm of a step's gradient, longer ones are shortened to it; 0 is off.
        ema_decay: Decay of an average of the weights over the steps, which is then what is
            evaluated, kept as the run's weights and exported; 0 is off, 0.999 is customary.
        batch_norm: "batch" normalises by the statistics of each micro-batch, "frozen" by those
            the network begins with (pretrained, or none), which no batch changes.
        precision: "fp32", "bf16" or "fp16".
        channels_last: Memory format; faster for convolutions on most devices.
        compile: Compile the network by ``torch.compile``: slow first steps, then faster ones.
        seed: Of everything random.
        log_every: Steps between lines in metrics.jsonl.
        evaluate_every: Steps between evaluations during training; 0 leaves them out.
        evaluate_images: Images of the periodic evaluations; 0 takes all.
        patience: Evaluations in a row without a better validation mIoU after which training
            stops; 0 never stops early.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: Checkpoints kept beside the best one.
    """

    steps: int = 200_000
    batch_size: int = 16
    accumulate: int = 1
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
    clip_norm: float = 0.0
    ema_decay: float = 0.0
    batch_norm: Literal["batch", "frozen"] = "batch"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = True
    compile: bool = False
    seed: int = 0
    log_every: int = 10
    evaluate_every: int = 0
    evaluate_images: int = 0
    patience: int = 0
    checkpoint_every: int = 500
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in (
            *("steps", "batch_size", "accumulate"),
            *("log_every", "checkpoint_every", "keep_checkpoints"),
        ):
            value = getattr(self, name)
            _require(value >= 1, f"train.{name}", value, "at least 1")
        for name in (
            *("evaluate_every", "evaluate_images", "patience", "warmup_steps", "clip_norm"),
            *("weight_decay", "lr_floor"),
            *("backbone_lr_factor", "table_lr_factor", "power", "table_power", "seed"),
        ):
            value = getattr(self, name)
            _require(0 <= value < math.inf, f"train.{name}", value, "at least 0")
        _require(self.seed < 2**63, "train.seed", self.seed, "below 2**63")
        _require(0 < self.lr < math.inf, "train.lr", self.lr, "above 0")
        for name in ("momentum", "ema_decay"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"train.{name}", value, "from 0 to below 1")
        _require(
            self.accumulate <= self.batch_size,
            "train.accumulate",
            self.accumulate,
            f"at most batch_size ({self.batch_size}), one image a micro-batch",
        )
        if self.patience > 0 and self.evaluate_every == 0:
            raise ConfigError(
                "train.patience: counts evaluations, and there are none; set train.evaluate_every"
            )


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
        smallest = self.train.batch_size // self.train.accumulate
        _require(
            smallest > 1
            or self.train.batch_norm == "frozen"
            or self.data.crop > self.model.output_stride,
            "data.crop",
            self.data.crop,
            f"more than model.output_stride ({self.model.output_stride}) where a batch, "
            "or micro-batch, is 1 image",
        )
        if self.model.distance == "linear" and self.model.temperature != 1.0:
            raise ConfigError(
                "model.temperature: the linear distance has temperature 1, "
                f"got {self.model.temperature!r}; set it to 1"
            )
