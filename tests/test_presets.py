"""Presets: all valid, and the published one as published."""

from __future__ import annotations

import pytest

from workbench import config
from workbench.errors import ConfigError
from workbench.presets import PRESETS, get_preset


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_are_valid_and_know_their_name(name: str) -> None:
    run = get_preset(name)
    assert run.preset == name
    assert config.from_dict(config.to_dict(run)) == run
    assert config.from_overrides(run, {}) == run


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
