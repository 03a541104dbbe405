"""The generated evaluation: its tables agree with its pictures and with one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.benchmarks.app_data import write_app_run
from workbench.benchmarks.app_scenes import HEIGHT, SCALE, WIDTH
from workbench.inference import load_model
from workbench.runs import RunDirectory

IMAGES = 90  # more than there are scenes: the later ones share photos


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    path = tmp_path_factory.mktemp("app_data") / "run"
    made = write_app_run(path, images=IMAGES)
    assert made["images"] == made["kept"] == IMAGES and made["classes"] == 1284
    return RunDirectory.open(path)


def test_it_is_a_whole_run(run: RunDirectory) -> None:
    assert run.status()["state"] == "done"
    summary = run.read_summary("val")
    assert summary["images"] == IMAGES and 0.1 < summary["miou"] < 0.9
    assert len(run.samples("val")) == IMAGES
    assert len(run.embedding_steps()) > 2
    projection = run.read_projection()
    assert projection.groupby("step").size().eq(1284).all()
    assert projection.notna().all(axis=None)
    model, step = load_model(run)
    assert step == run.embedding_steps()[-1] and model.table is not None


def test_counts_are_those_of_the_pictures(run: RunDirectory) -> None:
    """Every image's rows, counted again from its masks; ids above 255 among them."""
    rows = run.read_per_image_class("val").set_index(["image_id", "class_id"])
    largest = 0
    for image_id in run.samples("val")[::7]:
        image, truth, prediction = run.read_sample("val", image_id)
        assert image.size == (WIDTH, HEIGHT) and truth.shape == (HEIGHT, WIDTH)
        here = rows.loc[image_id]
        assert set(here.index) == set(np.unique(np.concatenate([truth, prediction])).tolist())
        for class_id, row in here.iterrows():
            both = (truth == class_id) & (prediction == class_id)
            assert row["intersection"] == both.sum()
            assert row["truth_pixels"] == (truth == class_id).sum()
            assert row["predicted_pixels"] == (prediction == class_id).sum()
            largest = max(largest, int(class_id))  # type: ignore[call-overload]
    assert largest > 255


def test_tables_agree(run: RunDirectory) -> None:
    classes, rows = run.read_per_class("val"), run.read_per_image_class("val")
    confusions, summary = run.read_confusions("val"), run.read_summary("val")
    for name in ("intersection", "union", "truth_pixels", "predicted_pixels"):
        sums = rows.groupby("class_id")[name].sum().reindex(range(1284), fill_value=0)
        assert (classes[name].to_numpy() == sums.to_numpy()).all(), name
    assert confusions["pixels"].sum() == classes["truth_pixels"].sum() == summary["labelled_pixels"]
    assert summary["labelled_pixels"] == IMAGES * WIDTH * HEIGHT
    right = confusions[confusions["truth"] == confusions["predicted"]].set_index("truth")["pixels"]
    assert (right == classes.loc[right.index, "intersection"]).all()
    assert (confusions["pixels"] % SCALE**2 == 0).all()
    assert not confusions.duplicated(["truth", "predicted"]).any()


def test_counts_of_training_follow_the_groups(run: RunDirectory) -> None:
    classes = run.vocabulary().table
    images = classes.groupby("group")["train_images"]
    assert images.max()["rare"] <= 10 < images.min()["common"]
    assert images.max()["common"] <= 100 < images.min()["frequent"]


def test_a_seed_gives_the_same_run(run: RunDirectory, tmp_path: Path) -> None:
    write_app_run(tmp_path / "again", images=IMAGES, kept=3)
    again = RunDirectory.open(tmp_path / "again")
    assert again.read_per_image_class("val").equals(run.read_per_image_class("val"))
    assert again.samples("val") == run.samples("val")[:3]
    write_app_run(tmp_path / "other", images=IMAGES, kept=0, seed=1)
    other = RunDirectory.open(tmp_path / "other")
    assert other.samples("val") == []
    assert not other.read_per_image_class("val").equals(run.read_per_image_class("val"))
