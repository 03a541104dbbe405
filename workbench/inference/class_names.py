"""Which classes a person means who types names or ids."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.config.names import nearest_name
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary


def find_classes(vocabulary: Vocabulary, words: Sequence[str], *, label: str) -> list[int]:
    """The ids of classes, in the order they were named.

    Args:
        vocabulary: The classes there are.
        words: A name or an id each; what is the name of a class is taken for it.
        label: How the error calls the file.

    Raises:
        DataError: There is no such class (the nearest name is offered), or several have the name.
    """
    places: dict[str, list[int]] = {}
    for class_id, name in enumerate(vocabulary.names):
        places.setdefault(name, []).append(class_id)
    return [_find(places, word, len(vocabulary), label) for word in words]


def _find(places: dict[str, list[int]], word: str, classes: int, label: str) -> int:
    found = places.get(word, [])
    if len(found) > 1:
        ids = ", ".join(map(str, found[:5]))
        raise DataError(f"{label}: several classes are called {word!r}; give one id of {ids}")
    if found:
        return found[0]
    if word.isascii() and word.isdigit() and len(word) < 10 and int(word) < classes:
        return int(word)
    close = nearest_name(word, places)
    remedy = f"did you mean {close!r}?" if close else f"ids go from 0 to {classes - 1}"
    raise DataError(f"{label}: no class is called {word!r}; {remedy}")


def split_names(vocabulary: Vocabulary, text: str) -> list[str]:
    """The words of a list separated by commas; a name with a comma in it stands alone."""
    if text in vocabulary.names:
        return [text]
    return [word for part in text.split(",") if (word := part.strip())]
