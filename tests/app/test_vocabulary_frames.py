"""What the Vocabulary page shows, as pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from app import vocabulary_frames
from app.vocabulary_frames import Mark
from workbench.constants import IGNORE_INDEX
from workbench.inference.vocabulary_edits import Add, Merge, Rename, Subset


@pytest.mark.parametrize(
    ("sent", "marks"),
    [
        ({"picture": "a", "marks": [[3, 4]]}, [Mark(3, 4, 3, 4)]),
        (
            {"picture": "a", "marks": [[9, 8, 2, 1], [3.0, 4.9]]},
            [Mark(2, 1, 9, 8), Mark(3, 4, 3, 4)],
        ),
        ({"picture": "a", "marks": [[-5, 2, 400, float("inf")]]}, [Mark(0, 2, 19, 9)]),
        ({"picture": "a", "marks": [[1, 1], [1, 1]]}, [Mark(1, 1, 1, 1)]),
        ({"picture": "a", "marks": []}, []),
        ({"picture": "b", "marks": [[1, 1]]}, None),
        ({"picture": "a", "marks": [[1, float("nan")]]}, None),
        ({"picture": "a", "marks": [[1, "2"]]}, None),
        ({"picture": "a", "marks": [[1, True]]}, None),
        ({"picture": "a", "marks": [[1]]}, None),
        ({"picture": "a", "marks": ["12"]}, None),
        ({"picture": "a", "marks": "12"}, None),
        ({"picture": "a", "marks": [[1, 1]] * 201}, None),
        ({"picture": "a"}, None),
        (None, None),
    ],
)
def test_marks_from_the_browser(sent: object, marks: list[Mark] | None) -> None:
    assert vocabulary_frames.read_marks(sent, "a", width=20, height=10) == marks


def test_marked_pixels_count_once_and_are_thinned_evenly() -> None:
    mask = vocabulary_frames.mask_of(
        [Mark(0, 0, 3, 1), Mark(3, 1, 3, 1), Mark(18, 9, 19, 9)], 20, 10
    )
    assert mask.shape == (10, 20) and mask.sum() == 10
    assert mask[1, 3] and mask[9, 19] and not mask[2, 0]
    few = vocabulary_frames.thinned(np.ones((50, 60), dtype=bool), 100)
    rows, _ = np.nonzero(few)
    assert few.sum() == 100 and rows.min() == 0 and rows.max() == 49
    assert vocabulary_frames.describe_marks([Mark(1, 1, 1, 1)], 20, 10) == "1 pixel"


def test_who_lost_pixels_to_whom() -> None:
    before = np.array([[0, 0, 0, 300], [300, 2, IGNORE_INDEX, 2]])
    lookup = np.arange(301)
    lookup[2] = 0  # merged into class 0: no change
    lookup[300] = 299
    after = np.array([[0, 300, 300, 299], [300, 0, IGNORE_INDEX, 0]])
    pairs = vocabulary_frames.moved(before, after, lookup)
    assert pairs.to_numpy().tolist() == [[0, 300, 2], [300, 300, 1]]
    lost = vocabulary_frames.side(pairs, "before", before)
    assert lost["class_id"].tolist() == [0, 300]
    assert lost["share"].tolist() == [2 / 3, 1 / 2]
    won = vocabulary_frames.side(pairs, "after", after)
    assert won.to_numpy().tolist() == [[300, 3, 1.0]]
    assert vocabulary_frames.moved(after, after, np.arange(301)).empty


def test_a_picture_among_twenty_thousand_is_found() -> None:
    ids = [f"img{n:05d}" for n in range(19_809)]
    assert vocabulary_frames.find_pictures(ids, " IMG19808 ") == ["img19808"]


def test_edits_in_words() -> None:
    edits: list[Any] = [
        Add("a", torch.zeros(1, 4)),
        Rename(1283, "b"),
        Merge((1, 2), "c"),
        Subset((1,)),
    ]
    assert [vocabulary_frames.edit_text(edit) for edit in edits] == [
        "Added a, from 1 pixel",
        "Renamed class 1283 to b",
        "Merged 2 classes into c",
        "Kept 1 class, left the others out",
    ]
