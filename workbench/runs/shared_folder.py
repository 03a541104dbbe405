"""The folder of a shared model: weights, settings, classes and a card, no code and no path.

```
model.safetensors  config.json  vocabulary.json  README.md
```
It is what goes to a hub and comes from there. Whoever made it is not trusted: tensors are
safetensors, the rest is JSON, and both are checked before they are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from workbench.errors import DataError, RunError, one_line
from workbench.runs import readers
from workbench.runs.atomic import to_json
from workbench.runs.checkpoints import load_tensors, save_tensors
from workbench.runs.vocabulary_json import vocabulary_from_json, vocabulary_to_json
from workbench.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

MODEL: Final = "model.safetensors"
SETTINGS: Final = "config.json"
VOCABULARY: Final = "vocabulary.json"
CARD: Final = "README.md"
FILES: Final = (MODEL, SETTINGS, VOCABULARY)
"""What a model needs; the card is for people."""
_FORMAT: Final = "workbench-model"
_VERSION: Final = 1
_LARGEST: Final = {SETTINGS: 2**24, VOCABULARY: 2**29}
"""Bytes; JSON takes many times its size while it is read, and a stranger wrote it."""
_REMEDY: Final = "make the folder again with: workbench save-pretrained RUN DIR"


class SharedFiles(NamedTuple):
    """What the files say.

    Attributes:
        settings: Sections by name, as they were given to ``write_shared``.
        vocabulary: The classes.
        tensors: The weights, on the CPU, in the precision they were kept in.
    """

    settings: dict[str, Any]
    vocabulary: Vocabulary
    tensors: dict[str, Tensor]


def is_shared(folder: Path) -> bool:
    """Whether a folder looks like a shared model."""
    return all((folder / name).is_file() for name in FILES)


def write_shared(
    folder: Path,
    *,
    settings: Mapping[str, Any],
    vocabulary: Vocabulary,
    tensors: Mapping[str, Tensor],
) -> None:
    """Writes all files but the card into a folder (not atomic: use ``atomic_directory``).

    Tensors are kept in half precision where that loses nothing, as of a packed run.
    """
    values = {"format": _FORMAT, "version": _VERSION, "classes": len(vocabulary), **settings}
    (folder / SETTINGS).write_text(to_json(values, indent=2) + "\n", encoding="utf-8")
    (folder / VOCABULARY).write_text(vocabulary_to_json(vocabulary) + "\n", encoding="utf-8")
    kept = {name: _halved_if_exact(tensor) for name, tensor in tensors.items()}
    save_tensors(folder / MODEL, kept)


def read_shared(folder: Path, *, label: str = "") -> SharedFiles:
    """Reads what ``write_shared`` wrote.

    Args:
        folder: With the files.
        label: How errors call the folder, where it lies in a cache under another name.

    Raises:
        RunError: A file is absent, damaged, or of another kind or version.
    """
    label = label or str(folder)
    absent = [name for name in FILES if not (folder / name).is_file()]
    if absent:
        raise RunError(f"{label} is no shared model (it lacks {', '.join(absent)}); {_REMEDY}")
    for name, most in _LARGEST.items():
        if (size := (folder / name).stat().st_size) > most:
            raise _damaged(label, name, f"its {size >> 20} MB are over {most >> 20} MB")
    settings = readers.read_json(folder / SETTINGS, remedy=_REMEDY)
    kind, version, count = (settings.pop(key, None) for key in ("format", "version", "classes"))
    if kind != _FORMAT:
        raise _damaged(label, SETTINGS, f"'format' is not {_FORMAT!r}")
    if version != _VERSION:
        found = one_line(version)
        raise _damaged(label, SETTINGS, f"'version' is {found}, this workbench reads {_VERSION}")
    if type(count) is not int or count < 1:  # true and false are integers too
        raise _damaged(label, SETTINGS, "'classes' is no number above 0")
    try:
        text = (folder / VOCABULARY).read_text(encoding="utf-8")
        vocabulary = vocabulary_from_json(text, count)
    except (DataError, OSError, ValueError) as error:
        raise _damaged(label, VOCABULARY, error) from error
    return SharedFiles(settings, vocabulary, load_tensors(folder / MODEL, remedy=_REMEDY))


def check_target(folder: Path, *, replace: bool) -> None:
    """Makes sure that a model may be written to a folder.

    Args:
        folder: To be written.
        replace: Whether a shared model that is there may go; nothing else ever does.

    Raises:
        RunError: Something is there that is to stay.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RunError(f"{folder} is a file; choose a new folder for the model")
    there = {item.name for item in folder.iterdir()}
    strangers = sorted(there - {*FILES, CARD})
    if strangers:
        raise RunError(
            f"{folder} holds more than a shared model (it has {one_line(strangers[0])}); "
            "choose a new folder"
        )
    if there and not replace:
        raise RunError(f"{folder} holds a shared model already; replace it by --replace")


def _damaged(label: str, name: str, reason: object) -> RunError:
    return RunError(f"{label}: {name} is damaged ({one_line(reason)}); {_REMEDY}")


def _halved_if_exact(tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half if bool((half.to(tensor.dtype) == tensor).all()) else tensor
