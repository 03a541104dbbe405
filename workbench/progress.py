"""One progress bar for all long work: count, rate and time left, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(
    iterable: Iterable[T],
    *,
    description: str,
    total: int | None = None,
    initial: int = 0,
    unit: str = "it",
    unit_scale: bool = False,
    shown: bool = True,
) -> tqdm[T]:
    """Wraps an iterable in a progress bar.

    Standard output stays free for results (``--json``). Where stderr is a file or a CI
    log, the bar is refreshed every 10 seconds instead of 10 times a second.

    Args:
        iterable: What to go through.
        description: What is being done, in a word or two.
        total: Number of items, if the iterable has no length.
        initial: Items already done (a resumed job).
        unit: What is counted, in the plural of a rate: "img", "step".
        unit_scale: Show thousands as k, M, G, for bytes.
        shown: Whether there is a bar; one process of several is enough to show it.

    Returns:
        The iterable; ``set_postfix`` shows further figures.
    """
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(
        iterable,
        desc=description,
        total=total,
        initial=initial,
        unit=unit,
        unit_scale=unit_scale,
        mininterval=interval,
        maxinterval=interval,
        dynamic_ncols=sys.stderr.isatty(),
        smoothing=0.05,
        disable=not shown,
    )


def say(text: str) -> None:
    """Writes a line to stderr, above the bars that are there."""
    tqdm.write(text, file=sys.stderr)
