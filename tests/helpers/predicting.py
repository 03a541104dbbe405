"""What tests of `workbench predict` share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def draw(path: Path, seed: int = 0, size: tuple[int, int] = (24, 40)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def draw_three(folder: Path) -> Path:
    """Three pictures, one of them below."""
    for seed, name in enumerate(("a.png", "b.JPG", "sub/a.png")):
        draw(folder / name, seed)
    return folder


def told(done: Any, code: int = 0) -> dict[str, Any]:
    assert done.returncode == code, done.stderr
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def made(values: dict[str, Any], out: Path) -> list[str]:
    return [Path(path).relative_to(out).as_posix() for path in values["masks"]]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        return np.asarray(file)
