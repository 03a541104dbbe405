"""Decoding the next pictures while one is being segmented."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from workbench.datasets.pictures import picture_pixels, read_picture, to_pixels
from workbench.errors import DataError
from workbench.inference.picture_paths import Picture

_AHEAD: Final = 2
_NOTHING: Final = np.zeros((0, 0, 3), dtype=np.uint8)


class ReadPicture(NamedTuple):
    """A decoded picture, and its file as it was just before.

    Attributes:
        pixels: (H, W, 3) RGB, may be written to.
        size: Bytes of the file.
        mtime_ns: When it was last changed.
    """

    pixels: npt.NDArray[np.uint8]
    size: int
    mtime_ns: int

    def without_pixels(self) -> Self:
        """What is left to remember when its pixels may go."""
        return self._replace(pixels=_NOTHING)


def read_ahead(
    pictures: Sequence[Picture], pool: ThreadPoolExecutor, *, limit: int
) -> Iterator[tuple[Picture, Future[ReadPicture]]]:
    """Gives pictures in order, while up to two of the next are being decoded.

    Args:
        pictures: To read.
        pool: Decodes.
        limit: Bytes that decoded pictures may take together; a single one may take more.

    Yields:
        A picture and its content; asking a damaged one for it raises DataError.
    """
    waiting: deque[tuple[Picture, int, Future[ReadPicture]]] = deque()
    rest = deque(pictures)
    size = None  # of the next
    while rest or waiting:
        while rest and len(waiting) <= _AHEAD:
            if size is None:
                size = 3 * picture_pixels(rest[0].path)
            if waiting and sum(held for _, held, _ in waiting) + size > limit:
                break
            picture = rest.popleft()
            waiting.append((picture, size, pool.submit(_read, picture)))
            size = None
        picture, _, future = waiting.popleft()
        yield picture, future


def _read(picture: Picture) -> ReadPicture:
    try:
        status = picture.path.stat()
    except OSError as error:
        raise DataError(f"{picture.path}: cannot be read ({error.strerror})") from error
    pixels = to_pixels(read_picture(picture.path))
    return ReadPicture(pixels, status.st_size, status.st_mtime_ns)
