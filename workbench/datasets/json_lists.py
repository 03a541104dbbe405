"""Reading a large json file list by list and item by item.

Whole, LVIS's train annotations (1.1 GB of text) take some 10 GB as Python objects; read like
this, the parser holds one item and a few megabytes of text. The parsing itself is json's.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

_BLOCK: Final = 1 << 22
_SPACE: Final = frozenset(" \t\n\r")
_AFTER: Final = _SPACE | frozenset(",:]}")


class JsonLists:
    """The lists among the members of a json object.

    Iterating yields (name, items) for each; items that are not taken are skipped. Members of
    another kind are read over.

    Args:
        file: Binary, at its start; UTF-8.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._digest = hashlib.sha256()
        self._text = ""
        self._at = 0
        self._before = 0  # characters that came before the text held

    def is_object(self) -> bool:
        """Whether the file begins like an object."""
        return self._peek() == "{"

    def sha256(self) -> str:
        """Of the whole file, once all members have been taken."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[tuple[str, Iterator[Any]]]:
        """Takes all members.

        Raises:
            ValueError: The text is not JSON; the message says where.
        """
        self._expect("{")
        for _ in self._elements("}"):
            if self._peek() != '"':
                raise self._error("expected a name in double quotes")
            name = self._value()
            self._expect(":")
            if self._peek() == "[":
                items = self._items()
                yield name, items
                for _ in items:
                    pass
            else:
                self._value()
        if self._peek():
            raise self._error("more text after the end")

    def _items(self) -> Iterator[Any]:
        self._expect("[")
        for _ in self._elements("]"):
            yield self._value()

    def _elements(self, end: str) -> Iterator[None]:
        """Halts before each element of a list or object whose first bracket is taken."""
        if self._peek() == end:
            self._at += 1
            return
        while True:
            yield
            if self._peek() == end:
                self._at += 1
                return
            self._expect(",")

    def _value(self) -> Any:  # noqa: ANN401 - whatever the file holds
        """Takes the next value."""
        self._peek()
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                # Cut off by the end of the block? Only more text can tell.
                length = error.pos - self._at
                if not self._more():
                    self._at += length
                    raise self._error(error.msg) from error
                continue
            # So can a number: "12" may go on with "5", ".5" or "e5".
            length = end - self._at
            if self._text[end : end + 1] in _AFTER or not self._more():
                self._at += length
                return value

    def _peek(self) -> str:
        """The next character that is no space, "" at the end."""
        while True:
            mark = self._text[self._at : self._at + 1]
            if mark and mark not in _SPACE:
                return mark
            if mark:
                self._at += 1
            elif not self._more():
                return ""

    def _expect(self, mark: str) -> None:
        found = self._peek()
        if found != mark:
            raise self._error(f"expected {mark!r}" if found else "the file ends too early")
        self._at += 1

    def _more(self) -> bool:
        """Appends the next block to what is left of the text; False at the end of the file."""
        rest = self._text[self._at :]
        # As much as is there already: a long value is then parsed a few times, not many.
        block = self._file.read(max(_BLOCK, len(rest)))
        self._digest.update(block)
        self._before += self._at
        self._text, self._at = rest + self._decode(block, final=not block), 0
        return bool(block)

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{what}, character {self._before + self._at}")
