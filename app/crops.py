"""Small pictures of where a class goes wrong; no Streamlit, all tested.

A crop shows three panels of the same spot: the picture; the pixels that are the class in the
truth; and what the prediction makes of them. Its colours mean right and wrong, not classes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Ids = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Rgb = tuple[int, int, int]

FOUND: Final[Rgb] = (43, 138, 206)
MISSED: Final[Rgb] = (214, 48, 92)
TAKEN: Final[Rgb] = (242, 163, 58)
"""The class's pixels that are predicted right, those lost to others, those of others."""

PANEL: Final = 200
_GAP = 4
_BETWEEN: Final[Rgb] = (128, 134, 145)  # goes with light and with dark paper
_LEAST = 24  # pixels of the picture that a crop shows at least, each way
_STRAY = 2.0  # percent of the wrong pixels on each side that may fall out of the crop


class Box(NamedTuple):
    """Part of a picture: left and top within it, right and bottom just outside."""

    left: int
    top: int
    right: int
    bottom: int


class Tally(NamedTuple):
    """What became of a class in one picture, in pixels.

    Attributes:
        found: In truth and prediction.
        missed: In the truth only.
        taken: In the prediction only, on labelled pixels.
        lost_to: The class most of the missed ones were given; -1 if none.
        taken_from: The class most of the taken ones belong to; -1 if none.
    """

    found: int
    missed: int
    taken: int
    lost_to: int
    taken_from: int


def tally(truth: Ids, prediction: Ids, class_id: int) -> Tally:
    """Counts one class in one picture; negative ids are no class, and do not count in truth."""
    own, given = truth == class_id, prediction == class_id
    missed, taken = own & ~given, given & ~own & (truth >= 0)
    return Tally(
        int((own & given).sum()),
        int(missed.sum()),
        int(taken.sum()),
        _most(prediction[missed]),
        _most(truth[taken]),
    )


def _most(ids: Ids) -> int:
    ids = ids[ids >= 0]
    return int(np.bincount(ids).argmax()) if len(ids) else -1


def crop_box(truth: Ids, prediction: Ids, class_id: int) -> Box:
    """The square that holds a class's wrong pixels, with some of what is around them.

    Args:
        truth: (H, W) train ids, negative = ignored.
        prediction: (H, W) train ids.
        class_id: The class; where it is nowhere wrong, its right pixels are shown, and where it
            is not at all, the whole picture.

    Returns:
        The box; a square unless the picture is too small for it. A few stray pixels far from
        the others may be left out.
    """
    high, wide = truth.shape
    own, given = truth == class_id, (prediction == class_id) & (truth >= 0)
    marked = own ^ given
    if not marked.any():
        marked = own & given
    rows, columns = np.nonzero(marked)
    if not len(rows):
        return Box(0, 0, wide, high)
    ends = [_STRAY, 100 - _STRAY]
    top, bottom = np.percentile(rows, ends)
    left, right = np.percentile(columns, ends)
    side = max(_LEAST, int(1.5 * (max(bottom - top, right - left) + 1)))
    x, tall = _place((left + right) / 2, side, wide)
    y, long = _place((top + bottom) / 2, side, high)
    return Box(x, y, x + tall, y + long)


def _place(centre: float, side: int, limit: int) -> tuple[int, int]:
    """Where a stretch of a length begins within 0..limit, and the length that fits."""
    length = min(side, limit)
    return int(np.clip(round(centre - length / 2), 0, limit - length)), length


def render(
    image: Image.Image, truth: Ids, prediction: Ids, class_id: int, *, panel: int = PANEL
) -> Image.Image:
    """Draws picture, truth and prediction of the worst spot side by side.

    Args:
        image: RGB picture, (W, H).
        truth: (H, W) train ids, negative = ignored.
        prediction: (H, W) train ids.
        class_id: The class; its outline in the truth is drawn on all panels.
        panel: Longer side of a panel in pixels.

    Returns:
        RGB picture, three panels in a row with grey lines between them.
    """
    box = crop_box(truth, prediction, class_id)
    part = (slice(box.top, box.bottom), slice(box.left, box.right))
    scale = panel / max(box.right - box.left, box.bottom - box.top)
    size = (
        max(1, round(scale * (box.right - box.left))),
        max(1, round(scale * (box.bottom - box.top))),
    )
    plain = np.asarray(image.convert("RGB").crop(box).resize(size, Image.Resampling.BICUBIC))
    own = truth[part] == class_id
    given = (prediction[part] == class_id) & (truth[part] >= 0)
    grey = np.asarray(Image.fromarray(plain).convert("L"), dtype=np.float64)
    faint = np.repeat((0.55 * grey + 0.25 * 255)[..., None], 3, axis=2)
    wanted = _paint(faint, [(own, FOUND)], size)
    made = _paint(
        faint, [(own & given, FOUND), (own & ~given, MISSED), (given & ~own, TAKEN)], size
    )
    outline = _outline(_enlarge(own, size))
    panels = [plain.copy(), wanted, made]
    canvas = np.full((size[1], 3 * size[0] + 2 * _GAP, 3), _BETWEEN, dtype=np.uint8)
    for index, drawn in enumerate(panels):
        drawn[outline] = 255
        at = index * (size[0] + _GAP)
        canvas[:, at : at + size[0]] = drawn
    return Image.fromarray(canvas)


def _enlarge(mask: Mask, size: tuple[int, int]) -> Mask:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST)) > 0


def _paint(
    base: npt.NDArray[np.float64], layers: list[tuple[Mask, Rgb]], size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    drawn = base.copy()
    for mask, color in layers:
        where = _enlarge(mask, size)
        drawn[where] = 0.3 * drawn[where] + 0.7 * np.array(color)
    return drawn.astype(np.uint8)


def _outline(mask: Mask) -> Mask:
    """The pixels of a mask that touch what is outside of it; the picture's edge does not count."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return mask & ~inner
