"""How often, and in which pieces, a network looks at a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from workbench.errors import ConfigError
from workbench.inference.tiles import ALIGN, Tiling


@dataclass(frozen=True)
class Views:
    """What is asked for beyond one look at the whole picture.

    Attributes:
        scales: Factors at which the network looks; answers are averaged.
        flip: Whether it looks at each of them mirrored, too.
        tiling: How pictures are cut; None takes each in one piece.
    """

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    tiling: Tiling | None = None

    def described(self) -> dict[str, Any]:
        """For a summary; empty for one look at the whole picture."""
        said: dict[str, Any] = {}
        if self.scales != (1.0,) or self.flip:
            said |= {"scales": list(self.scales), "flip": self.flip}
        if self.tiling is not None:
            said |= {"tile": self.tiling.tile, "overlap": self.tiling.overlap}
        return said


def sliding(crop: int, *, tile: int | None = None, overlap: int | None = None) -> Tiling:
    """Windows of the size a network was trained with, whatever the size of a picture.

    Args:
        crop: Side of the training's crops in pixels.
        tile: Takes the place of the crop rounded up to a multiple of 32.
        overlap: Of neighbours; a third of a tile if None.

    Raises:
        ConfigError: As for ``Tiling``.
    """
    side = tile if tile is not None else max(2 * ALIGN, math.ceil(crop / ALIGN) * ALIGN)
    shared = overlap if overlap is not None else max(ALIGN, side // 3)
    return Tiling(tile=side, overlap=shared, whole=0)


def parse_scales(text: str) -> tuple[float, ...]:
    """Factors as typed, ``0.5,1,1.5``.

    Raises:
        ConfigError: They are no numbers.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"--scales: numbers with commas, as 0.5,1,1.5; got {text!r}") from error
