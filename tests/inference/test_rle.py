"""Run lengths against pycocotools, letter by letter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from workbench.inference import rle


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 400),
    st.integers(1, 6),
    st.integers(0, 2**31),
)
def test_segments_are_those_of_pycocotools(
    height: int, width: int, classes: int, block: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).integers(0, classes, (height, width))
    labels = labels.repeat(block, axis=0).repeat(block, axis=1)
    segments = rle.segments_of(labels)
    assert [segment.class_id for segment in segments] == np.unique(labels).tolist()
    for segment in segments:
        theirs = coco.encode(np.asfortranarray((labels == segment.class_id).astype(np.uint8)))
        assert segment.counts == theirs["counts"].decode("ascii")
        assert segment.area == int(coco.area(theirs))
        assert list(segment.box) == coco.toBbox(theirs).astype(int).tolist()


def test_a_picture_in_several_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.zeros((7, 9), np.uint16)
    labels[2:6, 1:8] = 299
    whole = rle.segments_of(labels)
    monkeypatch.setattr(rle, "_PIXELS_AT_ONCE", 8)  # a column at a time
    assert rle.segments_of(labels) == whole


@pytest.mark.parametrize("length", [1, 15, 16, 500, 2**20, 2**31 + 5])
def test_runs_of_any_length(length: int) -> None:
    """By the definition of the format: five bits a letter, the sixth says that more follow."""
    text = rle.compress(np.array([length, 1, 1, length]))
    numbers: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            value -= (code & 0x10) << (shift - 4) if code & 0x10 else 0
            numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
            value = shift = 0
    assert numbers == [length, 1, 1, length]
