"""Learning rates as pure functions of the step."""

from __future__ import annotations

import math


def poly(
    step: int, steps: int, *, power: float, base: float, floor: float = 0.0, warmup: int = 0
) -> float:
    """The poly schedule of semantic segmentation, with an optional linear start.

    ``base * (1 - step / steps) ** power`` (Chen et al. 2018, DeepLab), never below ``floor``.

    Args:
        step: Steps already taken, 0..steps - 1.
        steps: Steps in all.
        power: Exponent; 0.9 is customary.
        base: Learning rate at the start.
        floor: Smallest learning rate, unless ``base`` is smaller.
        warmup: Steps over which the rate rises linearly.

    Returns:
        The learning rate of this step.

    Examples:
        >>> [round(poly(step, 100, power=0.9, base=0.01), 4) for step in (0, 50, 99)]
        [0.01, 0.0054, 0.0002]
    """
    value = base * math.pow(max(0.0, 1.0 - step / steps), power)
    if step < warmup:
        value *= (step + 1) / warmup
    return max(value, min(floor, base))
