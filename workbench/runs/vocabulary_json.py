"""A vocabulary as JSON, for files that leave the machine: text and numbers by column.

Whoever made the text is not trusted: everything is checked before it is used.
"""

from __future__ import annotations

import json
from typing import Final

import numpy as np
import pandas as pd

from workbench.errors import DataError, one_line
from workbench.runs.atomic import to_json
from workbench.vocabulary import Vocabulary

_MAX_COLUMNS: Final = 100
_LONGEST: Final = 10_000  # characters of a text


def vocabulary_to_json(vocabulary: Vocabulary) -> str:
    """All columns but the ids, which are the positions: ``{"name": ["person", ...], ...}``."""
    return to_json(cells(vocabulary.table.drop(columns="class_id")))


def cells(table: pd.DataFrame) -> dict[str, list[object]]:
    """The values of a table by column, as JSON takes them: None where one is missing."""
    return {
        str(name): list(table[name].astype(object).where(table[name].notna(), None))
        for name in table
    }


def vocabulary_from_json(text: str, count: int) -> Vocabulary:
    """Reads what ``vocabulary_to_json`` wrote.

    Args:
        text: From anywhere.
        count: The number of classes there must be.

    Raises:
        DataError: In a few words what is wrong, without the file's name.
    """
    try:
        columns = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("'vocabulary' is missing or not JSON") from error
    return vocabulary_from_columns(columns, count)


def vocabulary_from_columns(columns: object, count: int) -> Vocabulary:
    """As ``vocabulary_from_json``, of what the JSON holds; ids, if any, are not looked at."""
    if not isinstance(columns, dict) or len(columns) > _MAX_COLUMNS:
        raise DataError(f"'vocabulary' is not a table of at most {_MAX_COLUMNS} columns")
    for name, values in columns.items():
        label = f"vocabulary column {one_line(name)!r}"
        if not isinstance(values, list) or len(values) != count:
            found = len(values) if isinstance(values, list) else 0
            raise DataError(f"{label}: {found} values, not {count}")
        if not all(_is_cell(value) for value in values):
            raise DataError(f"{label} holds more than text and numbers")
    if "name" in columns and not all(isinstance(name, str) for name in columns["name"]):
        raise DataError("vocabulary column 'name': not all are text")
    try:
        table = pd.DataFrame({**columns, "class_id": np.arange(count)})
        return Vocabulary(table[["class_id", *(name for name in table if name != "class_id")]])
    except (DataError, ValueError, TypeError, OverflowError) as error:
        raise DataError(one_line(error)) from error


def _is_cell(value: object) -> bool:
    if isinstance(value, str):
        # Half a surrogate pair is no text: it could never be shown nor written again.
        half = not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)
        return len(value) <= _LONGEST and not half
    return value is None or isinstance(value, (int, float))
