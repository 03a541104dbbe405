"""A vocabulary above 255 classes and a fresh run that uses it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers.vocabularies import make_vocabulary

from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary

CLASSES = 1284


@pytest.fixture(scope="session")
def vocabulary() -> Vocabulary:
    return make_vocabulary(CLASSES, group="all", hue="teal")


@pytest.fixture
def run(tmp_path: Path, vocabulary: Vocabulary) -> RunDirectory:
    config = {"data": {"dataset": "shapeworld"}, "train": {"steps": 500}}
    return RunDirectory.create(tmp_path / "runs" / "mine", config=config, vocabulary=vocabulary)


@pytest.fixture
def evaluated(run: RunDirectory) -> RunDirectory:
    """The run with an evaluation of val and two pictures."""
    per_class = pd.DataFrame(
        {
            "class_id": np.arange(CLASSES),
            "name": "n",
            "group": "all",
            "supercategory": "",
            **{name: np.linspace(0, 1, CLASSES) for name in ("iou", "precision", "recall")},
            **{
                name: np.arange(CLASSES)
                for name in ("intersection", "union", "truth_pixels", "predicted_pixels")
            },
            **{name: np.arange(CLASSES) for name in ("val_images", "train_images", "train_pixels")},
            "nearest_class_id": -1,
            "nearest_distance": np.nan,
            "reason": "",
        }
    )
    per_image = pd.DataFrame(
        {"image_id": ["a", "b"], "class_id": [1283, 256], "intersection": 1, "union": 2}
    ).assign(truth_pixels=2, predicted_pixels=1)
    confusions = pd.DataFrame({"truth": [1283], "predicted": [256], "pixels": [7]})
    run.write_evaluation(
        "val",
        summary={"miou": np.float64(0.5), "groups": {"rare": {"miou": float("nan")}}},
        per_class=per_class,
        per_image_class=per_image,
        confusions=confusions,
    )
    labels = np.array([[1283, 256, -100], [0, 1, 2]])
    for image_id in ("a", "b"):
        image = np.full((2, 3, 3), 128, dtype=np.uint8)
        run.save_sample("val", image_id, image, labels, labels[:, ::-1])
    return run
