"""Named configurations to start from; each is a function, so none is built before it is asked for.

A preset's docstring says what was published with the method and what is our own choice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from workbench.config import Data, Loss, Model, Run, Train
from workbench.errors import ConfigError


def _shapeworld_demo() -> Run:
    """1284 classes on two CPU cores in about an hour; the run shipped in runs/demo."""
    return Run(
        preset="shapeworld-demo",
        data=Data(root="data/shapeworld", crop=128, scale=(1.0, 1.0), workers=1),
        model=Model(
            network="small",
            width=64,
            embedding_dim=64,
            distance="cosine",
            temperature=20.0,
            learn_temperature=True,
        ),
        loss=Loss(name="streaming", pixels=8192, separation_weight=0.0),
        train=Train(
            steps=5_000,
            batch_size=16,
            optimizer="adamw",
            lr=2e-3,
            backbone_lr_factor=1.0,
            weight_decay=1e-4,
            warmup_steps=200,
            evaluate_every=1_000,
            evaluate_images=200,
            checkpoint_every=500,
        ),
    )


def _smoke() -> Run:
    """A few dozen steps on small generated scenes: does everything run? Under a minute."""
    demo = _shapeworld_demo()
    return dataclasses.replace(
        demo,
        preset="smoke",
        data=dataclasses.replace(demo.data, root="data/smoke", crop=64, workers=0),
        model=dataclasses.replace(demo.model, width=16, embedding_dim=16),
        loss=dataclasses.replace(demo.loss, pixels=1024),
        train=dataclasses.replace(
            demo.train,
            steps=40,
            batch_size=4,
            warmup_steps=5,
            evaluate_every=0,
            checkpoint_every=20,
            log_every=1,
        ),
    )


def _ade20k() -> Run:
    """The published ADE20K settings of the reference (MobileNetV2); all pixels, 512 crops.

    Published: backbone, output stride, D, k, T, optimiser, learning rates, decay, schedule,
    crop, batch, scale, flip. Our choice: 100,000 steps (not published for this set).
    """
    return Run(
        preset="paper/ade20k",
        data=Data(dataset="ade20k", root="data/ADEChallengeData2016"),
        model=Model(pretrained=True),
        loss=Loss(name="nearest", k=7),
        train=Train(steps=100_000, batch_size=10),
    )


PRESETS: dict[str, Callable[[], Run]] = {
    "default": Run,
    "shapeworld-demo": _shapeworld_demo,
    "smoke": _smoke,
    "paper/ade20k": _ade20k,
}


def get_preset(name: str) -> Run:
    """Looks a preset up.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in PRESETS:
        raise ConfigError(f"--preset: unknown preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]()
