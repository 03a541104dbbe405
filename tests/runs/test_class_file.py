"""Class files: what is written comes back; what is wrong is said in one line."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.errors import DataError
from workbench.runs import RunDirectory, class_file
from workbench.runs.class_file import (
    ClassSet,
    class_file_bytes,
    parse_class_file,
    read_class_file,
    write_class_file,
)
from workbench.vocabulary import Vocabulary

CLASSES, DIM = 300, 6


def make(*, linear: bool = False, **columns: Any) -> ClassSet:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "class_id": np.arange(CLASSES),
            "name": [f"<b>näme {index}</b> 雪" for index in range(CLASSES)],
            "group": "common",
            "supercategory": "",
            "color": "#336699",
            "train_images": rng.integers(0, 100, CLASSES),
            "train_pixels": rng.integers(0, 2**40, CLASSES),
            "hue": ["teal", "red", ""] * (CLASSES // 3),
            "size": [0.5, np.nan, 2.0] * (CLASSES // 3),
            **columns,
        }
    )
    return ClassSet(
        weight=torch.from_numpy(rng.normal(size=(CLASSES, DIM))).float(),
        bias=torch.from_numpy(rng.normal(size=CLASSES)).float() if linear else None,
        temperature=0.1 + 1 / 3,
        distance="linear" if linear else "cosine",
        vocabulary=Vocabulary(table),
        source="a run",
        step=5000,
    )


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and tensor bytes of a safetensors file, read as its specification says."""
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def packed(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def changed(data: bytes, **metadata: object) -> bytes:
    """The file with other metadata; None takes a field out."""
    header, body = parts(data)
    header["__metadata__"] |= metadata
    kept = {name: value for name, value in header["__metadata__"].items() if value is not None}
    return packed({**header, "__metadata__": kept}, body)


@pytest.mark.parametrize("linear", [False, True])
def test_what_is_written_comes_back(tmp_path: Path, linear: bool) -> None:
    classes = make(linear=linear)
    path = write_class_file(tmp_path / "new" / "classes", classes)
    assert path == tmp_path / "new" / "classes.safetensors"
    assert [entry.name for entry in path.parent.iterdir()] == ["classes.safetensors"]
    back = read_class_file(path)
    assert torch.equal(back.weight, classes.weight)
    assert (back.bias is None) == (not linear)
    if back.bias is not None and classes.bias is not None:
        assert torch.equal(back.bias, classes.bias)
    assert (back.temperature, back.distance) == (classes.temperature, classes.distance)
    assert (back.source, back.step, back.dim, len(back)) == ("a run", 5000, DIM, CLASSES)
    assert back.vocabulary.names == classes.vocabulary.names
    pd.testing.assert_frame_equal(
        back.vocabulary.table, classes.vocabulary.table, check_dtype=False, check_like=True
    )


def test_the_file_is_small_and_tells_no_path(tmp_path: Path) -> None:
    path = write_class_file(tmp_path / "classes.safetensors", make())
    data = path.read_bytes()
    assert str(tmp_path).encode() not in data
    assert len(data) < 4 * CLASSES * DIM + 100 * CLASSES
    header, body = parts(data)
    assert set(header) == {"__metadata__", "weight"}
    assert len(body) == 4 * CLASSES * DIM


def test_a_killed_writer_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_class_file(tmp_path / "classes.safetensors", make())
    before = path.read_bytes()

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.runs.atomic.os.replace", die)
    with pytest.raises(KeyboardInterrupt):
        write_class_file(path, make(linear=True))
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


Spoil = Callable[[bytes], bytes]


def columns(**other: object) -> Spoil:
    """Spoils the vocabulary: columns replaced, None takes one out."""

    def spoil(data: bytes) -> bytes:
        header, _ = parts(data)
        table = json.loads(header["__metadata__"]["vocabulary"]) | other
        kept = {name: value for name, value in table.items() if value is not None}
        return changed(data, vocabulary=json.dumps(kept))

    return spoil


def weight_of(array: np.ndarray, dtype: str = "F32") -> Spoil:
    def spoil(data: bytes) -> bytes:
        header, _ = parts(data)
        body = array.tobytes()
        entry = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [0, len(body)]}
        return packed({**header, "weight": entry}, body)

    return spoil


