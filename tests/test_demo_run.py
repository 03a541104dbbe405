"""The run that ships with the repository: whole, small enough, and what it says it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.runs import RunDirectory

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def demo(repository: Path) -> RunDirectory:
    return RunDirectory.open(repository / "runs" / "demo")


def test_it_is_small_enough_to_ship(demo: RunDirectory) -> None:
    files = [path for path in demo.path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15 * MEGABYTE
    weights = [path for path in files if path.name == "model.safetensors"]
    assert len(weights) == 1
    assert weights[0].stat().st_size <= 4.5 * MEGABYTE
    assert demo.load_checkpoint().optimizer is None


def test_it_shows_all_classes_and_a_hundred_images(demo: RunDirectory) -> None:
    assert demo.status()["state"] == "done"
    assert len(demo.vocabulary()) == 1284
    assert len(demo.read_per_class("val")) == 1284
    assert demo.read_summary("val")["miou_classes"] == 1284
    assert len(demo.samples("val")) >= 100
    last = demo.read_projection().groupby("step").size()
    assert (last == 1284).all()


def test_rare_classes_fail_for_a_reason(demo: RunDirectory) -> None:
    table = demo.read_per_class("val")
    failing = table[(table["group"] == "rare") & (table["iou"] < 0.25)]
    assert len(failing) > 10
    assert (failing["reason"] != "").all()
    groups = demo.read_summary("val")["groups"]
    assert groups["rare"]["miou"] < groups["common"]["miou"]


def test_headline_is_the_mean_of_the_table(demo: RunDirectory) -> None:
    table, summary = demo.read_per_class("val"), demo.read_summary("val")
    scored = table[table["truth_pixels"] > 0]
    iou = scored["intersection"] / scored["union"]
    assert summary["miou"] == pytest.approx(float(iou.mean()))
    assert int(table["truth_pixels"].sum()) == summary["labelled_pixels"]


def test_the_shipped_model_makes_the_shipped_predictions(demo: RunDirectory) -> None:
    import torch

    from workbench.inference import load_model, predict_labels

    model, step = load_model(demo)
    assert step == demo.read_summary("val")["checkpoint_step"]
    agreement = []
    for image_id in demo.samples("val")[:5]:
        picture, _, stored = demo.read_sample("val", image_id)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        labels = predict_labels(model, pixels[None])[0].numpy()
        agreement.append(float((labels == stored).mean()))
    # The stored picture went through JPEG once more than the one that was predicted.
    assert np.mean(agreement) > 0.9


def test_readme_says_what_was_measured(demo: RunDirectory, repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    summary = demo.read_summary("val")
    assert f"{summary['miou']:.3f}" in readme
    for group in ("rare", "common", "frequent", "stuff"):
        assert f"{summary['groups'][group]['miou']:.3f}" in readme
    assert f"{demo.metrics()['seconds'].max() / 60:.0f} minutes" in readme
    below = (demo.read_per_class("val")["iou"] < 0.25).sum()
    assert f"{below} classes stay below an IoU of 0.25" in readme
