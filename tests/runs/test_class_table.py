"""Tables of classes and files of embeddings that strangers made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from workbench.errors import DataError
from workbench.runs import class_table
from workbench.runs.class_table import import_classes, read_class_table, write_class_table
from workbench.vocabulary import Vocabulary

CLASSES, DIM = 300, 5


def vocabulary() -> Vocabulary:
    return Vocabulary(
        pd.DataFrame(
            {
                "class_id": np.arange(CLASSES),
                "name": ["NA", "1", 'a, "b"', "<b>ü</b>", *(f"c{n}" for n in range(4, CLASSES))],
                "group": "common",
                "supercategory": "",
                "color": "#336699",
                "train_images": np.arange(CLASSES),
                "train_pixels": np.arange(CLASSES) * 2**33,
                "size": [0.5, np.nan, 2.0] * (CLASSES // 3),
            }
        )
    )


@pytest.mark.parametrize("suffix", class_table.TABLE_SUFFIXES)
def test_a_table_comes_back(tmp_path: Path, suffix: str) -> None:
    wanted = vocabulary()
    path = write_class_table(tmp_path / f"t{suffix}", wanted)
    back = read_class_table(path).table
    assert back["name"].tolist() == wanted.table["name"].tolist()
    assert back["train_pixels"].tolist() == wanted.table["train_pixels"].tolist()
    sizes = pd.to_numeric(back["size"], errors="coerce").to_numpy()
    assert np.array_equal(sizes, wanted.table["size"].to_numpy(), equal_nan=True)


def test_names_are_enough(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"name": "cat", "hue": "grey"}, {"name": "dog"}]))
    made = read_class_table(path)
    assert made.names == ["cat", "dog"] and made.groups == ["all", "all"]
    assert made.table["train_pixels"].tolist() == [0, 0]
    assert made.table["color"].nunique() == 2
    assert made.table["hue"].iloc[0] == "grey"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("t.json", "{", "not JSON"),
        ("t.json", "3", "neither a list of rows nor"),
        ("t.json", "[" * 100_000, "not JSON"),
        ("t.json", '{"name": []}', "'name' is missing or empty"),
        ("t.json", '{"name": ["a", 3]}', "not all are text"),
        ("t.json", '{"name": ["a", "b", "a"]}', "rows 0 and 2 have the same name 'a'"),
        ("t.json", '{"name": ["a"], "class_id": [1]}', r"'class_id' must be 0, 1, 2"),
        ("t.json", '{"name": ["a"], "color": ["red"]}', "not of the form"),
        ("t.json", '{"name": ["a"], "train_pixels": [-1]}', "negative"),
        ("t.csv", "title\na\n", "'name' is missing"),
        ("t.csv", "name\na,b\nc,d\n", "more fields than the header"),
        ("t.csv", "name\n\udcff\n", "codec can't decode"),
        ("t.csv", "", "No columns"),
        ("t.parquet", "no parquet", "too small|magic bytes"),
        ("t.txt", "name\na\n", r"ends in \.parquet, \.json, \.csv"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=words) as caught:
        read_class_table(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"name": [f"{n:05d}" * 20 for n in range(2000)]}).to_parquet(path)
    monkeypatch.setattr(class_table, "MAX_TABLE_BYTES", 10_000)
    with pytest.raises(DataError, match="when unpacked"):
        read_class_table(path)
    monkeypatch.undo()
    monkeypatch.setattr(class_table, "MAX_FILE_CLASSES", 1999)
    with pytest.raises(DataError, match="over 1,999 rows"):
        read_class_table(path)


def written(folder: Path, tensors: dict[str, torch.Tensor]) -> tuple[Path, Path]:
    table, embeddings = folder / "t.csv", folder / "e.safetensors"
    pd.DataFrame({"name": [f"c{n}" for n in range(CLASSES)]}).to_csv(table, index=False)
    save_file(tensors, embeddings)
    return table, embeddings


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rows_of_any_precision_are_taken(tmp_path: Path, dtype: torch.dtype) -> None:
    weight = torch.from_numpy(np.random.default_rng(0).normal(size=(CLASSES, DIM))).to(dtype)
    bias = torch.arange(CLASSES).to(dtype)
    files = written(tmp_path, {"weight": weight, "bias": bias})
    made = import_classes(*files, distance="linear", temperature=1.0)
    assert made.weight.dtype == torch.float32 and torch.equal(made.weight, weight.float())
    assert made.bias is not None and torch.equal(made.bias, bias.float())
    assert (made.source, made.step, made.dim) == ("", None, DIM)


ROWS = torch.ones(CLASSES, DIM)


@pytest.mark.parametrize(
    ("tensors", "options", "words"),
    [
        ({"weight": torch.ones(12, DIM)}, {}, "12 rows of embeddings for 300 classes"),
        ({"weight": ROWS.log()}, {}, "all zeros"),
        ({"weight": ROWS * torch.nan}, {}, "not finite"),
        ({"weight": torch.ones(CLASSES)}, {}, "no row for each of 300"),
        ({"weight": ROWS.int()}, {}, "'weight' is not of floats"),
        ({"weight": ROWS, "bias": torch.ones(3)}, {}, "'bias' has no number for each"),
        ({"text": ROWS}, {}, "'weight'.*but holds text"),
        ({"weight": ROWS}, {"temperature": 0.0}, "above 0"),
        ({"weight": ROWS}, {"temperature": float("nan")}, "above 0"),
    ],
)
def test_embeddings_that_do_not_fit_are_one_line(
    tmp_path: Path, tensors: dict[str, torch.Tensor], options: dict[str, Any], words: str
) -> None:
    files = written(tmp_path, tensors)
    with pytest.raises(DataError, match=words) as caught:
        import_classes(*files, **{"distance": "cosine", "temperature": 20.0, **options})
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_safetensors_is_one_line(tmp_path: Path) -> None:
    table, embeddings = written(tmp_path, {"weight": ROWS})
    embeddings.write_bytes(b"PK\x03\x04 a zip of pickles")
    with pytest.raises(DataError, match="no sound class file"):
        import_classes(table, embeddings, distance="cosine", temperature=1.0)
    whole = written(tmp_path, {"weight": ROWS})[1].read_bytes()
    embeddings.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"e\.safetensors: cannot be read"):
        import_classes(table, embeddings, distance="cosine", temperature=1.0)
