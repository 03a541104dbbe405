"""What a dataset's layout consists of, as a table that can be checked and shown."""

from __future__ import annotations

from typing import NamedTuple


class Part(NamedTuple):
    """A kind of file that a layout has.

    Attributes:
        pattern: Glob relative to the dataset's own folder, "images/training/*.jpg"; "{a,b}"
            stands for either.
        what: What it is, in a word or two: "training photos".
        split: The split that needs it; "" where all do.
        full: Files in the complete published dataset; 0 where that is not fixed.
        optional: Whether the dataset is usable without it.
    """

    pattern: str
    what: str
    split: str = ""
    full: int = 0
    optional: bool = False
