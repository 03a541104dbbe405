"""The few numbers every layer must agree on."""

from __future__ import annotations

from typing import Final

IGNORE_INDEX: Final = -100
"""Label of a pixel without a class, in int64 tensors and arrays (torch's own default)."""

IGNORE_ON_DISK: Final = 65535
"""The same label in 16-bit mask files, which cannot hold negative numbers."""
