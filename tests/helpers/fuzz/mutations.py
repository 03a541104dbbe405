"""Ways to damage a file: blindly, by bytes, or knowingly, by the values of a document."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

Random = np.random.Generator

NUMBERS: Final = (
    *("-1", "0", "1e308", "-1e-308", "1e999", "NaN", "Infinity", "65535", "65536", "2147483648"),
    *("4294967296", "9223372036854775807", "9223372036854775808", "1" + "0" * 400, "0.5", "-0"),
)
"""What a number in a text is replaced by."""

_WORDS: Final = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
DEEP: Final = 20_000
"""Levels of nesting: more than the parser of any Python takes; that of 3.13 takes 3,000."""


def bytes_changed(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Damages a file by one to four changes.

    Args:
        data: The file.
        others: More valid files, to take pieces from.
        random: Where choices come from.
    """
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 5))):
        change = _CHANGES[int(random.integers(len(_CHANGES)))]
        change(changed, others, random)
    return bytes(changed)


def _place(data: bytearray, random: Random) -> int:
    return int(random.integers(len(data) + 1))


def _flip(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    if data:
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))


def _flip_early(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    """Headers come first, and say what everything else means."""
    if data:
        data[int(random.integers(min(len(data), 64)))] = int(random.integers(256))


def _cut(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    del data[_place(data, random) :]


def _drop(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    start = _place(data, random)
    del data[start : start + int(random.integers(1, 33))]


def _repeat(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    start = _place(data, random)
    data[start:start] = data[start : start + int(random.integers(1, 129))]


def _zero(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    start = _place(data, random)
    length = len(data[start : start + int(random.integers(1, 33))])
    data[start : start + length] = bytes(length)


def _splice(data: bytearray, others: Sequence[bytes], random: Random) -> None:
    other = others[int(random.integers(len(others)))]
    start = _place(data, random)
    place = int(random.integers(len(other) + 1))
    data[start : start + 64] = other[place : place + int(random.integers(1, 257))]


def _word(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    """An extreme number of two, four or eight bytes, in either order."""
    width = int(random.choice([2, 4, 8]))
    if len(data) < width:
        return
    value = int(random.choice(_WORDS)) % (1 << 8 * width)
    start = int(random.integers(len(data) - width + 1))
    order: Any = "little" if random.random() < 0.5 else "big"
    data[start : start + width] = value.to_bytes(width, order)


def _digits(data: bytearray, _: Sequence[bytes], random: Random) -> None:
    """An extreme number where text has one."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(data[:100_000])))
    if found:
        start, end = found[int(random.integers(len(found)))].span()
        data[start:end] = NUMBERS[int(random.integers(len(NUMBERS)))].encode()


_CHANGES: Final[tuple[Callable[[bytearray, Sequence[bytes], Random], None], ...]] = (
    *(_flip, _flip, _flip_early, _cut, _drop, _repeat, _zero, _splice, _word, _digits, _digits),
)


def odd_values() -> list[Any]:
    """Values that documents of strangers hold where something else is expected."""
    return [
        *(None, True, False, -1, 0, 1, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**53),
        *(2**63, -(2**63) - 1, 2**64, 10**400, "", "0", "x" * 20_000, "\ud800", "\x00", "../../up"),
        *("<img onerror=x>", "é\n\r\t", [], {}, [[]], [None], {"": None}, [1] * 5000),
        *({"counts": "x", "size": [1, 1]}, [[1e308] * 8], [[float("nan")] * 6], [[-1e9] * 6]),
    ]


def document_changed(document: Any, random: Random, odd: Sequence[Any]) -> bytes:
    """JSON of a document in which some values, keys or items are others.

    Args:
        document: Plain values; stays as it is.
        random: Where choices come from.
        odd: What to put in.
    """
    changed = copy.deepcopy(document)
    for _ in range(int(random.integers(1, 4))):
        places = list(_places(changed))
        if not places:
            break
        owner, key = places[int(random.integers(len(places)))]
        how = random.random()
        if how < 0.7:
            owner[key] = copy.deepcopy(odd[int(random.integers(len(odd)))])
        elif how < 0.85:
            del owner[key]
        elif isinstance(owner, dict):
            owner[f"{key} "] = owner.pop(key)
        else:
            owner.insert(key, copy.deepcopy(owner[key]))
    text = json.dumps(changed)
    if random.random() < 0.02:  # a value so deep that a recursive parser runs out of stack
        text = text.replace("null", "[" * DEEP + "]" * DEEP, 1)
    return text.encode("utf-8", "surrogatepass")


def _places(value: Any) -> Any:
    """(list or dict, index or key) of everything within."""
    if isinstance(value, dict):
        items: Any = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:50]))
    else:
        return
    for key, inner in items:
        yield value, key
        yield from _places(inner)
