"""Pictures of a generated evaluation: a few dozen scenes, worn by any number of images.

A scene is a division of the picture into wavy regions, with places that a model may get wrong.
An image gives the regions its own classes, so that truth and prediction of every image differ
and agree with the tables, while photos are shared (hard links) and masks cost a millisecond.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from workbench.runs import RunDirectory

HEIGHT, WIDTH = 480, 640  # LVIS's most frequent size
SCALE = 8
"""Scenes are made so many times smaller; every pixel of theirs is a square of the picture."""
LEVELS = 8
"""Steps of the share of a region that a model may get wrong."""
REGIONS = (5, 14)

Ids = npt.NDArray[np.int64]


class Scene(NamedTuple):
    """A division of a picture.

    Attributes:
        code: (h, w) index into the two lists below.
        region: (n,) region of the truth.
        taken: (n,) region of the prediction: another one near outlines.
        level: (n,) 0..LEVELS-1: is wrong in images whose region is wrong beyond this level.
        regions: How many regions there are.
    """

    code: Ids
    region: Ids
    taken: Ids
    level: Ids
    regions: int


def make_scene(rng: np.random.Generator) -> Scene:
    """Draws a scene; the same generator gives the same scenes."""
    height, width = HEIGHT // SCALE, WIDTH // SCALE
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for _ in range(3):
        wave, phase = rng.uniform(0.05, 0.2), rng.uniform(0, 7)
        x, y = x + 3 * np.sin(wave * y + phase), y + 3 * np.sin(wave * x + phase)
    regions = int(rng.integers(*REGIONS))
    seeds = rng.random((regions, 2)) * (width, height)
    distance = np.stack([np.hypot(x - left, y - top) for left, top in seeds])
    truth = distance.argmin(axis=0)
    taken = (distance + rng.normal(0, 1.2, (regions, 1, 1))).argmin(axis=0)
    spots = rng.random((6, 2)) * (width, height)
    rough = np.stack([np.hypot(x - left, y - top) for left, top in spots]).min(axis=0)
    level = np.argsort(np.argsort(rough.ravel())).reshape(rough.shape) * LEVELS // rough.size
    joint = (truth * regions + taken) * LEVELS + level
    values, code = np.unique(joint, return_inverse=True)
    pair = values // LEVELS
    return Scene(
        code.reshape(truth.shape).astype(np.int64),
        (pair // regions).astype(np.int64),
        (pair % regions).astype(np.int64),
        (values % LEVELS).astype(np.int64),
        regions,
    )


def paint(scene: Scene, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A photo of a scene, (HEIGHT, WIDTH, 3)."""
    colors = rng.integers(40, 220, (scene.regions, 3))
    small = colors[scene.region[scene.code]]
    large = enlarge(small) + rng.normal(0, 9, (HEIGHT, WIDTH, 1))
    return np.asarray(np.clip(large, 0, 255), dtype=np.uint8)


def enlarge(small: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """To the size of the picture."""
    return small.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def label(scene: Scene, classes: Ids, rivals: Ids, wrong: Ids) -> tuple[Ids, Ids]:
    """Truth and prediction of one image, in the size of the scene.

    Args:
        scene: Its division.
        classes: (regions,) class of each region.
        rivals: (regions,) class that the wrong part of each region is given.
        wrong: (regions,) 0..LEVELS, how much of each is wrong.
    """
    truth = classes[scene.region]
    is_wrong = (scene.region == scene.taken) & (scene.level < wrong[scene.region])
    prediction = np.where(is_wrong, rivals[scene.region], classes[scene.taken])
    return truth[scene.code], prediction[scene.code]


def encode_mask(small: Ids) -> bytes:
    """A 16-bit PNG of the enlarged mask, five times quicker than Pillow makes it."""
    rows = small.astype(">u2").repeat(SCALE, axis=1).view(np.uint8).reshape(len(small), -1)
    filtered = np.zeros((len(small), SCALE, 1 + rows.shape[1]), dtype=np.uint8)
    filtered[:, 0, 1:] = rows
    filtered[:, 1:, 0] = 2  # the same as the row above
    size = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 0, 0, 0, 0)
    parts = (size, zlib.compress(filtered.tobytes(), 1), b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in zip((b"IHDR", b"IDAT", b"IEND"), parts, strict=True)
    )


class PictureWriter:
    """Keeps many pictures in a run: the first of each scene by the run, the others beside it.

    Args:
        run: Its pictures go to the split "val".
        scenes: All there are.
        rng: Of the photos' colours.
    """

    def __init__(
        self, run: RunDirectory, scenes: list[Scene], rng: np.random.Generator, split: str = "val"
    ) -> None:
        self.run, self.scenes, self.split = run, scenes, split
        self._rng = rng
        self._first: dict[int, str] = {}
        self._folders: tuple[Path, Path, Path] | None = None

    def save(self, image_id: str, number: int, truth: Ids, prediction: Ids) -> None:
        """Keeps one image.

        Args:
            image_id: Digits.
            number: Of its scene.
            truth: In the size of the scene, as `label` gives it.
            prediction: The same.
        """
        first = self._first.get(number)
        if first is None or self._folders is None:
            photo = paint(self.scenes[number], self._rng)
            large = (enlarge(truth), enlarge(prediction))
            self.run.save_sample(self.split, image_id, photo, *large)
            self._first[number] = image_id
            self._folders = self._folders or self._find(image_id)
            return
        photos, truths, predictions = self._folders
        os.link(photos / f"{first}.jpg", photos / f"{image_id}.jpg")
        (truths / f"{image_id}.png").write_bytes(encode_mask(truth))
        (predictions / f"{image_id}.png").write_bytes(encode_mask(prediction))

    def _find(self, image_id: str) -> tuple[Path, Path, Path]:
        """Where the run keeps photos, truths and predictions."""
        photo = next(self.run.path.rglob(f"{image_id}.jpg")).parent
        masks = {path.parent for path in self.run.path.rglob(f"{image_id}.png")}
        truth = next(folder for folder in masks if folder.name.startswith("truth"))
        return photo, truth, next(iter(masks - {truth}))
