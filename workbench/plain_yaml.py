"""YAML as people write settings: plain values, and no more of them than somebody could mean."""

from __future__ import annotations

import itertools
import re
from typing import Any, Final

import yaml

MAX_CHARACTERS: Final = 2**18
"""Of a text; the parser takes seconds for so many, and settings have 2,000."""
MAX_LEVELS: Final = 100
"""Of brackets; the parser takes seconds to find a few thousand too deep for it."""
MAX_VALUES: Final = 10_000
"""Of a document, repeated ones counted each time: nine lines of aliases can mean a billion."""


def load_plain(text: str) -> Any:  # noqa: ANN401 - whatever the text holds
    """Reads a YAML document.

    Args:
        text: From anywhere.

    Raises:
        ValueError: It is no YAML, or of too many characters, values or levels; in one line.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"its {len(text)} characters are over {MAX_CHARACTERS}")
    if _levels(text) > MAX_LEVELS:
        raise ValueError("it is nested too deep")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except (KeyError, IndexError, AttributeError) as error:  # of a tag and a value not of it
        raise ValueError(f"a value is not what its tag says: {error}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    left, values = MAX_VALUES, [value]
    while values:
        one = values.pop()
        if isinstance(one, dict):
            values += [*one, *one.values()]
        elif isinstance(one, list | tuple | set):
            values += one
        left -= 1
        if left < 0 or len(values) > MAX_VALUES:
            raise ValueError(f"it holds over {MAX_VALUES} values")
    return value


def _levels(text: str) -> int:
    """The most brackets that are open at once, those in strings counted too."""
    steps = (1 if bracket in "[{" else -1 for bracket in re.findall(r"[][{}]", text))
    return max(itertools.accumulate(steps), default=0)
