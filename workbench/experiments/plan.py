"""What is compared: experiments, their methods and their cells, all before anything runs.

A cell is one training and its scores. Every cell of an experiment shares network, data,
augmentation, optimiser and evaluation; a method changes the loss and the embedding space. The
memory budget decides the batch (see ``budget``), the length is a time or a number of images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from workbench import config
from workbench.errors import ConfigError

GIB: Final = 2**30

Length = Literal["time", "images"]

# All compared methods learn from the same number of drawn pixels, except "dense-all".
_PAPER: Final = {
    "model.embedding_dim": "12",
    "model.distance": "euclidean",
    "model.temperature": "20",
    "loss.k": "7",
    "loss.separation_weight": "1",
}
_LINEAR: Final = {"model.distance": "linear", "model.temperature": "1"}
_OURS: Final = {
    "loss.name": "streaming",
    "model.embedding_dim": "64",
    "model.distance": "cosine",
    "model.temperature": "20",
    "model.learn_temperature": "true",
}

METHODS: Final[dict[str, tuple[str, dict[str, str]]]] = {
    "dense-all": ("dense, all pixels", {"loss.name": "dense", "loss.pixels": "0"}),
    "dense": ("dense, drawn pixels", {"loss.name": "dense"}),
    "dense-adjusted": (
        "dense, drawn pixels, logits adjusted, tau = 1",
        {"loss.name": "dense", "loss.logit_adjustment": "1"},
    ),
    "published": ("the paper's loss with its code's quirk", {**_PAPER, "loss.name": "published"}),
    "nearest": ("the paper's loss, repaired", {**_PAPER, "loss.name": "nearest"}),
    "nearest-all": (
        "the paper's loss, all pixels",
        {**_PAPER, "loss.name": "nearest", "loss.pixels": "0"},
    ),
    "euclidean": ("exact, Euclidean, D = 12", {**_PAPER, "loss.name": "streaming"}),
    "cosine": (
        "exact, cosine, D = 12",
        {**_PAPER, "loss.name": "streaming", "model.distance": "cosine"},
    ),
    "linear": (
        "exact, linear, D = 12",
        {"loss.name": "streaming", "model.embedding_dim": "12", **_LINEAR},
    ),
    "linear-64": (
        "exact, linear, D = 64",
        {"loss.name": "streaming", "model.embedding_dim": "64", **_LINEAR},
    ),
    "ours": ("exact, cosine, D = 64, learned T", _OURS),
    # One factor at a time, from "ours".
    "ours-d8": ("ours with D = 8", {**_OURS, "model.embedding_dim": "8"}),
    "ours-d12": ("ours with D = 12", {**_OURS, "model.embedding_dim": "12"}),
    "ours-d32": ("ours with D = 32", {**_OURS, "model.embedding_dim": "32"}),
    "ours-d128": ("ours with D = 128", {**_OURS, "model.embedding_dim": "128"}),
    "ours-adjusted-d128": (
        "ours with D = 128, logits adjusted, tau = 1",
        {**_OURS, "model.embedding_dim": "128", "loss.logit_adjustment": "1"},
    ),
    "ours-t20": ("ours with T = 20, fixed", {**_OURS, "model.learn_temperature": "false"}),
    "ours-t40": (
        "ours with T = 40, fixed",
        {**_OURS, "model.learn_temperature": "false", "model.temperature": "40"},
    ),
    "ours-even": ("ours, pixels drawn evenly", {**_OURS, "loss.balance": "none"}),
    "ours-apart": ("ours with the separation penalty", {**_OURS, "loss.separation_weight": "1"}),
    "ours-adjusted": ("ours, logits adjusted, tau = 1", {**_OURS, "loss.logit_adjustment": "1"}),
    "ours-adjusted-half": (
        "ours, logits adjusted, tau = 0.5",
        {**_OURS, "loss.logit_adjustment": "0.5"},
    ),
    "ours-repeat": ("ours, repeat-factor 0.01", {**_OURS, "data.repeat_threshold": "0.01"}),
    "ours-nearest-7": ("ours with the 7 nearest", {**_OURS, "loss.name": "nearest"}),
    "ours-nearest-32": (
        "ours with the 32 nearest",
        {**_OURS, "loss.name": "nearest", "loss.k": "32"},
    ),
    "ours-nearest-128": (
        "ours with the 128 nearest",
        {**_OURS, "loss.name": "nearest", "loss.k": "128"},
    ),
}
"""Key -> (title, settings laid over the experiment's base)."""

REFERENCE: Final = "ours"
"""The method that others are timed beside."""
DEFAULT: Final = "ours-adjusted"
"""The method whose settings the preset "default" has."""

COSTS_AS: Final = {
    **dict.fromkeys(
        ("ours-t20", "ours-t40", "ours-even", "ours-adjusted", "ours-adjusted-half", "ours-repeat"),
        REFERENCE,
    ),
    "ours-adjusted-d128": "ours-d128",
    "dense-adjusted": "dense",
}
"""Methods that compute the same with other numbers: they get the steps of the other's rate, so
that what else the machine does while rates are measured is no advantage to either."""


@dataclass(frozen=True, kw_only=True)
class World:
    """The generated pictures of a cell.

    Attributes:
        classes: C.
        images: Training images.
        val_images: Images of dev and test together.
        size: Side in pixels.
        seed: Of the generator.
    """

    classes: int = 1284
    images: int = 9600
    val_images: int = 1264
    size: int = 128
    seed: int = 0

    @property
    def name(self) -> str:
        """A folder name."""
        return f"shapeworld-{self.classes}-{self.images}-{self.size}-{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training and its scores.

    Attributes:
        method: Key of ``METHODS``.
        memory: Bytes a training step may take beyond what the process has before it.
        length: What ends the training: "time" or "images".
        seed: Of everything random in the training.
        world: What it is trained on.
    """

    method: str
    memory: int
    length: Length = "time"
    seed: int = 0
    world: World = field(default_factory=World)

    @property
    def name(self) -> str:
        """A file name, and unique in an experiment."""
        memory = f"{self.memory / GIB:g}GiB"
        return f"{self.method}--{self.world.classes}-classes--{memory}--{self.length}--{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A comparison.

    Attributes:
        name: As typed.
        question: What it is to answer.
        cells: What is trained, the most telling first.
        base: What all cells share.
        seconds: Training time of cells whose length is "time".
        images: Images seen by cells whose length is "images".
        batches: (batch, crop) to choose from, most wanted first.
        device: "cpu" or "cuda", where memory and time of a step are measured. The steps that
            follow from them may be trained anywhere.
    """

    name: str
    question: str
    cells: tuple[Cell, ...]
    base: config.Run
    seconds: float
    images: int
    batches: tuple[tuple[int, int], ...]
    device: Literal["cpu", "cuda"] = "cpu"

    def settings(self, cell: Cell) -> config.Run:
        """The configuration of a cell, batch, crop and steps aside."""
        overrides = METHODS[cell.method][1]
        run = config.from_overrides(self.base, overrides)
        return config.from_dict({"train": {"seed": cell.seed}}, base=run)


def base_config() -> config.Run:
    """The network, augmentation and optimiser every method gets."""
    return config.from_dict(
        {
            "preset": "experiment",
            "data": {"crop": 128, "scale": [1.0, 1.0], "workers": 1},
            "model": {"network": "small", "width": 64},
            "loss": {"pixels": 8192, "separation_weight": 0.0},
            "train": {
                "optimizer": "adamw",
                "lr": 2e-3,
                "backbone_lr_factor": 1.0,
                "weight_decay": 1e-4,
                "batch_size": 16,
                "checkpoint_every": 200,
                "keep_checkpoints": 1,
            },
        }
    )


BATCHES: Final = (
    *((16, 128), (8, 128), (4, 128), (2, 128), (1, 128)),
    *((1, 96), (1, 64), (1, 48), (1, 32)),
)
TIGHT, MIDDLE, ROOMY = GIB // 2, 2 * GIB, 6 * GIB
CLAIMS: Final = ("ours", "nearest", "dense", "dense-all")
"""Methods a claim is made about: trained with three seeds."""


def _budgets() -> Experiment:
    def cells() -> Iterator[Cell]:
        for method in CLAIMS:
            yield Cell(method=method, memory=TIGHT)
        for method in ("euclidean", "cosine", "linear", "linear-64", "published", "nearest-all"):
            yield Cell(method=method, memory=TIGHT)
        for seed in (1, 2):
            for method in CLAIMS:
                yield Cell(method=method, memory=TIGHT, seed=seed)
        for memory in (MIDDLE, ROOMY):
            for method in ("dense", "dense-all"):
                yield Cell(method=method, memory=memory)

    return _experiment("budgets", "Which method learns most in the same memory and time?", cells)


def _images() -> Experiment:
    def cells() -> Iterator[Cell]:
        first = ("ours", "nearest", "dense", "linear-64", "euclidean", DEFAULT)
        # Added when dense was ahead of these: is it the length of the embedding?
        for method in (*first, "ours-d128", "ours-adjusted-d128", "dense-adjusted", "dense-all"):
            yield Cell(method=method, memory=ROOMY, length="images")

    found = _experiment("images", "Which method learns most from the same images?", cells)
    # Three times through the pictures: dense, too, has to have learned something.
    return dataclasses.replace(found, images=28_800)


def _factors() -> Experiment:
    def cells() -> Iterator[Cell]:
        order = ("d12", "d32", "t20", "nearest-7", "nearest-32", "nearest-128", "even", "adjusted")
        for part in (*order, "adjusted-half", "d128", "repeat", "apart", "t40", "d8"):
            yield Cell(method=f"ours-{part}", memory=TIGHT)
        for seed in (1, 2):  # after seed 0 was best of all: a claim, so that it has three
            yield Cell(method="ours-adjusted", memory=TIGHT, seed=seed)

    return _experiment("factors", "Which part of the recipe earns how much?", cells)


def _classes() -> Experiment:
    def cells() -> Iterator[Cell]:
        for classes in (19, 150, 5000):
            images = max(2400, 2 * classes)
            world = World(classes=classes, images=images, val_images=max(400, classes))
            for method in ("dense", "ours", "nearest"):
                yield Cell(method=method, memory=MIDDLE, world=world)

    return _experiment("classes", "At how many classes does a dense head fall behind?", cells)


def _gpu() -> Experiment:
    base = config.from_dict(
        {
            "data": {"crop": 512, "workers": 8},
            "model": {"network": "deeplabv3plus", "backbone": "resnet50"},
            "loss": {"pixels": 65_536},
            "train": {"precision": "bf16"},
        },
        base=base_config(),
    )
    world = World(images=2400, val_images=640, size=512)
    return Experiment(
        name="gpu",
        question="And with ResNet-50 at 512 px, within 12 GiB of a GPU?",
        cells=tuple(
            Cell(method=method, memory=12 * GIB, world=world)
            for method in ("ours", "nearest", "dense", "dense-all")
        ),
        base=base,
        seconds=30.0,
        images=9_600,
        batches=tuple((batch, 512) for batch in (16, 8, 4, 2, 1)),
        device="cuda",
    )


def _smoke() -> Experiment:
    base = config.from_dict(
        {
            "data": {"crop": 64, "workers": 0},
            "model": {"width": 16},
            "loss": {"pixels": 512},
            "train": {"batch_size": 4, "checkpoint_every": 5},
        },
        base=base_config(),
    )
    world = World(classes=300, images=24, val_images=12, size=64)

    def cell(method: str, length: Length) -> Cell:
        return Cell(method=method, memory=GIB, length=length, world=world)

    return Experiment(
        name="smoke",
        question="Does everything run?",
        cells=(cell("ours", "images"), cell("dense", "images"), cell("published", "time")),
        base=base,
        seconds=1.0,
        images=24,
        batches=((4, 64), (1, 64)),
    )


def _experiment(name: str, question: str, cells: Callable[[], Iterator[Cell]]) -> Experiment:
    return Experiment(
        name=name,
        question=question,
        cells=tuple(cells()),
        base=base_config(),
        seconds=480.0,
        images=9_600,
        batches=BATCHES,
    )


EXPERIMENTS: Final[Mapping[str, Callable[[], Experiment]]] = {
    "budgets": _budgets,
    "images": _images,
    "factors": _factors,
    "classes": _classes,
    "gpu": _gpu,
    "smoke": _smoke,
}


def get_experiment(name: str) -> Experiment:
    """Looks an experiment up.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in EXPERIMENTS:
        known = ", ".join(EXPERIMENTS)
        raise ConfigError(f"experiment: unknown experiment {name!r}; choose one of {known}")
    return EXPERIMENTS[name]()
