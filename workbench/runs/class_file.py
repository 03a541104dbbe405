"""A class table with its vocabulary in one small file, to be used without its run.

One safetensors file: tensor ``weight`` (C, D) and, for the linear distance, ``bias`` (C,); the
metadata say what "near" means and who the classes are. It holds numbers and names, no code and
no path. Whoever made the file is not trusted: everything is checked before it is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from workbench.errors import DataError, one_line
from workbench.runs.atomic import write_bytes
from workbench.runs.vocabulary_json import vocabulary_from_json, vocabulary_to_json
from workbench.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX: Final = ".safetensors"
MAX_FILE_BYTES: Final = 512 * 2**20
MAX_FILE_CLASSES: Final = 1_000_000
_MAX_HEADER: Final = 100_000_000  # of the format itself
FORMAT: Final = "workbench-classes"
_VERSION: Final = 1
_REMEDY: Final = "export the classes again"


@dataclass(frozen=True)
class ClassSet:
    """The classes of a model as a value of its own.

    Attributes:
        weight: (C, D) fp32 class embeddings, row = class id.
        bias: (C,) fp32 for the linear distance, else None.
        temperature: Factor of all logits, above 0.
        distance: Key of ``workbench.distances.DISTANCES``.
        vocabulary: Names and attributes, row = class id.
        source: Name of the run that the embeddings come from; "" if not known.
        step: Its training step; None if not known.
    """

    weight: Tensor
    bias: Tensor | None
    temperature: float
    distance: str
    vocabulary: Vocabulary
    source: str = ""
    step: int | None = None

    def __len__(self) -> int:
        """Number of classes C."""
        return len(self.weight)

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return int(self.weight.shape[1])


def write_class_file(path: Path | str, classes: ClassSet) -> Path:
    """Writes a class file, whole or not at all.

    Args:
        path: The file to create or replace; ``.safetensors`` is added where it has no suffix.
        classes: What to write.

    Returns:
        The file's path.

    Raises:
        DataError: The classes are not sound, or too many for a file.
    """
    path = Path(path)
    path = path if path.suffix else path.with_suffix(SUFFIX)
    write_bytes(path, class_file_bytes(classes, label=str(path)))
    return path


def class_file_bytes(classes: ClassSet, *, label: str = "the class file") -> bytes:
    """The content of a class file; arguments and errors as in ``write_class_file``."""
    import torch
    from safetensors.torch import save

    check_tensors(classes.weight, classes.bias, len(classes.vocabulary), label)
    tensors = {"weight": classes.weight.detach().to("cpu", torch.float32).contiguous()}
    if classes.bias is not None:
        tensors["bias"] = classes.bias.detach().to("cpu", torch.float32).contiguous()
    metadata = {
        "format": FORMAT,
        "version": str(_VERSION),
        "distance": classes.distance,
        "temperature": repr(float(classes.temperature)),
        "embedding_dim": str(classes.dim),
        "classes": str(len(classes)),
        "source_run": classes.source,
        "source_step": "" if classes.step is None else str(classes.step),
        "vocabulary": vocabulary_to_json(classes.vocabulary),
    }
    data = bytes(save(tensors, metadata))
    if len(data) > MAX_FILE_BYTES or len(classes) > MAX_FILE_CLASSES:
        raise DataError(
            f"{label}: {len(classes):,} classes are more than a class file may hold "
            f"({MAX_FILE_BYTES >> 20} MB, {MAX_FILE_CLASSES:,} classes); take a subset"
        )
    return data


def read_class_file(path: Path | str) -> ClassSet:
    """Reads what ``write_class_file`` wrote.

    Raises:
        DataError: The file is absent, too large, damaged, or no class file.
    """
    return parse_class_file(read_limited(Path(path)), label=str(path))


def read_limited(path: Path, what: str = "a class file") -> bytes:
    """All bytes of a file that is not larger than a class file may be.

    Args:
        path: The file.
        what: Should be there, for the error.

    Raises:
        DataError: It cannot be read, or is too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            _refuse(str(path), f"its {size >> 20} MB are over {MAX_FILE_BYTES >> 20} MB")
        return path.read_bytes()
    except OSError as error:
        detail = (error.strerror or "unknown reason").lower()
        raise DataError(f"{path} cannot be read ({detail}); give {what}") from error


