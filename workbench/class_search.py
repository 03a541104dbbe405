"""Finding classes by what somebody types: words of a name, or an id."""

from __future__ import annotations

from typing import Final

import pandas as pd

_LONGEST_ID: Final = 18
"""Digits; int refuses thousands of them, and no id has more."""


def matching_classes(table: pd.DataFrame, text: str) -> pd.Series[bool]:
    """Rows whose name holds every word of a text, or whose id is the number it is.

    Args:
        table: Columns class_id and name.
        text: As typed; an empty one matches all.
    """
    names = table["name"].astype(str).str.lower()
    hit = pd.Series(True, index=table.index)
    for word in text.lower().split():
        hit &= names.str.contains(word, regex=False)
    typed = text.strip()
    if typed.isdecimal() and len(typed) <= _LONGEST_ID:
        hit |= table["class_id"] == int(typed)
    return hit
