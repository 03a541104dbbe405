"""COCO-Stuff 10K's twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from workbench.datasets.twins.drawing import picture, rectangles
from workbench.datasets.twins.scene import Painter
from workbench.vocabulary import load_table, palette

_IDS = (0, 1, 62, 106, 182)


def write(
    out: Path,
    rng: np.random.Generator,
    images: int,
    size: tuple[int, int],
    paint: Painter | None = None,
) -> None:
    """Label maps in .mat files with all official variables; photos of both splits together."""
    for folder in ("images", "annotations", "imageLists"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    names = load_table("coco-stuff10k")["name"].tolist()
    colors = np.zeros((256, 3), np.uint8)
    colors[1:183] = [tuple(bytes.fromhex(color[1:])) for color in palette(182)]
    lists: dict[str, list[str]] = {"train": [], "test": []}
    for split, first in (("train", 1), ("test", images + 1)):
        for number in range(first, first + images):
            if paint is None:
                mask = rectangles(rng, size, background=int(rng.choice([124, 157])), ids=_IDS)
                photo = picture(rng, mask, colors)
            else:
                photo, mask = paint(rng, size)
            name = f"COCO_train2014_{number:012d}"
            photo.save(out / "images" / f"{name}.jpg", quality=90)
            # One superpixel per stuff id; things were drawn over them.
            stuff = np.where(mask > 91, mask, 0).astype(np.uint8)
            labels, regions = np.unique(stuff, return_inverse=True)
            variables = {
                "S": mask,
                "names": _cells(names),
                "captions": _cells([f"Generated scene {number}."]),
                "regionMapStuff": (regions.reshape(size) + 1).astype(np.uint16),
                "regionLabelsStuff": labels[:, None],
            }
            _write_mat(out / "annotations" / f"{name}.mat", variables)
            lists[split].append(name)
    lists["all"] = lists["train"] + lists["test"]
    for split, listed in lists.items():
        path = out / "imageLists" / f"{split}.txt"
        path.write_text("".join(f"{name}\n" for name in listed), encoding="utf-8")


def _cells(texts: list[str]) -> np.ndarray[Any, Any]:
    """A MATLAB cell array (N, 1) of strings."""
    cells = np.empty((len(texts), 1), dtype=object)
    cells[:, 0] = texts
    return cells


def _write_mat(path: Path, variables: dict[str, Any]) -> None:
    """A MATLAB file without the date that scipy writes into its first 116 bytes."""
    savemat(str(path), variables, do_compression=True)
    with path.open("r+b") as file:
        file.write(b"MATLAB 5.0 MAT-file".ljust(116))
