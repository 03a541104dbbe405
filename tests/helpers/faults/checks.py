"""What must hold after a command has ended at any moment; an empty list says that it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from PIL import Image

# Appended to while they are written: a last line that is cut does not count for their readers.
_GROWING = ("metrics.jsonl", "predict.jsonl", "segments.jsonl")
_NOT_OURS = ("events.out.tfevents",)  # TensorBoard's own format, appended to


def visible(folder: Path) -> list[Path]:
    """Files that a reader would take."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and not path.name.startswith(_NOT_OURS):
            found.append(path)
    return found


def leftovers(folder: Path) -> list[str]:
    """Names that are not finished; locks are meant to stay."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob(".*"))
    return sorted(name for name in names if not name.endswith(".lock"))


def torn(folder: Path) -> list[str]:
    """Files that are there and not whole, read by other means than the workbench's own."""
    found = []
    for path in visible(folder):
        try:
            _read(path)
        except Exception as error:
            name = path.relative_to(folder).as_posix()
            found.append(f"{name} is torn: {type(error).__name__} {str(error)[:80]}")
    return found


def _read(path: Path) -> None:
    from safetensors.numpy import load_file

    if path.name in _GROWING:
        for line in path.read_bytes().split(b"\n")[:-1]:
            json.loads(line)
        return
    readers: dict[str, Callable[[], Any]] = {
        ".json": lambda: json.loads(path.read_text("utf-8")),
        ".yaml": lambda: yaml.safe_load(path.read_text("utf-8")),
        ".parquet": lambda: pd.read_parquet(path),
        ".safetensors": lambda: load_file(path),
        ".npz": lambda: _read_arrays(path),
        ".onnx": lambda: _read_onnx(path),
        **dict.fromkeys((".png", ".jpg", ".tif", ".tiff"), lambda: _read_picture(path)),
    }
    if path.suffix in readers:
        readers[path.suffix]()
    elif not path.read_bytes():  # pointers, lists of names
        raise ValueError("empty")


def _read_picture(path: Path) -> None:
    with Image.open(path) as image:
        image.load()
    end = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}.get(path.suffix, b"")
    if not path.read_bytes().endswith(end):  # pixels may be whole before it
        raise ValueError("the end is missing")


def _read_arrays(path: Path) -> None:
    with path.open("rb") as file, np.load(file) as arrays:  # of a broken one, numpy keeps the file
        for name in arrays:
            arrays[name].sum()


def _read_onnx(path: Path) -> None:
    import onnx

    onnx.checker.check_model(onnx.load(path))


def opens_in_app(run: Path) -> list[str]:
    """What the app's readers make of a run; to be called in a process of its own."""
    from app import data, data_classes, data_failures, data_pictures
    from workbench.errors import RunError
    from workbench.runs import RunDirectory

    if not data.is_run(str(run)):
        shown = [path.name for path in visible(run)] if run.is_dir() else []
        return [f"no run, but there is {name}" for name in shown]
    try:
        RunDirectory.open(run)
    except RunError as error:
        return [f"does not open: {error}"]
    path, found = str(run), []
    if [info.name for info in data.runs(run.parent).shown] != [run.name]:
        found.append("the list of runs lacks it")
    for read_any in (data.status, data.config, data.metrics, data.projection, data.class_points):
        read_any(path)
    data_classes.model_classes(path)
    data_classes.why_not(path)
    if data_pictures.has_model(path) and data.model(path) is None:
        found.append("its checkpoint cannot be loaded")
    for split in data.splits(path):
        readers: dict[str, Callable[[str, str], object]] = {
            "summary": data.summary,
            "per_class": data.per_class,
            "per_image_class": data.per_image_class,
            "confusions": data.confusions,
            "failures": data_failures.overview,
        }
        found += [
            f"{split}: no {name}" for name, read in readers.items() if read(path, split) is None
        ]
        ids = data.samples(path, split)
        found += [
            f"{split}: no picture {one}" for one in ids if data.sample(path, split, one) is None
        ]
    return found


def digest(content: bytes) -> str:
    """A short text that differs where contents do."""
    return hashlib.sha256(content).hexdigest()[:16]


def files(folder: Path, *patterns: str) -> dict[str, str]:
    """Digests of the files that fit a pattern."""
    return {
        path.relative_to(folder).as_posix(): digest(path.read_bytes())
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if not path.name.startswith(".")
    }


def differences(expected: dict[str, str], result: dict[str, str]) -> list[str]:
    """What is not as it is without a fault, a few of it."""
    names = sorted({**expected, **result})
    differ = [name for name in names if expected.get(name) != result.get(name)]
    return [f"{name} is not what it is undisturbed" for name in differ[:3]]


def stamps(paths: list[Path]) -> dict[str, int]:
    """When each was last written."""
    return {str(path): path.stat().st_mtime_ns for path in paths if path.exists()}


def redone(before: dict[str, int]) -> list[str]:
    """Which of them have been written again or removed since."""
    found = []
    for name, stamp in before.items():
        path = Path(name)
        if not path.exists():
            found.append(f"{path.name} is gone")
        elif path.stat().st_mtime_ns != stamp:
            found.append(f"{path.name} was made again")
    return found
