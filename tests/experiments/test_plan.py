"""Every planned cell is one that can run, under the same protocol as the others."""

from __future__ import annotations

import pytest

from workbench import config
from workbench.errors import ConfigError
from workbench.experiments.plan import (
    DEFAULT,
    EXPERIMENTS,
    METHODS,
    TIGHT,
    Cell,
    get_experiment,
)
from workbench.losses import build_loss
from workbench.presets import get_preset

SHARED = (
    *("data.crop", "data.scale", "data.flip", "model.network", "model.width"),
    *("train.optimizer", "train.lr", "train.weight_decay", "train.precision"),
)


def lookup(run: config.Run, name: str) -> object:
    section, field = name.split(".")
    return getattr(getattr(run, section), field)


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_cells_differ_in_the_method_alone(name: str) -> None:
    experiment = get_experiment(name)
    runs = [experiment.settings(cell) for cell in experiment.cells]
    for setting in SHARED:
        assert len({lookup(run, setting) for run in runs}) == 1, setting
    names = [cell.name for cell in experiment.cells]
    assert len(set(names)) == len(names)
    for cell, run in zip(experiment.cells, runs, strict=True):
        assert run.train.seed == cell.seed
        build_loss(run.loss, run.model.distance)


def test_the_paper_is_compared_as_published() -> None:
    run = get_experiment("budgets").settings(Cell(method="nearest", memory=TIGHT))
    assert (run.model.embedding_dim, run.loss.k, run.model.temperature) == (12, 7, 20.0)
    assert (run.model.distance, run.loss.separation_weight) == ("euclidean", 1.0)
    assert not run.model.learn_temperature


def test_one_factor_at_a_time() -> None:
    """A variant of ours changes one thing; another loss brings its k, a fixed T its value."""
    experiment = get_experiment("factors")
    ours = config.to_dict(experiment.settings(Cell(method="ours", memory=TIGHT)))
    for cell in experiment.cells:
        other = config.to_dict(experiment.settings(cell))
        changed = [
            f"{section}.{field}"
            for section in ("data", "model", "loss", "train")
            for field in ours[section]
            if ours[section][field] != other[section][field]
        ]
        factors = {name.replace("learn_", "") for name in changed} - {"loss.k", "train.seed"}
        assert len(factors) == 1, (cell.name, changed)


def test_claims_have_three_seeds() -> None:
    cells = get_experiment("budgets").cells
    for method in ("ours", "nearest", "dense", "dense-all"):
        seeds = {cell.seed for cell in cells if (cell.method, cell.memory) == (method, TIGHT)}
        assert seeds == {0, 1, 2}


def test_every_method_says_what_it_is() -> None:
    titles = [title for title, _ in METHODS.values()]
    assert len(set(titles)) == len(titles)


def test_an_unknown_experiment_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown experiment 'mystery'.*budgets, images"):
        get_experiment("mystery")


def test_what_is_trained_without_a_preset_is_the_recipe_that_was_compared() -> None:
    recipe = get_experiment("factors").settings(Cell(method=DEFAULT, memory=TIGHT))
    default, demo = get_preset("default"), get_preset("shapeworld-demo")
    for name in ("embedding_dim", "distance", "temperature", "learn_temperature"):
        wanted = getattr(recipe.model, name)
        assert getattr(default.model, name) == getattr(demo.model, name) == wanted, name
    for name in ("name", "separation_weight", "logit_adjustment", "balance"):
        wanted = getattr(recipe.loss, name)
        assert getattr(default.loss, name) == getattr(demo.loss, name) == wanted, name
