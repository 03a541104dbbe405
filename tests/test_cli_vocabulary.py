"""`workbench vocabulary`: class files taken out, edited, built from masks, as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.runs import random_run
from PIL import Image
from safetensors.torch import save_file

from workbench.inference.class_sets import classes_of_run
from workbench.inference.vocabulary_rows import ADDED
from workbench.runs import RunDirectory
from workbench.runs.class_file import ClassSet, read_class_file, write_class_file
from workbench.sharing import SharedModel

CLASSES, DIM = 300, 6
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return random_run(tmp_path_factory.mktemp("runs") / "mine", dim=DIM, classes=CLASSES)


@pytest.fixture
def file(run: RunDirectory, tmp_path: Path) -> Path:
    return write_class_file(tmp_path / "classes.safetensors", classes_of_run(run))


def done(cli: Cli, *words: object) -> dict[str, Any]:
    result = cli("vocabulary", *words, "--json")
    assert result.returncode == 0, result.stderr
    said: dict[str, Any] = json.loads(result.stdout)
    return said


def refused(cli: Cli, *words: object) -> str:
    """The one line of an error."""
    result = cli("vocabulary", *words)
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("error: ")
    return str(result.stderr)


def halves(folder: Path, name: str = "picture", *, value: int = 1) -> tuple[Path, Path]:
    """A picture, red on the left and blue on the right, and a mask of its left half."""
    pixels = np.zeros((48, 64, 3), dtype=np.uint8)
    pixels[:, :32], pixels[:, 32:] = (200, 30, 20), (20, 30, 200)
    mask = np.zeros((48, 64), dtype=np.uint16 if value > 255 else np.uint8)
    mask[:, :32] = value
    picture, marks = folder / f"{name}.png", folder / f"{name}-mask.png"
    Image.fromarray(pixels).save(picture)
    Image.fromarray(mask).save(marks)
    return picture, marks


def labels_of(cli: Cli, run: RunDirectory, picture: Path, file: Path) -> np.ndarray:
    out = picture.parent / f"masks-{file.stem}"
    result = cli("predict", run.path, picture, "--out", out, "--vocabulary", file)
    assert result.returncode == 0, result.stderr
    with Image.open(out / f"{picture.stem}.png") as mask:
        return np.asarray(mask, dtype=np.int64)


def same(one: ClassSet, other: ClassSet) -> None:
    assert torch.equal(one.weight, other.weight)
    assert (one.temperature, one.distance) == (other.temperature, other.distance)
    assert (one.source, one.step) == (other.source, other.step)
    pd.testing.assert_frame_equal(one.vocabulary.table, other.vocabulary.table)


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".csv"])
def test_a_table_and_embeddings_come_back_as_the_same_classes(
    cli: Cli, run: RunDirectory, tmp_path: Path, suffix: str
) -> None:
    file, table, back = tmp_path / "c.safetensors", tmp_path / f"t{suffix}", tmp_path / "b"
    said = done(cli, "export", run.path, file, "--table", table)
    assert said["table"] == str(table) and said["classes"] == CLASSES
    assert done(cli, "import", table, file, back)["file"] == f"{back}.safetensors"
    same(read_class_file(tmp_path / "b.safetensors"), classes_of_run(run))


def test_other_tools_read_the_table(cli: Cli, run: RunDirectory, tmp_path: Path) -> None:
    tables = {}
    for suffix in (".parquet", ".json", ".csv"):
        path = tmp_path / f"t{suffix}"
        done(cli, "export", run.path, tmp_path / "c.safetensors", "--table", path)
        tables[suffix] = path
    wanted = run.vocabulary().table
    pd.testing.assert_frame_equal(pd.read_parquet(tables[".parquet"]), wanted)
    pd.testing.assert_frame_equal(pd.read_csv(tables[".csv"], keep_default_na=False), wanted)
    assert json.loads(tables[".json"].read_text())["name"][299] == "class 299"


def test_embeddings_of_another_tool_segment(cli: Cli, run: RunDirectory, tmp_path: Path) -> None:
    """Rows in the opposite order and another precision: every pixel's class is the mirrored id."""
    picture, _ = halves(tmp_path)
    own = classes_of_run(run)
    table, embeddings, out = (tmp_path / n for n in ("t.csv", "e.safetensors", "out.safetensors"))
    pd.DataFrame({"name": own.vocabulary.names[::-1]}).to_csv(table, index=False)
    save_file({"weight": own.weight.flip(0).double().contiguous()}, embeddings)
    words = (table, embeddings, out)
    assert "nothing says which distance" in refused(cli, "import", *words)
    assert "which temperature" in refused(cli, "import", *words, "--distance", "euclidean")
    assert not out.exists()
    said = done(cli, "import", *words, "--distance", "euclidean", "--temperature", "20")
    assert (said["classes"], said["embedding_dim"]) == (CLASSES, DIM)
    made = read_class_file(out)
    assert made.vocabulary.names[0] == "class 299" and len(set(made.vocabulary.table["color"])) > 99
    file = write_class_file(tmp_path / "own.safetensors", own)
    ours, theirs = labels_of(cli, run, picture, file), labels_of(cli, run, picture, out)
    assert (theirs == CLASSES - 1 - ours).all()


