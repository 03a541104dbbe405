"""Decoding ahead: in order, and no further than memory allows."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.predicting import draw

from workbench.errors import DataError
from workbench.inference.picture_paths import Picture
from workbench.inference.read_ahead import read_ahead


class CountingPool(ThreadPoolExecutor):
    submitted = 0

    def submit(self, *args: Any, **options: Any) -> Future[Any]:
        self.submitted += 1
        return super().submit(*args, **options)


@pytest.mark.parametrize(("limit", "ahead"), [(10**9, 2), (3 * 10 * 12 * 2, 1), (1, 0)])
def test_so_much_and_no_more_is_read_ahead(tmp_path: Path, limit: int, ahead: int) -> None:
    pictures = [
        Picture(draw(tmp_path / f"{number}.png", number, size=(10, 12)), str(number))
        for number in range(6)
    ]
    with CountingPool(2) as pool:
        for place, (picture, future) in enumerate(read_ahead(pictures, pool, limit=limit)):
            assert picture.stem == str(place)
            assert pool.submitted == min(6, place + 1 + ahead)
            assert future.result().pixels.shape == (10, 12, 3)
    assert place == 5


def test_a_torn_picture_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"torn")
    pictures = [Picture(tmp_path / "a.png", "a"), Picture(draw(tmp_path / "b.png"), "b")]
    with ThreadPoolExecutor(1) as pool:
        torn, whole = (future for _, future in read_ahead(pictures, pool, limit=1))
        with pytest.raises(DataError, match=r"a\.png: cannot be decoded"):
            torn.result()
        assert whole.result().pixels.shape == (24, 40, 3)


def test_a_picture_comes_with_the_state_of_its_file(tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png")
    with ThreadPoolExecutor(1) as pool:
        ((_, future),) = read_ahead([Picture(path, "a")], pool, limit=1)
        read = future.result()
    assert (read.size, read.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert read.pixels.flags.writeable and read.without_pixels().pixels.size == 0
    assert np.unique(read.pixels).size > 10
