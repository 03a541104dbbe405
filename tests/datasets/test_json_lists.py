from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
from typing import Any

import pytest

from workbench.datasets import json_lists
from workbench.datasets.json_lists import JsonLists

TEXT = json.dumps(
    {
        "info": {"year": 2017, "lists": [[1], []], "": None},
        "images": [{"id": 7, "name": 'Straße 🚲 "7"\\'}, {}, [], "", -12.5e-3, 1234567, True],
        "empty": [],
        "größe": 48000,
        "annotations": [{"segmentation": [[1.25, 2, 3.5], {"a": [9]}]}],
    },
    ensure_ascii=False,
)


def read(data: bytes) -> dict[str, list[Any]]:
    return {name: list(items) for name, items in JsonLists(io.BytesIO(data))}


@pytest.fixture(params=[1, 2, 7, 64, 1 << 22])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(json_lists, "_BLOCK", request.param)
    return int(request.param)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("indent", [None, 3])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_lists_are_those_of_the_json_module(indent: int | None, ascii_only: bool) -> None:
    content = json.loads(TEXT)
    text = json.dumps(content, indent=indent, ensure_ascii=ascii_only) + "\n \n"
    expected = {name: value for name, value in content.items() if isinstance(value, list)}
    for data in (text.encode(), text.encode("utf-8-sig")):
        lists = JsonLists(io.BytesIO(data))
        assert lists.is_object()
        assert {name: list(items) for name, items in lists} == expected
        assert lists.sha256() == hashlib.sha256(data).hexdigest()


@pytest.mark.usefixtures("block")
def test_items_that_are_not_taken_are_skipped() -> None:
    lists = JsonLists(io.BytesIO(TEXT.encode()))
    assert [(name, next(items, "none")) for name, items in lists] == [
        ("images", {"id": 7, "name": 'Straße 🚲 "7"\\'}),
        ("empty", "none"),
        ("annotations", {"segmentation": [[1.25, 2, 3.5], {"a": [9]}]}),
    ]
    assert lists.sha256() == hashlib.sha256(TEXT.encode()).hexdigest()


@pytest.mark.parametrize("block", [5, 1 << 22], indirect=True)
def test_every_cut_is_an_error(block: int) -> None:
    data = TEXT.encode()
    for end in range(len(data)):
        with pytest.raises(ValueError, match=r"character|codec"):
            read(data[:end])


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"a": [1, 2,]}', 12),
        ('{"a": [1 2]}', 9),
        ('{"a": [1],}', 10),
        ('{"a": [1]} x', 11),
        ('{"a": [1]}{}', 10),
        ('{"a" [1]}', 5),
        ("{a: [1]}", 1),
        ("{1: [1]}", 1),
        ('{"a": [1], "b": tru}', 16),
        ("[]", 0),
        ("", 0),
    ],
)
def test_errors_say_where(text: str, where: int) -> None:
    with pytest.raises(json.JSONDecodeError if text != "[]" else AssertionError):
        assert isinstance(json.loads(text), dict)  # not an object, or not JSON at all
    with pytest.raises(ValueError, match=rf"character {where}$"):
        read(text.encode())


def test_memory_does_not_grow_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lists, "_BLOCK", 1 << 14)
    item = json.dumps({"segmentation": [[0.25] * 200]})
    peaks = []
    for count in (100, 1000):
        file = io.BytesIO(f'{{"annotations": [{",".join([item] * count)}]}}'.encode())
        tracemalloc.start()
        assert sum(1 for _, items in JsonLists(file) for _ in items) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < len(file.getvalue()) / 4
