"""Modules that the environment names: loaded before a command, refused in a line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.datasets import DATASETS, get_dataset, register_dataset
from workbench.datasets.base import SegmentationDataset
from workbench.errors import ConfigError
from workbench.losses import LOSSES, SegmentationLoss, get_loss, register_loss
from workbench.plugins import VARIABLE, load_plugins


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a plug-in of a test leaves behind."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules, datasets, losses = set(sys.modules), dict(DATASETS), dict(LOSSES)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("plugin_"):
            del sys.modules[name]
    for registry, before in ((DATASETS, datasets), (LOSSES, losses)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


def test_files_and_modules_are_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Any
) -> None:
    for name in ("plugin_one", "plugin_two"):
        counter = tmp_path / f"{name}.txt"
        (tmp_path / f"{name}.py").write_text(
            f"from pathlib import Path\np = Path({str(counter)!r})\n"
            "p.write_text(p.read_text() + 'x' if p.exists() else 'x')\n"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(VARIABLE, " plugin_one.py, plugin_two ,")
    load_plugins()
    assert cli("models", "--json").returncode == 0
    assert (tmp_path / "plugin_one.txt").read_text() == "x"
    assert (tmp_path / "plugin_two.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("file", "text", "value", "said"),
    [
        (None, "", "plugin_gone.py", "there is no file plugin_gone.py"),
        (None, "", "plugin_gone", "plugin_gone cannot be imported: No module named 'plugin_gone'"),
        ("plugin_bad.py", "1 / 0", "plugin_bad.py", "cannot be imported: division by zero"),
        ("plugin_bad.py", "def", "plugin_bad.py", "cannot be imported: invalid syntax"),
        ("json.py", "", "json.py", "json.py has the name of another module, json; rename"),
    ],
)
def test_what_cannot_be_loaded_is_a_line(
    file: str | None,
    text: str,
    value: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Any,
) -> None:
    if file is not None:
        (tmp_path / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(VARIABLE, value)
    done = cli("models")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {VARIABLE}: ") and said in done.stderr
    assert done.stderr.count("\n") == 1


def own_dataset(key: str) -> type[SegmentationDataset]:
    return type("Own", (SegmentationDataset,), {"key": key, "__module__": __name__})


class OwnLoss(SegmentationLoss):
    pass


REGISTER: dict[str, Callable[[str], None]] = {
    "dataset": lambda name: register_dataset(own_dataset(name)),
    "loss": lambda name: register_loss(name, OwnLoss),
}


@pytest.mark.parametrize(
    ("what", "name"),
    [("dataset", "voc"), ("dataset", "a b"), ("loss", "nearest"), ("loss", ""), ("loss", "x\ny")],
)
def test_names_that_are_taken_or_none(what: str, name: str) -> None:
    before = (dict(DATASETS), dict(LOSSES))
    with pytest.raises(ConfigError, match=f"cannot be the name of a {what} of your own") as error:
        REGISTER[what](name)
    assert before == (DATASETS, LOSSES) and "\n" not in str(error.value)


def test_a_registered_name_is_found_and_may_be_replaced() -> None:
    REGISTER["loss"]("mine-2.0")
    REGISTER["loss"]("mine-2.0")
    assert get_loss("mine-2.0") is OwnLoss
    REGISTER["dataset"]("mine")
    assert DATASETS["mine"] == f"{__name__}:Own"


def test_an_unknown_name_says_how_to_add_one() -> None:
    with pytest.raises(ConfigError, match=r"'mine'.*streaming.*register_loss"):
        get_loss("mine")
    with pytest.raises(ConfigError, match=r"'mine'.*ade20k.*register_dataset"):
        get_dataset("mine")
