"""Cross-validation on photos: folds, trainings, and the section about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench import config
from workbench.datasets import open_dataset, write_sample
from workbench.errors import DataError
from workbench.experiments import photos
from workbench.experiments.photos import make_folds, run_photos
from workbench.experiments.report_photos import read_photos, render_photos

MACHINE = {"cpu": "Abacus 3", "cpu_count": 7, "ram_bytes": 2**33, "torch": "9", "gpus": []}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("coco")
    write_sample("coco-panoptic", root, images=9, size=64)
    return root


def test_every_photo_is_left_out_once(source: Path, tmp_path: Path) -> None:
    whole = open_dataset("coco-panoptic", source, "train")
    masks = {whole.ids[i]: whole[i]["mask"] for i in range(len(whole))}
    seen = []
    for folder in make_folds(source, tmp_path, 2):
        parts = {s: open_dataset("coco-panoptic", folder, s) for s in ("train", "val")}
        assert set(parts["train"].ids).isdisjoint(parts["val"].ids)
        assert set(parts["train"].ids) | set(parts["val"].ids) == set(masks)
        for part in parts.values():
            for place, name in enumerate(part.ids):
                assert (part[place]["mask"] == masks[name]).all()
        seen += parts["val"].ids
    assert sorted(seen) == sorted(masks)


def test_a_folder_without_annotations_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"panoptic_train2017\.json: not a readable panoptic json"):
        make_folds(tmp_path, tmp_path / "folds")


def test_trainings_are_pooled_and_not_repeated(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photos, "COMPARED", ("dense", "ours"))
    base = config.from_dict(
        {
            "data": {"crop": 32, "workers": 0},
            "model": {"network": "small", "width": 8, "weights": ""},
            "loss": {"pixels": 64},
            "train": {"batch_size": 2, "steps": 2, "warmup_steps": 0},
        },
        base=photos.base_config(),
    )
    places: dict[str, Any] = {"data": tmp_path / "data", "work": tmp_path / "work"}
    done = run_photos(source, tmp_path / "out", base=base, folds=2, **places)
    assert sorted(done) == [f"{m}--fold-{n}" for m in ("dense", "ours") for n in (0, 1)]
    assert run_photos(source, tmp_path / "out", base=base, folds=2, **places) == []
    rows = read_photos(tmp_path / "out")
    truth = np.sum([r["truth_pixels"] for r in rows if r["method"] == "ours"], axis=0)
    whole = open_dataset("coco-panoptic", source, "train")
    labels = np.concatenate([whole[i]["mask"].numpy().ravel() for i in range(len(whole))])
    assert (truth == np.bincount(labels[labels >= 0], minlength=133)).all()
    assert str(tmp_path) not in json.dumps(rows)


def row(method: str, fold: int, right: int) -> dict[str, Any]:
    """Two classes in every photo, one in a single photo; ``right`` of 10 pixels each are found."""
    return {
        "method": method,
        "title": method,
        "fold": fold,
        "folds": 2,
        "photos": 5,
        "steps": 150,
        "batch": 8,
        "crop": 192,
        "backbone": "lite",
        "intersection": [right, right, 0],
        "truth_pixels": [10, 10, 10],
        "predicted_pixels": [right, right, 0],
        "photos_per_class": [5, 5, 1 - fold],
        "machine": MACHINE,
        "device": "cpu",
    }


def test_the_section_compares_classes_that_are_in_enough_photos() -> None:
    rows = [row(m, fold, n) for m, n in (("dense", 2), ("ours", 6)) for fold in (0, 1)]
    text = render_photos(rows)
    assert "10 photos" in text and "2 classes that are in 5 photos or more" in text
    assert "| dense | 0.200 |" in text
    assert "| ours | 0.600 |" in text and "+0.400 (+0.400 to +0.400)" in text
    assert render_photos(rows[:3]) == ""  # a fold is missing: nothing is claimed
