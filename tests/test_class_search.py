from __future__ import annotations

import pandas as pd
import pytest

from workbench.class_search import matching_classes


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [0, 1, 2, 1283]),
        ("star TEAL", [0, 1]),
        ("a.c", [2]),
        (".", [2]),
        ("1283", [1283]),
        ("(", []),
        ("9" * 5000, []),
    ],
)
def test_search(text: str, found: list[int]) -> None:
    classes = pd.DataFrame(
        {
            "class_id": [0, 1, 2, 1283],
            "name": ["teal striped star", "Teal star", "a.c", "star"],
        }
    )
    assert list(classes.loc[matching_classes(classes, text), "class_id"]) == found
