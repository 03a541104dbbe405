"""Classes for other tools and from them: a table of names, and a file of embeddings beside it.

The table is Parquet, JSON or CSV with a row per class; the embeddings are a safetensors file
with a tensor ``weight`` (C, D). Whoever made them is not trusted: everything is checked first.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any, Final, NoReturn

import pandas as pd

from workbench.errors import DataError, first_line, one_line
from workbench.runs.atomic import write_parquet, write_text
from workbench.runs.class_file import (
    FORMAT,
    MAX_FILE_CLASSES,
    ClassSet,
    check_tensors,
    parse_class_file,
    read_limited,
    safetensors_header,
)
from workbench.runs.vocabulary_json import (
    cells,
    vocabulary_from_columns,
    vocabulary_to_json,
)
from workbench.vocabulary import Vocabulary, palette

TABLE_SUFFIXES: Final = (".parquet", ".json", ".csv")
MAX_TABLE_BYTES: Final = 256 * 2**20
"""Of a table in memory: a small Parquet file can claim any size."""

_FLOATS: Final = ("F16", "BF16", "F32", "F64")


def write_class_table(path: Path, vocabulary: Vocabulary) -> Path:
    """Writes who the classes are, a row each with its ``class_id``.

    Args:
        path: Its suffix says the format.
        vocabulary: What to write.

    Raises:
        DataError: Another suffix.
    """
    suffix = _suffix(path)
    if suffix == ".parquet":
        write_parquet(path, vocabulary.table)
    elif suffix == ".json":
        write_text(path, vocabulary_to_json(vocabulary) + "\n")
    else:
        write_text(path, vocabulary.table.to_csv(index=False))
    return path


def read_class_table(path: Path) -> Vocabulary:
    """Reads a table of classes, of ours or anybody's.

    Only the column ``name`` must be there; class ids are the rows from 0. Missing colours are
    chosen, missing counts are 0.

    Raises:
        DataError: The file is absent, too large, of another format, or its columns are wrong.
    """
    suffix = _suffix(path)
    data = read_limited(path, "a table of classes")
    try:
        columns = {".parquet": _parquet, ".json": _json, ".csv": _csv}[suffix](data)
    except DataError as error:
        _refuse(path, str(error), error)
    except Exception as error:  # pyarrow's and pandas' many ways to say "damaged"
        _refuse(path, one_line(first_line(error)), error)
    names = columns.get("name")
    if not isinstance(names, list) or not names:
        _refuse(path, "the column 'name' is missing or empty")
    ids = columns.pop("class_id", None)
    if ids is not None and ids != list(range(len(names))):
        _refuse(path, "'class_id' must be 0, 1, 2, ... in order, as the rows of the embeddings")
    seen: dict[object, int] = {}
    for row, name in enumerate(names):
        if isinstance(name, str) and seen.setdefault(name, row) != row:
            _refuse(path, f"rows {seen[name]} and {row} have the same name {one_line(name)!r}")
    try:
        return vocabulary_from_columns(_completed(columns, len(names)), len(names))
    except DataError as error:
        _refuse(path, str(error), error)


def import_classes(
    table: Path,
    embeddings: Path,
    *,
    distance: str | None = None,
    temperature: float | None = None,
) -> ClassSet:
    """Classes from a table and a file of their embeddings.

    Args:
        table: See ``read_class_table``.
        embeddings: safetensors with ``weight`` (C, D), row = row of the table, and for the
            linear distance ``bias`` (C,), of 16, 32 or 64-bit floats. A class file will do: what
            it says about distance, temperature and source is kept.
        distance: Key of ``workbench.distances.DISTANCES``, where the file does not say.
        temperature: Factor of all logits, where the file does not say.

    Raises:
        DataError: A file is absent, damaged or too large, the two do not go together, or
            nothing says what the distance or temperature is.
    """
    vocabulary = read_class_table(table)
    data, label = read_limited(embeddings, "a safetensors file"), str(embeddings)
    said = safetensors_header(data, label).get("__metadata__")
    if isinstance(said, dict) and said.get("format") == FORMAT:
        ours = parse_class_file(data, label=label)
        weight, bias, source, step = ours.weight, ours.bias, ours.source, ours.step
        distance, temperature = distance or ours.distance, temperature or ours.temperature
    else:
        tensors = _tensors(data, label)
        weight, bias, source, step = tensors["weight"].float(), tensors.get("bias"), "", None
        bias = None if bias is None else bias.float()
    if distance is None or temperature is None:
        missing = "distance" if distance is None else "temperature"
        raise DataError(
            f"{label}: nothing says which {missing} the embeddings were made for; give --{missing}"
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise DataError(f"--temperature: a number above 0, got {temperature}")
    if weight.ndim == 2 and len(weight) != len(vocabulary):
        raise DataError(
            f"{label}: {len(weight)} rows of embeddings for {len(vocabulary)} classes in {table}; "
            "give each class its row"
        )
    check_tensors(weight, bias, len(vocabulary), label)
    return ClassSet(
        weight=weight,
        bias=bias,
        temperature=temperature,
        distance=distance,
        vocabulary=vocabulary,
        source=source,
        step=step,
    )


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise DataError(f"{path}: a table of classes ends in {', '.join(TABLE_SUFFIXES)}")
    return suffix


def _refuse(path: Path, reason: str, cause: BaseException | None = None) -> NoReturn:
    raise DataError(f"{path} is no sound table of classes ({reason}); correct it") from cause


def _parquet(data: bytes) -> dict[str, Any]:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(io.BytesIO(data))
    size = sum(
        file.metadata.row_group(group).total_byte_size
        for group in range(file.metadata.num_row_groups)
    )
    if file.metadata.num_rows > MAX_FILE_CLASSES or size > MAX_TABLE_BYTES:
        raise DataError(
            f"it is over {MAX_FILE_CLASSES:,} rows or {MAX_TABLE_BYTES >> 20} MB when unpacked"
        )
    return cells(file.read().to_pandas())


def _json(data: bytes) -> dict[str, Any]:
    """``{"name": [...], ...}`` as we write it, or ``[{"name": ...}, ...]``."""
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError("it is not JSON in UTF-8") from error
    if isinstance(found, list) and all(isinstance(row, dict) for row in found):
        return cells(pd.DataFrame(found))
    if not isinstance(found, dict):
        raise DataError("it is neither a list of rows nor an object of columns")
    return found


def _csv(data: bytes) -> dict[str, Any]:
    text = dict.fromkeys(("name", "group", "supercategory", "color"), str)
    # A class may be called "NA" or "null".
    table = pd.read_csv(io.BytesIO(data), dtype=text, keep_default_na=False, encoding="utf-8-sig")
    if not isinstance(table.index, pd.RangeIndex):
        raise DataError('the rows have more fields than the header; put names with a comma in ""')
    return cells(table)


def _completed(columns: dict[str, Any], count: int) -> dict[str, Any]:
    """With the columns that every vocabulary has."""
    made: dict[str, list[object]] = {
        "group": ["all"] * count,
        "supercategory": [""] * count,
        "train_images": [0] * count,
        "train_pixels": [0] * count,
    }
    if "color" not in columns:
        made["color"] = list(palette(count))
    return {**columns, **{name: made[name] for name in made if name not in columns}}


def _tensors(data: bytes, label: str) -> dict[str, Any]:
    from safetensors.torch import load

    header = safetensors_header(data, label)
    header.pop("__metadata__", None)
    if "weight" not in header or not set(header) <= {"weight", "bias"}:
        raise DataError(
            f"{label}: must hold the tensor 'weight' (classes x numbers) and at most 'bias' "
            f"beside it, but holds {one_line(', '.join(header)) or 'nothing'}; write it so"
        )
    for name, entry in header.items():
        if not isinstance(entry, dict) or entry.get("dtype") not in _FLOATS:
            raise DataError(f"{label}: '{name}' is not of floats; convert it to 32-bit floats")
    try:
        return dict(load(data))
    except Exception as error:  # the Rust extension raises its own class
        raise DataError(f"{label}: cannot be read ({one_line(error)}); write it again") from error
