"""`workbench import-predictions` as typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workbench.runs import RunDirectory

Cli = Callable[..., Any]


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    """Three images of 300 classes, 16-bit; the flags that import them."""
    rng = np.random.default_rng(1)
    for name in ("images", "truth", "pred"):
        (tmp_path / name).mkdir()
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
        truth = rng.integers(0, 300, (6, 8)).astype(np.uint16)
        for folder in ("truth", "pred"):
            Image.fromarray(truth).save(tmp_path / folder / f"{name}.png")
    names = "".join(f"thing {number}\n" for number in range(300))
    (tmp_path / "classes.csv").write_text("name\n" + names)
    places = [f"--{name}={tmp_path / name}" for name in ("images", "truth", "pred")]
    return [*places, f"--vocabulary={tmp_path / 'classes.csv'}", f"--run={tmp_path / 'runs' / 'r'}"]


def test_import_says_what_it_found(cli: Cli, flags: list[str], tmp_path: Path) -> None:
    done = cli("import-predictions", *flags, "--save", "2", "--split", "test", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["images"] == 3 and values["kept"] == 2 and values["miou"] == 1.0
    assert "img/s" in done.stderr
    run = RunDirectory.open(tmp_path / "runs" / "r")
    assert len(run.samples("test")) == 2


@pytest.mark.parametrize(
    ("extra", "hint"),
    [
        (["--save", "none"], "--save: a number of images above 0 or 'all'"),
        (["--split", " "], "--split: give a name"),
        (["--images", "nowhere"], "nowhere: the folder is missing"),
    ],
)
def test_errors_are_one_line(cli: Cli, flags: list[str], extra: list[str], hint: str) -> None:
    done = cli("import-predictions", *flags, *extra)
    assert done.returncode == 2
    assert hint in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr


def test_missing_flags_are_named(cli: Cli) -> None:
    done = cli("import-predictions", "--images", "x")
    assert done.returncode == 2
    assert "--truth" in done.stderr
