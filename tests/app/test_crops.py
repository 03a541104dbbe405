"""Crops of where a class goes wrong."""

from __future__ import annotations

import numpy as np
from PIL import Image

from app import crops
from workbench.constants import IGNORE_INDEX

HIGH, WIDE = 120, 200


def scene() -> tuple[np.ndarray, np.ndarray]:
    """A square of 1283 at (60..80, 140..160) that is predicted five columns too far left."""
    truth = np.zeros((HIGH, WIDE), np.int64)
    truth[60:80, 140:160] = 1283
    prediction = np.roll(truth, -5, axis=1)
    return truth, prediction


def test_tally_counts_the_whole_picture() -> None:
    truth, prediction = scene()
    prediction[60:80, 155:160] = 700
    truth[60:65, 135:140] = IGNORE_INDEX  # predicted there, but it counts for nobody
    assert crops.tally(truth, prediction, 1283) == (300, 100, 75, 700, 0)
    assert crops.tally(truth, prediction, 5) == (0, 0, 0, -1, -1)
    prediction[prediction == 700] = IGNORE_INDEX
    assert crops.tally(truth, prediction, 1283).lost_to == -1


def test_the_box_holds_the_wrong_pixels() -> None:
    truth, prediction = scene()
    box = crops.crop_box(truth, prediction, 1283)
    assert box.left <= 135 and box.right >= 160
    assert box.top <= 60 and box.bottom >= 80
    assert box.right - box.left == box.bottom - box.top < 60


def test_the_box_stays_within_the_picture() -> None:
    for y, x in ((0, 0), (0, WIDE - 1), (HIGH - 1, 0), (HIGH - 1, WIDE - 1)):
        truth = np.zeros((HIGH, WIDE), np.int64)
        truth[y, x] = 1283
        box = crops.crop_box(truth, np.zeros_like(truth), 1283)
        assert 0 <= box.left <= x < box.right <= WIDE
        assert 0 <= box.top <= y < box.bottom <= HIGH
        assert (box.right - box.left, box.bottom - box.top) == (24, 24)


def test_a_few_stray_pixels_do_not_blow_up_the_box() -> None:
    truth, prediction = scene()
    prediction[0, 0] = prediction[HIGH - 1, 3] = 1283
    box = crops.crop_box(truth, prediction, 1283)
    assert box.right - box.left < 60


def test_without_a_wrong_pixel_the_class_itself_is_shown() -> None:
    truth, _ = scene()
    box = crops.crop_box(truth, truth, 1283)
    assert box.left <= 140 and box.right >= 160
    assert crops.crop_box(truth, truth, 5) == (0, 0, WIDE, HIGH)


def test_three_panels_say_what_is_right_and_wrong() -> None:
    truth, prediction = scene()
    picture = Image.new("RGB", (WIDE, HIGH), (120, 120, 120))
    drawn = crops.render(picture, truth, prediction, 1283, panel=160)
    assert drawn.mode == "RGB" and drawn.size == (3 * 160 + 2 * 4, 160)
    pixels = np.asarray(drawn)

    box = crops.crop_box(truth, prediction, 1283)
    scale, shift = 160 / (box.right - box.left), (drawn.size[0] - 160) // 2

    def color(panel: int, x: int, y: int) -> np.ndarray:
        at = round((x + 0.5 - box.left) * scale), round((y + 0.5 - box.top) * scale)
        return pixels[at[1], panel * shift + at[0], :3].astype(int)

    def is_like(found: np.ndarray, wanted: tuple[int, int, int]) -> bool:
        every = np.array([crops.FOUND, crops.MISSED, crops.TAKEN, (120, 120, 120)])
        nearest = every[np.abs(every - found).sum(axis=1).argmin()]
        return tuple(nearest) == wanted

    assert is_like(color(0, 150, 70), (120, 120, 120))
    assert is_like(color(1, 150, 70), crops.FOUND)
    assert is_like(color(2, 150, 70), crops.FOUND)
    assert is_like(color(2, 157, 70), crops.MISSED)
    assert is_like(color(2, 137, 70), crops.TAKEN)
    assert is_like(color(2, 163, 70), (120, 120, 120))


def test_small_and_narrow_pictures() -> None:
    for high, wide in ((1, 1), (3, 90), (90, 3)):
        truth = np.full((high, wide), 1283)
        drawn = crops.render(
            Image.new("RGB", (wide, high)), truth, np.zeros_like(truth), 1283, panel=50
        )
        assert max(drawn.size[1], (drawn.size[0] - 8) // 3) == 50
