"""What Streamlit's search for dead objects is kept away from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import gc, sys
from app import garbage
garbage.set_aside()
first = gc.get_freeze_count()
garbage.set_aside()
assert gc.get_freeze_count() <= first, "nothing was loaded: nothing more is set aside"
with garbage.paused():
    assert not gc.isenabled()
    import pandas
assert gc.isenabled()
garbage.set_aside()
assert gc.get_freeze_count() > first + 10_000

class Node:
    pass
import weakref
node = Node()
node.itself = node
gone = weakref.ref(node)
del node
gc.collect()
assert gone() is None, "what was made later still dies"
print("well")
"""


def test_modules_are_set_aside_once_and_later_objects_still_die() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.split() == ["well"], done.stderr
