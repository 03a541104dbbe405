"""A vocabulary maker and random label maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from workbench.constants import IGNORE_INDEX
from workbench.vocabulary import Vocabulary

GROUPS = ("rare", "common", "frequent", "stuff")


@pytest.fixture(scope="session")
def make_vocabulary() -> Callable[[int], Vocabulary]:
    def make(classes: int) -> Vocabulary:
        ids = np.arange(classes)
        return Vocabulary(
            pd.DataFrame(
                {
                    "class_id": ids,
                    "name": [f"class {index}" for index in ids],
                    "group": [GROUPS[index % 4] for index in ids],
                    "supercategory": "",
                    "color": "#102030",
                    "train_images": ids % 7,
                    "train_pixels": ids * 100,
                }
            )
        )

    return make


@pytest.fixture(scope="session")
def make_maps() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    def make(
        classes: int, seed: int, size: tuple[int, int] = (9, 11), ignored: float = 0.2
    ) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and truth that often agree, with the first and last id in both."""
        rng = np.random.default_rng(seed)
        palette = np.unique([0, classes - 1, *rng.integers(0, classes, 5)])
        truth = rng.choice(palette, size)
        guess = rng.choice(palette, size)
        prediction = np.where(rng.random(size) < 0.5, truth, guess)
        truth = np.where(rng.random(size) < ignored, IGNORE_INDEX, truth)
        return prediction, truth

    return make