ROWS = np.ones((CLASSES, DIM), dtype=np.float32)
NAN, ZERO = ROWS.copy(), ROWS.copy()
NAN[299, 2] = np.nan
ZERO[256] = 0.0
HUGE = struct.pack("<Q", 2**63) + b"{}"
DEEP = b'{"__metadata__":' + b"[" * 200_000


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: b"", "cut short"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + bytes(500), "cut short, or of another format"),
        (lambda data: data[:5000], "cut short"),
        (lambda data: data[:-4], "nvalid|ncomplete"),
        (lambda data: data + b"more", "nvalid|ncomplete"),
        (lambda data: HUGE, "cut short"),
        (lambda data: struct.pack("<Q", len(DEEP)) + DEEP, "header is not JSON"),
        (lambda data: packed([1, 2]), "another kind"),
        (lambda data: packed({"weight": {}}), "another kind"),
        (lambda data: changed(data, format="other"), "another kind"),
        (lambda data: changed(data, version="2"), "'version' is 2, this workbench reads 1"),
        (lambda data: changed(data, version=7), "not all text"),
        (lambda data: changed(data, temperature="inf"), "'temperature' is inf"),
        (lambda data: changed(data, temperature="-3"), "'temperature' is -3.0, not above 0"),
        (lambda data: changed(data, temperature="warm"), "'temperature' is no number"),
        (lambda data: changed(data, distance=None), "'distance' is missing"),
        (lambda data: changed(data, classes="299"), "vocabulary column 'name': 300 values"),
        (lambda data: changed(data, classes="-1"), "'classes' is no whole number"),
        (lambda data: changed(data, classes="999999999"), "'classes' is 999999999"),
        (
            lambda data: changed(data, embedding_dim="7"),
            "'weight' is 300 x 6, but 300 classes of 7",
        ),
        (lambda data: changed(data, vocabulary="{"), "'vocabulary' is missing or not JSON"),
        (lambda data: changed(data, vocabulary="[" * 100_000), "not JSON"),
        (lambda data: changed(data, vocabulary="[]"), "not a table"),
        (columns(name=None), "lacks the column 'name'"),
        (columns(name=["x"] * 299 + [None]), "'name': not all are text"),
        (columns(name=["x"] * 299 + [" "]), "class 299: name ' ' is empty"),
        (columns(name=["\ud800"] * 300), "more than text and numbers"),
        (columns(hue=[["x"]] * 300), "'hue' holds more than text and numbers"),
        (columns(color=["red"] * 300), "color 'red' is not of the form"),
        (columns(train_images=[-1] * 300), "'train_images' has a negative value"),
        (columns(train_images=[10**30] * 300), "no sound class file"),
        (columns(**{f"c{n}": [0] * 300 for n in range(101)}), "at most 100 columns"),
        (weight_of(NAN), "'weight' row 299 holds a number that is not finite"),
        (weight_of(ZERO), "'weight' row 256 is all zeros"),
        (weight_of(ROWS[:299]), "'weight' is 299 x 6"),
        (weight_of(ROWS.ravel()), "'weight' is 1800"),
        (weight_of(ROWS.astype(np.float16), "F16"), "'weight' is not of 32-bit floats"),
        (lambda data: packed({**parts(data)[0], "extra": {}}, parts(data)[1]), "tensor 'weight'"),
    ],
)
def test_a_spoilt_file_is_refused_in_one_line(tmp_path: Path, spoil: Spoil, words: str) -> None:
    path = tmp_path / "spoilt.safetensors"
    path.write_bytes(spoil(class_file_bytes(make())))
    with pytest.raises(DataError, match=words) as caught:
        read_class_file(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 500
    assert message.endswith("export the classes again")


def test_a_wrong_bias_is_refused() -> None:
    data = class_file_bytes(make(linear=True))
    header, body = parts(data)
    start, _ = header["bias"]["data_offsets"]
    header["bias"] |= {"shape": [CLASSES // 2, 2]}
    with pytest.raises(DataError, match="'bias' has no number for each of 300 classes"):
        parse_class_file(packed(header, body), label="upload")
    header["bias"] |= {"shape": [CLASSES]}
    spoilt = bytearray(body)
    spoilt[start : start + 4] = np.float32(np.inf).tobytes()
    with pytest.raises(DataError, match="'bias' row 0 holds a number that is not finite"):
        parse_class_file(packed(header, bytes(spoilt)), label="upload")


def test_too_large_and_absent_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_class_file(tmp_path / "classes.safetensors", make())
    monkeypatch.setattr(class_file, "MAX_FILE_BYTES", 1 << 10)
    with pytest.raises(DataError, match="over 0 MB"):
        read_class_file(path)
    with pytest.raises(DataError, match="over 0 MB"):
        parse_class_file(path.read_bytes(), label="upload")
    with pytest.raises(DataError, match="more than a class file may hold"):
        write_class_file(path, make())
    with pytest.raises(DataError, match="cannot be read"):
        read_class_file(tmp_path / "absent.safetensors")
    monkeypatch.undo()
    with pytest.raises(DataError, match="cannot be read"):
        read_class_file(tmp_path)


def test_no_file_is_written_of_classes_that_could_not_be_read(tmp_path: Path) -> None:
    classes = make()
    classes.weight[7, 0] = torch.nan
    with pytest.raises(DataError, match="row 7"):
        write_class_file(tmp_path / "classes.safetensors", classes)
    assert list(tmp_path.iterdir()) == []


def test_a_run_keeps_nothing_of_it(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", config={}, vocabulary=make().vocabulary)
    before = sorted(entry.name for entry in run.path.iterdir())
    write_class_file(tmp_path / "classes.safetensors", make())
    assert sorted(entry.name for entry in run.path.iterdir()) == before