def test_classes_are_kept_merged_and_renamed_by_name_or_id(
    cli: Cli, file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    assert (
        done(cli, "rename", file, out, "--class", "class 299", "--name", "a, b")["class_id"] == 299
    )
    assert read_class_file(out).vocabulary.names[299] == "a, b"
    # The same file may be read and replaced; a name with a comma is one name.
    said = done(cli, "merge", out, out, "--classes", "class 3,270, 299", "--name", "one")
    assert (said["classes"], said["class_id"]) == (298, 3)
    assert {"a, b", "class 270", "class 3"}.isdisjoint(read_class_file(out).vocabulary.names)
    wanted = tmp_path / "list.txt"
    wanted.write_text("class 280\n\n  one\n256\n", encoding="utf-8")
    assert done(cli, "subset", out, out, "--classes-file", wanted)["classes"] == 3
    # Id 256 of the file that is read: all ids after 3 stood, 270 is gone.
    assert read_class_file(out).vocabulary.names == ["one", "class 256", "class 280"]
    done(cli, "rename", file, out, "--class", "0", "--name", "a, b")
    assert done(cli, "subset", out, out, "--classes", "a, b")["classes"] == 1


@pytest.mark.parametrize("value", [7, 299])
def test_classes_from_masks_are_predicted_where_they_were_marked(
    cli: Cli, run: RunDirectory, file: Path, tmp_path: Path, value: int
) -> None:
    picture, mask = halves(tmp_path, value=value)
    out, other = tmp_path / "more.safetensors", tmp_path / "other.png"
    Image.fromarray((np.asarray(Image.open(mask)) == 0).astype(np.uint8) * 255).save(other)
    words: tuple[object, ...] = ("--name", "blue thing", "--from-mask", picture, other)
    assert done(cli, "add", run.path, file, out, *words)["class_id"] == 300
    words = ("--name", "red thing", "--from-mask", picture, mask, "--mask-value", value)
    said = done(cli, "add", run.path, out, out, *words)
    assert (said["class_id"], said["classes"], said["pictures"]) == (301, 302, 1)
    assert said["pixels"] == 48 * 32
    row = read_class_file(out).vocabulary.table.iloc[301]
    assert (row["name"], row["group"]) == ("red thing", ADDED)
    labels = labels_of(cli, run, picture, out)
    inside = slice(12, 36)  # away from the edges, where a network with random weights sees them
    assert (labels[inside, 8:24] == 301).all()
    assert (labels[inside, 40:56] == 300).all()


def test_several_pictures_make_one_row(
    cli: Cli, run: RunDirectory, file: Path, tmp_path: Path
) -> None:
    one, two = halves(tmp_path, "one"), halves(tmp_path, "two")
    marks = np.asarray(Image.open(two[1])).copy()
    Image.fromarray(1 - marks).save(two[1])  # the blue half of the second
    rows = []
    for name, pairs in (("a", one), ("b", two), ("both", (*one, *two))):
        out = tmp_path / f"{name}.safetensors"
        done(cli, "add", run.path, file, out, "--name", name, "--from-mask", *pairs)
        rows.append(read_class_file(out).weight[-1].numpy())
    between = rows[0] + rows[1]
    assert np.allclose(rows[2], between / np.linalg.norm(between), atol=0.02)
    assert np.linalg.norm(rows[0] - rows[1]) > 0.1


def test_a_turned_photo_is_taken_as_it_is_seen(
    cli: Cli, run: RunDirectory, file: Path, tmp_path: Path
) -> None:
    picture, mask = halves(tmp_path)
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side; to be shown turned by a quarter clockwise
    with Image.open(picture) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    rows = []
    for name in (picture, turned):
        out = tmp_path / f"{name.stem}.safetensors"
        done(cli, "add", run.path, file, out, "--name", "x", "--from-mask", name, mask)
        rows.append(read_class_file(out).weight[-1])
    assert torch.equal(rows[0], rows[1])


def test_a_class_like_another_comes_with_a_warning(
    cli: Cli, run: RunDirectory, file: Path, tmp_path: Path
) -> None:
    pair, out = halves(tmp_path), tmp_path / "out.safetensors"
    done(cli, "add", run.path, file, out, "--name", "first", "--from-mask", *pair)
    said = done(cli, "add", run.path, out, out, "--name", "twin", "--from-mask", *pair)
    assert said["warning"].startswith("'twin' lies 0.")
    assert "from 'first' (class 300): pixels of one may be taken for the other" in said["warning"]


def test_mistakes_in_names_are_one_line(cli: Cli, file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    subset, rename = ("subset", file, out, "--classes"), ("rename", file, out, "--class")
    assert "no class is called 'clas 12'; did you mean 'class 12'?" in refused(
        cli, *subset, "class 1,clas 12"
    )
    assert "no class is called '300'" in refused(cli, *subset, "300")
    assert "is the name of class 7" in refused(cli, *rename, "3", "--name", "class 7")
    assert "at least two" in refused(cli, "merge", file, out, "--classes", "3", "--name", "x")
    assert "at least one class" in refused(cli, *subset, " , ")
    assert "cannot be read" in refused(cli, "subset", file, out, "--classes-file", tmp_path / "no")
    assert "ends in .safetensors" in refused(
        cli, "subset", file, tmp_path / "out.png", "--classes", "1"
    )
    assert not out.exists()


def test_mistakes_in_masks_are_one_line(
    cli: Cli, run: RunDirectory, file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.safetensors"
    picture, mask = halves(tmp_path, value=7)
    small, empty, broken = (tmp_path / f"{n}.png" for n in ("small", "empty", "broken"))
    Image.fromarray(np.ones((24, 32), dtype=np.uint8)).save(small)
    Image.fromarray(np.zeros((48, 64), dtype=np.uint8)).save(empty)
    broken.write_bytes(mask.read_bytes()[:60])

    def said(*pairs: object) -> str:
        return refused(cli, "add", run.path, file, out, "--name", "x", "--from-mask", *pairs)

    assert f"{small}: the mask is 32 x 24, but {picture} is 64 x 48 pixels" in said(picture, small)
    assert f"{empty}: no pixel is marked (all of it is 0)" in said(picture, empty)
    assert "none is 3; it holds 0, 7" in said(picture, mask, "--mask-value", "3")
    assert f"{broken}: cannot be decoded" in said(broken, mask)
    lossy = tmp_path / "lossy.jpg"
    Image.open(mask).convert("L").save(lossy)
    assert f"{lossy}: .jpg changes pixels" in said(picture, lossy)
    # Before a picture is looked at: this one is not there.
    taken = refused(
        cli,
        *("add", run.path, file, out, "--name", "class 7", "--from-mask", tmp_path / "no", mask),
    )
    assert "'class 7' is the name of class 7" in taken
    assert f"{broken}: cannot be decoded" in said(picture, broken)
    assert "no.png: the file is missing" in said(picture, tmp_path / "no.png")
    assert "store ids, not colours" in said(picture, picture)
    assert f"each picture needs its mask; {small} has none" in said(picture, mask, small)
    assert not out.exists()


def test_a_shared_model_gives_its_classes_too(cli: Cli, run: RunDirectory, tmp_path: Path) -> None:
    SharedModel.from_run(run).save_pretrained(tmp_path / "deep" / "shared")
    done = cli("vocabulary", "export", tmp_path / "deep" / "shared", tmp_path / "a.safetensors")
    assert done.returncode == 0, done.stderr
    found, own = read_class_file(tmp_path / "a.safetensors"), classes_of_run(run)
    assert torch.equal(found.weight, own.weight)
    assert found.vocabulary.names == own.vocabulary.names
    assert found.source == "shared"  # and not where it lies


def test_classes_and_models_that_do_not_go_together_are_one_line(
    cli: Cli, run: RunDirectory, file: Path, tmp_path: Path
) -> None:
    out, pair = tmp_path / "out.safetensors", halves(tmp_path)
    for options, words in (
        ({"dim": 5}, "embedding_dim is 6, the run's is 5"),
        ({"loss": "dense"}, "model is dense and has no class embeddings"),
    ):
        other = random_run(tmp_path / words[:9], classes=12, **options)
        line = refused(cli, "add", other.path, file, out, "--name", "x", "--from-mask", *pair)
        assert words in line
    assert not out.exists()
