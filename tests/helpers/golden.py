"""``python -m helpers.golden tests/trainers/golden.json``: loss curves to compare later ones with.

Twenty steps each of a tiny training on pictures of 300 classes, on a CPU in fp32. Weights and
pictures come from numpy's `RandomState`, whose numbers are promised to stay what they are, and
the network is smooth: where a ReLU switches, the last bit of a sum becomes the fourth digit of
the loss some steps later. To be run, and its difference read, when a formula is changed on
purpose.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Final, Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: sums keep their order

import numpy as np
import torch
from torch import nn

from workbench import config
from workbench.losses import build_loss
from workbench.models import ClassTable, SegmentationModel
from workbench.runs import write_json
from workbench.trainers import Trainer
from workbench.trainers.sampling import Batch

CLASSES: Final = 300
STEPS: Final = 20
SIDE: Final = 32

Curves = dict[str, list[float]]

CASES: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "dense": {"loss": {"name": "dense"}},
    "dense, smoothed": {"loss": {"name": "dense", "label_smoothing": 0.1}},
    "dense, adjusted": {"loss": {"name": "dense", "logit_adjustment": 1.0}},
    "nearest": {"loss": {"name": "nearest"}},
    "nearest, cosine": {"loss": {"name": "nearest"}, "model": {"distance": "cosine"}},
    "nearest, adjusted": {"loss": {"name": "nearest", "logit_adjustment": 0.5}},
    "nearest by index": {"loss": {"name": "nearest", "search": "index", "index_refresh": 3}},
    "published": {"loss": {"name": "published"}},
    "streaming": {"loss": {"name": "streaming"}},
    "streaming, squared": {  # at half the temperature of the cosine: the same curve
        "loss": {"name": "streaming"},
        "model": {"distance": "squared_euclidean", "temperature": 10.0},
    },
    "streaming, cosine": {"loss": {"name": "streaming"}, "model": {"distance": "cosine"}},
    "streaming, linear": {
        "loss": {"name": "streaming"},
        "model": {"distance": "linear", "temperature": 1.0},
    },
    "streaming, smoothed": {"loss": {"name": "streaming", "label_smoothing": 0.1}},
    "streaming, adjusted": {
        "loss": {"name": "streaming", "logit_adjustment": 1.0},
        "model": {"distance": "cosine"},
    },
    "streaming, kept apart": {
        "loss": {"name": "streaming", "separation_weight": 2.0, "separation_margin": 0.8}
    },
    "streaming, learned temperature": {
        "loss": {"name": "streaming"},
        "model": {"distance": "cosine", "learn_temperature": True},
    },
    "streaming, pixels drawn": {"loss": {"name": "streaming", "pixels": 200}},
}
"""Name -> sections of the configuration, where they are not those of ``settings``."""

DRAWN: Final = "streaming, pixels drawn"
"""The case whose numbers hang on torch's own draws."""

_TOLD: Final = ("loss", "penalty", "temperature")


def settings(
    case: str, *, seed: int = 0, steps: int = STEPS, precision: Literal["fp32", "bf16"] = "fp32"
) -> config.Run:
    """The configuration of a case: everything that matters is written out, no preset."""
    changed = CASES[case]
    model = {"embedding_dim": 12, "distance": "euclidean"}
    loss = {"k": 7, "pixels": 0, "separation_weight": 0.0}
    train = config.Train(
        steps=steps, batch_size=2, optimizer="sgd", lr=0.02, seed=seed, precision=precision
    )
    return config.Run(
        model=config.Model(**(model | changed.get("model", {}))),
        loss=config.Loss(**(loss | changed["loss"])),
        train=train,
    )


def batch(random: np.random.RandomState) -> Batch:
    """Two noisy pictures of a square each, whose class, 254 to 299, gives its colour."""
    images = random.randint(0, 40, (2, 3, SIDE, SIDE))
    masks = np.full((2, SIDE, SIDE), CLASSES - 1)
    for image, mask in zip(images, masks, strict=True):
        top, left = random.randint(2, 14, 2)
        place = (slice(top, top + 14), slice(left, left + 14))
        chosen = 254 + random.randint(0, 45)
        color = (5 * (chosen - 254), 200 - 4 * (chosen - 254), 40 * (chosen % 5))
        image[:, *place] += np.array(color)[:, None, None]
        mask[place] = chosen
        mask[:2] = -100
    pictures = torch.from_numpy(images.clip(0, 255).astype(np.uint8))
    return Batch(pictures, torch.from_numpy(masks), ["one", "other"])


def trainer(run: config.Run) -> Trainer:
    """A trainer whose weights are numpy's draws, scaled as torch would scale its own."""
    random = np.random.RandomState(run.train.seed)
    loss = build_loss(run.loss, run.model.distance)
    loss.use_prior(np.arange(CLASSES) ** 2)  # rare and common classes
    out = run.model.embedding_dim if loss.uses_class_table else CLASSES
    network = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2),
        nn.Tanh(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(32, out, 1),
    )
    table = ClassTable(
        CLASSES,
        out,
        distance=run.model.distance,
        temperature=run.model.temperature,
        learn_temperature=run.model.learn_temperature,
    )
    for parameter in (*network.parameters(), table.weight):
        drawn = random.standard_normal(tuple(parameter.shape)) * parameter[0].numel() ** -0.5
        parameter.data.copy_(torch.from_numpy(drawn if parameter.ndim > 1 else 0.0 * drawn))
    model = SegmentationModel(
        network,
        table if loss.uses_class_table else None,
        distance=run.model.distance,
        mean=run.model.mean,
        std=run.model.std,
    )
    return Trainer(run, model, loss)


def curves(
    case: str, *, seed: int = 0, steps: int = STEPS, precision: Literal["fp32", "bf16"] = "fp32"
) -> Curves:
    """The figures of every step of a case: the loss, and what else its settings bring in."""
    training = trainer(settings(case, seed=seed, steps=steps, precision=precision))
    random = np.random.RandomState(seed + 1)
    records = [training.train_step(batch(random)) for _ in range(steps)]
    found = {name: [float(one[name]) for one in records] for name in _TOLD if name in records[0]}
    return {name: values for name, values in found.items() if len(set(values)) > 1}


def first_draws() -> list[float]:
    """What torch draws where pixels are drawn; on another machine it may draw otherwise."""
    generator = torch.Generator().manual_seed(0)
    return torch.empty(20).exponential_(generator=generator).tolist()


def main(path: Path) -> None:
    """Writes all curves, to nine digits."""
    torch.set_num_threads(1)
    found = {
        case: {
            name: [float(f"{value:.9g}") for value in values]
            for name, values in curves(case).items()
        }
        for case in CASES
    }
    write_json(path, {"draws": first_draws(), "curves": found})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
