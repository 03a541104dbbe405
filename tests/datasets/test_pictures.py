"""Pictures that people hand in; more kinds are in tests/inference/test_awkward_pictures.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.datasets.pictures import read_picture, to_pixels


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_a_picture_with_broken_exif_data_is_still_a_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"odd{suffix}"
    pixels = np.full((5, 9, 3), 200, dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=b"Exif\0\0II*\0\x08")
    assert np.abs(np.asarray(read_picture(path)).astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("size", [(1, 1), (3, 255), (2, 256), (5, 700)])
def test_pixels_come_in_parts_and_are_all_there(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    found = to_pixels(Image.fromarray(pixels))
    assert np.array_equal(found, pixels)
    found[:] = 0  # its own
