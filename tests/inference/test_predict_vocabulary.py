"""`predict --vocabulary` and `vocabulary export`, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.runs import random_run
from PIL import Image

from workbench.inference.class_sets import classes_of_run
from workbench.inference.vocabulary_edits import Rename, Subset, replay
from workbench.runs import RunDirectory
from workbench.runs.class_file import read_class_file, write_class_file

CLASSES = 300
Cli = Callable[..., Any]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


def predicted(cli: Cli, run: RunDirectory, picture: Path, *more: object) -> np.ndarray:
    out = picture.parent / "masks"
    done = cli("predict", run.path, picture, "--out", out, "--replace", "--json", *more)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["masks"] == [str(out / "picture.png")]
    with Image.open(out / "picture.png") as mask:
        return np.asarray(mask, dtype=np.int64)


def test_the_run_s_own_classes_from_a_file_change_nothing(
    cli: Cli, run: RunDirectory, picture: Path
) -> None:
    file = picture.parent / "all.safetensors"
    done = cli("vocabulary", "export", run.path, file, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["classes"], told["embedding_dim"], told["distance"]) == (CLASSES, 6, "euclidean")
    assert told["bytes"] == file.stat().st_size
    back = read_class_file(file)
    assert (back.source, back.step) == ("mine", 20)
    own = predicted(cli, run, picture)
    assert (predicted(cli, run, picture, "--vocabulary", file) == own).all()
    assert own.max() > 255


def test_only_classes_of_the_file_are_predicted(cli: Cli, run: RunDirectory, picture: Path) -> None:
    own = predicted(cli, run, picture)
    counts = np.bincount(own.ravel(), minlength=CLASSES)
    top = int(counts.argmax())
    kept = sorted({top, *range(250, CLASSES)})
    edited = replay(classes_of_run(run), [Rename(top, "mine"), Subset(tuple(kept))])
    file = write_class_file(picture.parent / "few.safetensors", edited.classes)
    labels = predicted(cli, run, picture, "--vocabulary", file)
    assert labels.max() < len(kept)
    # A pixel of a class that stays goes nowhere; its id is now the place among those that stay.
    stays = np.isin(own, kept)
    assert stays.any()
    assert (np.array(kept)[labels[stays]] == own[stays]).all()


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"dim": 5}, "embedding_dim is 6, the run's is 5; take classes"),
        ({"loss": "dense"}, "model is dense and has no class embeddings"),
    ],
)
def test_classes_of_another_model_are_one_line(
    cli: Cli, run: RunDirectory, picture: Path, tmp_path: Path, other: dict[str, Any], words: str
) -> None:
    file = write_class_file(tmp_path / "classes.safetensors", classes_of_run(run))
    stranger = random_run(tmp_path / "stranger", **other)
    out = tmp_path / "masks"
    done = cli("predict", stranger.path, picture, "--out", out, "--vocabulary", file)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {file}: ") and words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not out.exists()


def test_a_broken_file_is_one_line(cli: Cli, run: RunDirectory, picture: Path) -> None:
    file = picture.parent / "broken.safetensors"
    file.write_bytes(b"not a class file")
    done = cli("predict", run.path, picture, "--out", picture.parent / "m", "--vocabulary", file)
    assert done.returncode == 2
    assert (
        done.stderr.count("\n") == 1 and "broken.safetensors is no sound class file" in done.stderr
    )


def test_a_dense_run_exports_nothing(cli: Cli, tmp_path: Path) -> None:
    stranger = random_run(tmp_path / "stranger", loss="dense")
    done = cli("vocabulary", "export", stranger.path, tmp_path / "out.safetensors")
    assert done.returncode == 2 and "dense" in done.stderr
    assert not (tmp_path / "out.safetensors").exists()
