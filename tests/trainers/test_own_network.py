"""The lines of docs/models.md about a network of one's own, as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.processes import Home

from workbench.models import NETWORKS, ModelOutput
from workbench.runs import RunDirectory


@pytest.fixture(scope="module")
def blocks(repository: Path) -> list[str]:
    page = (repository / "docs/models.md").read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(found) == 2
    return found


def test_five_lines_wrap_a_module(blocks: list[str]) -> None:
    assert len([line for line in blocks[0].splitlines() if line.strip()]) == 5


def test_a_module_becomes_a_model_without_a_name(blocks: list[str]) -> None:
    names: dict[str, Any] = {}
    try:
        exec(blocks[0] + blocks[1], names)
    finally:
        NETWORKS.pop("tiny", None)
    output = names["model"](torch.randint(0, 256, (2, 3, 65, 47), dtype=torch.uint8))
    assert type(output) is ModelOutput and output.size == (65, 47)
    assert output.pixels.shape == (2, 64, 17, 12)
    assert output.classes.weight.shape == (1284, 64)


def test_the_command_line_trains_and_evaluates_it(
    repository: Path, blocks: list[str], shapeworld: Path, tmp_path: Path, forks: Home
) -> None:
    page = (repository / "docs/models.md").read_text(encoding="utf-8")
    (typed,) = re.findall(r"```sh\nexport (WORKBENCH_PLUGINS)=(\S+)\nworkbench (.*)\n```", page)
    variable, script, command = typed
    (tmp_path / script).write_text(blocks[0], encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/small").symlink_to(shapeworld)
    for words in (
        [*shlex.split(command), "--train.steps", "2"],
        ["evaluate", "runs/tiny"],
    ):
        done = forks.run("-m", "workbench", *words, cwd=tmp_path, env={variable: script})
        assert done.returncode == 0, done.stderr
    assert RunDirectory(tmp_path / "runs/tiny").config()["model"]["network"] == "tiny"


def test_who_does_not_know_it_is_told_what_to_do(
    blocks: list[str], shapeworld: Path, tmp_path: Path, cli: Any
) -> None:
    done = cli(
        *("train", "--run", tmp_path / "run", "--preset", "smoke"),
        *("--data.root", shapeworld, "--model.network", "tiny"),
    )
    assert done.returncode == 2
    assert "unknown network 'tiny'" in done.stderr and "register_network" in done.stderr
