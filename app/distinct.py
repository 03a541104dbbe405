"""Colours of the classes in one picture, shifted where two could not be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from workbench.colors import MISSING, to_rgb
from workbench.vocabulary import oklab, palette

APART = 0.1
"""Least distance in OKLab; about five times what the eye just sees on even patches."""

_CANDIDATES = 768


def distinct_colors(colors: Sequence[str], apart: float = APART) -> list[str]:
    """Colours that stay apart from one another and from the grey of ignored pixels.

    Args:
        colors: "#rrggbb" of the classes in view, the most important first: earlier ones keep
            theirs, a later one too near to them moves to the nearest colour that is free.
        apart: Least distance in OKLab.

    Returns:
        As many colours; where so many have no room, the later ones lie as far apart as they can.
    """
    spare, places = _spare()
    taken = np.concatenate([lab([MISSING]), np.empty((len(colors), 3))])
    gap = np.linalg.norm(places - taken[0], axis=1)  # of each spare colour to all taken so far
    result = []
    for count, (color, own) in enumerate(zip(colors, lab(colors), strict=True), start=1):
        chosen, place = color, own
        if np.linalg.norm(taken[:count] - own, axis=1).min() < apart:
            free = gap >= apart
            if free.any():
                at = int(np.where(free, np.linalg.norm(places - own, axis=1), np.inf).argmin())
            else:
                at = int(gap.argmax())
            chosen, place = spare[at], places[at]
        taken[count] = place
        gap = np.minimum(gap, np.linalg.norm(places - place, axis=1))
        result.append(chosen)
    return result


def lab(colors: Sequence[str]) -> npt.NDArray[np.float64]:
    """OKLab (N, 3) of "#rrggbb" colours: Euclidean distance there is what the eye sees."""
    return oklab(to_rgb(colors) / 255.0)


@lru_cache(maxsize=1)
def _spare() -> tuple[list[str], npt.NDArray[np.float64]]:
    spare = palette(_CANDIDATES)
    return spare, lab(spare)
