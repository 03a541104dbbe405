"""Presets: all valid, and the published one as published."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from workbench import config
from workbench.errors import ConfigError
from workbench.presets import PRESETS, differences, get_preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_valid_and_know_their_name(name: str) -> None:
    run = get_preset(name)
    assert run.preset == name
    assert config.from_dict(config.to_dict(run)) == run
    assert config.from_overrides(run, {}) == run


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_file_holds_every_preset(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.to_dict(get_preset(name)), sort_keys=False))
    assert config.load_yaml(path) == get_preset(name)


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean paper/ade20k\?"):
        get_preset("paper/ade20")


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError) as error:
        get_preset("huge")
    line = str(error.value)
    assert "'huge'" in line and "shapeworld-demo, smoke" in line and "\n" not in line


def test_the_published_ade20k_settings() -> None:
    run = get_preset("paper/ade20k")
    assert (run.model.backbone, run.model.output_stride) == ("mobilenetv2_100", 16)
    assert (run.model.embedding_dim, run.loss.k, run.model.temperature) == (12, 7, 20.0)
    train = run.train
    assert (train.optimizer, train.momentum, train.lr) == ("sgd", 0.9, 0.01)
    assert (train.backbone_lr_factor, train.weight_decay) == (0.1, 1e-4)
    assert (train.power, train.table_power) == (0.9, 0.95)
    assert (run.data.crop, run.train.batch_size, run.data.scale) == (512, 10, (0.5, 2.0))
    assert run.data.flip and run.loss.separation_margin == 0.2


def test_the_known_cityscapes_settings() -> None:
    run = get_preset("paper/cityscapes")
    assert (run.model.embedding_dim, run.loss.k) == (6, 6)
    assert (run.data.color_jitter, run.data.scale, run.data.flip) == (0.5, (1.0, 1.0), True)
    assert (run.train.batch_size, run.train.steps) == (16, 200_000)


def test_the_known_coco_settings() -> None:
    stuff, ade20k = get_preset("paper/coco-stuff10k"), get_preset("paper/ade20k")
    assert stuff.model.mean == (0.4393, 0.4131, 0.3748)
    assert stuff.model.std == (0.2427, 0.2365, 0.2343)
    assert (stuff.data.crop, stuff.data.scale) == (512, (0.5, 2.0))
    assert (stuff.loss, stuff.train) == (ade20k.loss, ade20k.train)
    lvis = get_preset("paper/lvis-coco")
    assert (lvis.model.embedding_dim, lvis.loss.k) == (6, 6)
    assert (lvis.train.batch_size, lvis.train.steps, lvis.train.lr_floor) == (16, 200_000, 1e-6)


def test_differences_are_the_settings_that_differ_in_their_order() -> None:
    paper = get_preset("paper/ade20k")
    assert differences(one=paper, two=paper) == {}
    other = config.from_overrides(paper, {"train.steps": "300", "data.scale": "[1, 1]"})
    assert differences(paper=paper, here=other) == {
        "data.scale": {"paper": [0.5, 2.0], "here": [1.0, 1.0]},
        "train.steps": {"paper": 100_000, "here": 300},
    }


def test_the_paper_trains_on_five_sets_over_three_backbones() -> None:
    paper = [name for name in PRESETS if name.startswith("paper/")]
    assert len(paper) == 15
    for name in paper:
        run = get_preset(name)
        assert (run.loss.name, run.model.distance, run.model.temperature) == (
            *("nearest", "euclidean", 20.0),
        )
        assert run.model.pretrained
    large = get_preset("paper/lvis-coco-resnet101")
    small = get_preset("paper/lvis-coco")
    assert large.model.backbone == "resnet101"
    assert set(differences(small=small, large=large)) == {"model.backbone"}
