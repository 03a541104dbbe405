"""One evaluation by several processes: each scores some images, their counts add up exactly."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from workbench import processes
from workbench.evaluation.evaluate import Evaluator, Tally


def shares(total: int, first: Collection[int], world: int) -> list[list[int]]:
    """Which process scores which images: each image one, in order, about equally many.

    Args:
        total: Images.
        first: Those that process 0 has to score, however many (it alone writes pictures).
        world: Processes.

    Returns:
        The places 0..total-1 of each process.
    """
    wanted = set(first)
    rest = [place for place in range(total) if place not in wanted]
    missing = max(0, -(-total // world) - len(wanted)) if world > 1 else len(rest)
    own = sorted([*wanted, *rest[:missing]])
    return [own, *(rest[missing + rank :: world - 1] for rank in range(world - 1))]


def combine(evaluator: Evaluator, places: Sequence[int]) -> None:
    """Gives this process's evaluator what those of all processes have counted.

    All must call it. The result is the same in all of them, and the one that a single process
    would have come to.

    Args:
        evaluator: With one image for each of ``places``.
        places: Where this process's images stand among all images.
    """
    if processes.world() == 1:
        return
    parts = [_read(part) for part in processes.all_gather(_write(evaluator.tally(), places))]
    evaluator.take([tally for tally, _ in parts], [own for _, own in parts])


def _write(tally: Tally, places: Sequence[int]) -> bytes:
    file = io.BytesIO()
    arrays = {name: value for name, value in tally._asdict().items() if name != "image_ids"}
    ids = np.frombuffer(json.dumps(tally.image_ids).encode("utf-8"), dtype=np.uint8)
    np.savez(file, allow_pickle=False, image_ids=ids, places=np.array(places, np.int64), **arrays)
    return file.getvalue()


def _read(part: bytes) -> tuple[Tally, NDArray[np.int64]]:
    with np.load(io.BytesIO(part), allow_pickle=False) as file:
        arrays = dict(file)
    ids = json.loads(arrays.pop("image_ids").tobytes())
    places = arrays.pop("places")
    return Tally(image_ids=ids, **arrays), places
