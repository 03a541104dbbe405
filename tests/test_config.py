"""Configuration: round trips, presets, and one clear line for whatever is wrong."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import config
from workbench.config.names import nearest_setting
from workbench.errors import ConfigError
from workbench.presets import get_preset

SECTIONS = {"data": config.Data, "model": config.Model, "loss": config.Loss, "train": config.Train}

positive = st.floats(1e-6, 1e6, allow_nan=False)
text = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12)
runs = st.builds(
    config.Run,
    preset=text,
    data=st.builds(
        config.Data,
        dataset=text,
        root=text,
        crop=st.integers(16, 2048),
        scale=st.tuples(positive, positive).map(lambda pair: (min(pair), max(pair))),
        flip=st.booleans(),
        color_jitter=st.floats(0, 1),
        workers=st.integers(0, 64),
    ),
    model=st.builds(
        config.Model,
        backbone=text,
        pretrained=st.booleans(),
        output_stride=st.sampled_from([8, 16, 32]),
        embedding_dim=st.integers(1, 512),
        temperature=positive,
        mean=st.tuples(positive, positive, positive),
        std=st.tuples(positive, positive, positive),
    ),
    loss=st.builds(
        config.Loss,
        name=text,
        k=st.integers(1, 2000),
        search=st.sampled_from(["exact", "index"]),
        balance=st.sampled_from(["none", "inverse_sqrt"]),
        budget_mb=positive,
    ),
    train=st.builds(
        config.Train,
        steps=st.integers(1, 10**7),
        optimizer=st.sampled_from(["sgd", "adamw"]),
        lr=positive,
        precision=st.sampled_from(["fp32", "bf16", "fp16"]),
        seed=st.integers(0, 2**31),
    ),
)


def message(error: pytest.ExceptionInfo[ConfigError]) -> str:
    line = str(error.value)
    assert "\n" not in line and "typing." not in line and "<class" not in line
    return line


@settings(max_examples=20, deadline=None)
@given(run=runs)
def test_yaml_holds_every_configuration(run: config.Run) -> None:
    written = yaml.safe_dump(config.to_dict(run), allow_unicode=True, sort_keys=False)
    assert config.from_dict(yaml.safe_load(written)) == run


def test_a_file_holds_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config.to_dict(get_preset("smoke"))))
    assert config.load_yaml(path) == get_preset("smoke")


def test_a_file_may_hold_a_part(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("train: {steps: 7}\n")
    assert config.load_yaml(path) == config.Run(train=config.Train(steps=7))
    default = get_preset("default")
    part = config.load_yaml(path, base=default)
    assert part.train.steps == 7 and part.model == default.model and part.loss == default.loss


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "No such file"),
        (b"\xff\xfe\x00", "cannot read the configuration"),
        (b"train: [", "cannot read the configuration"),
        (b"- 1", "expected sections"),
        (b"", "expected sections"),
        (b"train: {stepps: 1}", "did you mean train.steps?"),
        (b"train:", "train: a value is missing"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes | None, what: str) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        config.load_yaml(path)
    assert message(error).startswith(f"{path}: ") and what in message(error)


def changed(**overrides: str) -> config.Run:
    dotted = {name.replace("__", "."): value for name, value in overrides.items()}
    return config.from_overrides(get_preset("smoke"), dotted)


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    run = changed(train__steps="500", train__lr="1e-3", data__scale="[0.5, 2]", data__flip="false")
    base = get_preset("smoke")
    assert run == dataclasses.replace(
        base,
        train=dataclasses.replace(base.train, steps=500, lr=1e-3),
        data=dataclasses.replace(base.data, scale=(0.5, 2.0), flip=False),
    )


@pytest.mark.parametrize("value", ["2024", "a: b", "[x]", "null", "true", "1e5", "../ü", "~"])
def test_text_fields_are_taken_as_they_are(value: str) -> None:
    assert changed(data__root=value).data.root == value


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("train.step", "3", "train.step: unknown setting; did you mean train.steps?"),
        ("loss.ballance", "none", "did you mean loss.balance?"),
        ("model.zzz", "3", "model.zzz: unknown setting; known: network, backbone"),
        ("trian.steps", "3", "trian.steps: unknown setting; did you mean train.steps?"),
        ("zzz.steps", "3", "zzz.steps: unknown setting; did you mean train.steps?"),
        ("loss.crop", "3", "loss.crop: unknown setting; did you mean data.crop?"),
        ("train.batch-size", "3", "did you mean train.batch_size?"),
        ("Train.Steps", "3", "did you mean train.steps?"),
        ("zzz.zzz", "3", "zzz.zzz: unknown setting; known: data, model, loss, train"),
        ("preset.x", "3", "preset.x: unknown setting"),
        ("train.steps.x", "3", "train.steps.x: unknown setting"),
        ("train.steps", "x", "train.steps: expected a int, got x"),
        ("train.steps", "5.5", "train.steps: expected a int, got 5.5"),
        ("train.steps", "true", "train.steps: expected a int, got True"),
        ("train.steps", "0", "train.steps: at least 1, got 0"),
        ("train.steps", "", "train.steps: a value is missing"),
        ("train.steps", "null", "train.steps: a value is missing"),
        ("train.steps", "[1", "train.steps: cannot read the value '[1'"),
        ("train.lr", "0", "train.lr: above 0, got 0.0"),
        ("train.lr", ".inf", "train.lr: above 0, got inf"),
        ("train.lr", ".nan", "train.lr: above 0, got nan"),
        ("train.momentum", "1.5", "train.momentum: from 0 to below 1, got 1.5"),
        ("train.seed", "-1", "train.seed: at least 0, got -1"),
        ("train.weight_decay", "-1", "train.weight_decay: at least 0"),
        ("train.accumulate", "0", "train.accumulate: at least 1, got 0"),
        ("train.accumulate", "5", "train.accumulate: at most batch_size (4)"),
        ("train.clip_norm", "-1", "train.clip_norm: at least 0"),
        ("train.ema_decay", "1", "train.ema_decay: from 0 to below 1, got 1.0"),
        ("train.batch_norm", "off", "train.batch_norm: expected one of 'batch', 'frozen'"),
        ("train.patience", "2", "train.patience: counts evaluations, and there are none"),
        ("train.optimizer", "lion", "train.optimizer: expected one of 'sgd', 'adamw', got lion"),
        ("data.flip", "maybe", "data.flip: expected a bool, got maybe"),
        ("data.crop", "8", "data.crop: at least 16 pixels, got 8"),
        ("data.scale", "[2, 1]", "data.scale: two positive numbers, smallest first"),
        ("data.scale", "1", "data.scale: expected a tuple"),
        ("data.scale", "[1, .inf]", "data.scale: two positive numbers, smallest first"),
        ("data.color_jitter", "1.5", "data.color_jitter: a share from 0 to 1, got 1.5"),
        ("data.root", "", "data.root: the folder of the dataset, got ''"),
        ("model.output_stride", "12", "model.output_stride: expected one of 8, 16, 32, got 12"),
        ("model.mean", "[1, 2]", "model.mean: expected a tuple with 3 elements"),
        ("model.std", "[0, 1, 1]", "model.std: three numbers above 0"),
        ("model.std", "[1, .nan, 1]", "model.std: three numbers above 0"),
        ("model.mean", "[0, .nan, 0]", "model.mean: three finite numbers"),
        ("train.seed", "9223372036854775808", "train.seed: below 2**63"),
        ("model.temperature", "0", "model.temperature: above 0"),
        ("model.distance", "linear", "model.temperature: the linear distance has temperature 1"),
        ("loss.k", "0", "loss.k: at least 1"),
        ("loss.search", "fast", "loss.search: expected one of 'exact', 'index', got fast"),
        ("loss.index_refresh", "0", "loss.index_refresh: at least 1"),
        ("loss.pixels", "-1", "loss.pixels: at least 0"),
        ("loss.budget_mb", "0", "loss.budget_mb: above 0"),
        ("loss.separation_margin", "-1", "loss.separation_margin: at least 0"),
    ],
)
def test_wrong_settings_get_one_line(name: str, value: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.from_overrides(get_preset("smoke"), {name: value})
    assert what in message(error)


@pytest.mark.parametrize("name", ["nearest", "published"])
def test_a_loss_over_few_classes_refuses_to_be_smoothed(name: str) -> None:
    with pytest.raises(ConfigError, match="label_smoothing: the nearest classes alone cannot be"):
        config.Loss(name=name, label_smoothing=0.1)
    assert config.Loss(name="streaming", label_smoothing=0.1).label_smoothing == 0.1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("train: {lr: 1, stepps: 1}", "train.stepps: unknown setting; did you mean train.steps?"),
        ("trian: {steps: 1}", "trian: unknown setting; did you mean train?"),
        ("steps: 1", "steps: unknown setting; did you mean train.steps?"),
        ("batch-size: 1", "batch-size: unknown setting; did you mean train.batch_size?"),
        ("data: {lr: 1}", "data.lr: unknown setting; did you mean train.lr?"),
        ("train.steps: 1", "train.steps: unknown setting; in a file write train: {steps: ...}"),
        ("zzz: {}", "zzz: unknown setting; known: preset, data, model, loss, train"),
        ("model: {zzz: 1}", "model.zzz: unknown setting; known: network, backbone"),
    ],
)
def test_a_file_with_a_mistyped_key_hears_the_nearest(
    tmp_path: Path, content: str, what: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError) as error:
        config.load_yaml(path)
    assert what in message(error)


def test_every_setting_is_found_by_its_own_misspelling() -> None:
    """A letter left out of any field's name still leads to it, or to another real setting."""
    names = config.setting_names()
    for name in names:
        for wrong in (name.replace(".", "_"), f"{name}x", name[:-1]):
            assert nearest_setting(wrong, names) in names
        assert nearest_setting(f"{name}x", names) == name
        assert nearest_setting(name.replace(".", "-"), names) == name


def test_a_field_twice_in_different_depth_is_an_error_not_a_crash() -> None:
    with pytest.raises(ConfigError):
        config.from_overrides(config.Run(), {"train.steps": "5", "train.steps.x": "3"})


@pytest.mark.parametrize("values", [{"train": 3}, {"train": [1]}, {"steps": 3}, {1: 2}])
def test_a_wrong_structure_gets_one_line(values: dict[Any, Any]) -> None:
    with pytest.raises(ConfigError) as error:
        config.from_dict(values)
    message(error)


def test_the_help_names_every_field() -> None:
    described = config.describe_settings()
    for section, kind in SECTIONS.items():
        for field in dataclasses.fields(kind):
            assert f"--{section}.{field.name} " in described
            assert f"    {field.name}: " in (inspect.getdoc(kind) or "")
    assert "--model.embedding_dim 64\n" in config.describe_settings(get_preset("default"))