def parse_class_file(data: bytes, *, label: str) -> ClassSet:
    """Reads the content of a class file, for instance an upload.

    Args:
        data: All bytes of the file.
        label: How errors call the file.

    Raises:
        DataError: As in ``read_class_file``.
    """
    from safetensors.torch import load

    metadata = _metadata(data, label)
    count = _number(metadata, "classes", label)
    dim = _number(metadata, "embedding_dim", label)
    vocabulary = _vocabulary(metadata, count, label)
    try:
        tensors = load(data)
    except Exception as error:  # the Rust extension raises its own class
        _refuse(label, " ".join(str(error).split())[:120], error)
    weight, bias = tensors["weight"], tensors.get("bias")
    if tuple(weight.shape) != (count, dim):
        shape = " x ".join(map(str, weight.shape))
        _refuse(label, f"'weight' is {shape}, but {count} classes of {dim} numbers are announced")
    check_tensors(weight, bias, count, label)
    step = metadata.get("source_step", "")
    return ClassSet(
        weight=weight,
        bias=bias,
        temperature=_temperature(metadata, label),
        distance=_text(metadata, "distance", label),
        vocabulary=vocabulary,
        source=one_line(metadata.get("source_run", "")),
        step=int(step) if step.isascii() and step.isdigit() and len(step) < 16 else None,
    )


def _refuse(label: str, reason: str, cause: BaseException | None = None) -> NoReturn:
    raise DataError(f"{label} is no sound class file ({reason}); {_REMEDY}") from cause


def _metadata(data: bytes, label: str) -> dict[str, str]:
    """The header's texts, after the header itself was checked."""
    header = safetensors_header(data, label)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        _refuse(label, "it is of another kind: 'format' is missing")
    if not all(isinstance(value, str) for value in metadata.values()):
        _refuse(label, "its metadata are not all text")
    if metadata.get("version") != str(_VERSION):
        version = one_line(metadata.get("version"))
        _refuse(label, f"'version' is {version}, this workbench reads {_VERSION}")
    if "weight" not in header or not set(header) <= {"weight", "bias"}:
        _refuse(label, "it must hold the tensor 'weight' and at most 'bias' beside it")
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.get("dtype") != "F32":
            _refuse(label, f"'{name}' is not of 32-bit floats")
    return metadata


def safetensors_header(data: bytes, label: str) -> dict[str, Any]:
    """What a safetensors file says about itself, before anything of it is used.

    Raises:
        DataError: It is too large, cut short or of another format.
    """
    if len(data) > MAX_FILE_BYTES:
        _refuse(label, f"its {len(data) >> 20} MB are over {MAX_FILE_BYTES >> 20} MB")
    length = int.from_bytes(data[:8], "little")
    if len(data) < 10 or not 2 <= length <= len(data) - 8:
        _refuse(label, "it is cut short, or of another format")
    if length > _MAX_HEADER:
        _refuse(label, f"its header of {length >> 20} MB is too large")
    try:
        header = json.loads(data[8 : 8 + length].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        _refuse(label, "its header is not JSON", error)
    if not isinstance(header, dict):
        _refuse(label, "it is of another kind: its header is no list of tensors")
    return header


def _text(metadata: Mapping[str, str], field: str, label: str) -> str:
    if not 0 < len(metadata.get(field, "")) <= 100:
        _refuse(label, f"'{field}' is missing")
    return metadata[field]


def _number(metadata: Mapping[str, str], field: str, label: str) -> int:
    text = metadata.get(field, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        _refuse(label, f"'{field}' is no whole number")
    if not 1 <= int(text) <= MAX_FILE_CLASSES:
        _refuse(label, f"'{field}' is {text}, not 1 to {MAX_FILE_CLASSES}")
    return int(text)


def _temperature(metadata: Mapping[str, str], label: str) -> float:
    try:
        value = float(_text(metadata, "temperature", label))
    except ValueError as error:
        _refuse(label, "'temperature' is no number", error)
    if not (math.isfinite(value) and value > 0):
        _refuse(label, f"'temperature' is {value}, not above 0")
    return value


def _vocabulary(metadata: Mapping[str, str], count: int, label: str) -> Vocabulary:
    try:
        return vocabulary_from_json(metadata.get("vocabulary", ""), count)
    except DataError as error:
        _refuse(label, str(error), error)


def check_tensors(weight: Tensor, bias: Tensor | None, count: int, label: str) -> None:
    """Makes sure that every class has one row of usable numbers."""
    if weight.ndim != 2 or len(weight) != count or weight.shape[1] == 0:
        _refuse(label, f"'weight' has no row for each of {count} classes")
    if bias is not None and tuple(bias.shape) != (count,):
        _refuse(label, f"'bias' has no number for each of {count} classes")
    tensors: dict[str, Any] = {"weight": weight, "bias": bias}
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        bad = ~tensor.isfinite()
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            _refuse(label, f"'{name}' row {row} holds a number that is not finite")
    empty = (weight == 0).all(dim=1)
    if bool(empty.any()):
        _refuse(label, f"'weight' row {int(empty.nonzero()[0, 0])} is all zeros")
