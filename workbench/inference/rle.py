"""Label maps as COCO's run lengths: a text for each class of a picture.

Written here and not with pycocotools, which wants a map of the whole picture for every class.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

_PIXELS_AT_ONCE: Final = 2**22
_DIGITS: Final = 13  # of five bits each: 64 bits


class Segment(NamedTuple):
    """All pixels of one class.

    Attributes:
        class_id: The class.
        counts: COCO's compressed run lengths, from the top left down the columns.
        area: Number of pixels.
        box: Left, top, width, height.
    """

    class_id: int
    counts: str
    area: int
    box: tuple[int, int, int, int]


def segments_of(labels: npt.NDArray[np.integer]) -> list[Segment]:
    """The segments of a label map (H, W) without negative numbers, by class id."""
    height, width = labels.shape
    starts, classes = _runs(labels)
    lengths = np.diff(starts, append=height * width)
    order = np.argsort(classes, kind="stable")
    starts, lengths, classes = starts[order], lengths[order], classes[order]
    first = np.flatnonzero(np.diff(classes, prepend=-1))
    segments = []
    for begin, end in zip(first, [*first[1:], len(classes)], strict=True):
        runs, sizes = starts[begin:end], lengths[begin:end]
        segments.append(
            Segment(
                int(classes[begin]),
                compress(_counts(runs, sizes, height * width)),
                int(sizes.sum()),
                _box(runs, sizes, height),
            )
        )
    return segments


def _runs(
    labels: npt.NDArray[np.integer],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where runs of one class begin down the columns, and the class of each."""
    height, width = labels.shape
    columns = max(1, _PIXELS_AT_ONCE // height)
    starts, classes, before = [], [], -1
    for left in range(0, width, columns):
        flat = labels[:, left : left + columns].T.ravel().astype(np.int64)
        at = np.flatnonzero(np.diff(flat, prepend=before))
        starts.append(at + left * height)
        classes.append(flat[at])
        before = int(flat[-1])
    return np.concatenate(starts), np.concatenate(classes)


def _counts(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], total: int
) -> npt.NDArray[np.int64]:
    """Pixels outside and inside by turns, beginning outside."""
    ends = starts + lengths
    counts = np.empty(2 * len(starts), dtype=np.int64)
    counts[0::2] = starts - np.concatenate([[0], ends[:-1]])
    counts[1::2] = lengths
    return counts if ends[-1] == total else np.append(counts, total - ends[-1])


def compress(counts: npt.NDArray[np.int64]) -> str:
    """COCO's text of run lengths: differences to the last but one, in digits of five bits."""
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    digits = np.zeros((len(rest), _DIGITS), dtype=np.uint8)
    used = np.zeros((len(rest), _DIGITS), dtype=np.bool_)
    going = np.ones(len(rest), dtype=np.bool_)
    for place in range(_DIGITS):
        digit = rest & 0x1F
        rest >>= 5
        used[:, place] = going
        # Done when what is left is only the sign, which the digit's highest bit repeats.
        going &= rest != np.where(digit & 0x10, -1, 0)
        digits[:, place] = digit | np.where(going, 0x20, 0)
        if not going.any():
            break
    return (digits[used] + 48).tobytes().decode("ascii")


def _box(
    starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], height: int
) -> tuple[int, int, int, int]:
    left, top = np.divmod(starts, height)
    right, bottom = np.divmod(starts + lengths - 1, height)
    # A run over the foot of a column goes on at the head of the next.
    whole = bool((right > left).any())
    above = 0 if whole else int(top.min())
    below = height - 1 if whole else int(bottom.max())
    return int(left.min()), above, int(right.max() - left.min()) + 1, below - above + 1
