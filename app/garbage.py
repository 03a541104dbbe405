"""Python's search for dead objects, kept away from those that live as long as the server.

Streamlit searches everything after each run, and the browser hears of the run's end only
afterwards: every click waits for it, the longer the more libraries are loaded. Modules and
what hangs on them never die; set aside, little is left to search.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 50
"""Modules that are worth another look; a library brings hundreds."""

_known = 0
atexit.register(gc.unfreeze)  # or libraries complain that their objects outlive them


def set_aside() -> None:
    """Takes all that lives now out of later searches, if modules were loaded meanwhile."""
    global _known
    if len(sys.modules) - _known >= _MANY:
        gc.collect()
        gc.freeze()
        _known = len(sys.modules)


@contextmanager
def paused() -> Iterator[None]:
    """Without searches while modules load: they make many objects, and none dies."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
