"""What a break is, how it is put into a source text, and which tests ought to see it."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Break(NamedTuple):
    """A small replacement that makes a number wrong.

    Attributes:
        what: The mistake, in words.
        path: The source file, below the root of the checkout.
        right: What stands there, exactly once in the file.
        wrong: What is put in its place.
    """

    what: str
    path: str
    right: str
    wrong: str


EVERYTHING = ("tests/losses", "tests/evaluation")
"""What is run where the tests of a file have not noticed, and for files without tests of theirs."""

TESTS = {
    "workbench/distances.py": ("tests/test_distances.py", "tests/losses/test_cross_entropy.py"),
    "workbench/losses/cross_entropy.py": (
        "tests/losses/test_cross_entropy.py",
        "tests/losses/test_options.py",
    ),
    "workbench/neighbours.py": ("tests/test_neighbours.py",),
    "workbench/kernels/reference.py": (
        "tests/test_distances.py",
        "tests/losses/test_cross_entropy.py",
        "tests/losses/test_options.py",
    ),
    "workbench/kernels/tiles.py": ("tests/kernels/test_cpu.py",),
    "workbench/kernels/cpu_loops.py": ("tests/kernels/test_cpu.py",),
    "workbench/kernels/gpu_stream.py": ("tests/kernels/test_gpu.py",),
    "workbench/kernels/gpu_tiles.py": ("tests/kernels/test_gpu.py",),
    "workbench/evaluation/evaluate.py": (
        "tests/evaluation/test_evaluate.py",
        "tests/evaluation/test_real_masks.py",
    ),
}
"""Of a source file, where the test file of its name is not all, or not there."""


def mirror(path: str) -> str:
    """The test file of a source file: workbench/losses/x.py -> tests/losses/test_x.py."""
    folder, _, name = path.removeprefix("workbench/").rpartition("/")
    return "/".join(part for part in ("tests", folder, f"test_{name}") if part)


def guards_of(path: str) -> tuple[str, ...]:
    """The tests that ought to notice a mistake in a source file."""
    return TESTS.get(path, (mirror(path),))


def broken(source: str, one: Break) -> str:
    """The source with the mistake in it.

    Raises:
        ValueError: What is to be replaced is not there exactly once: the list has rotted.
    """
    found = source.count(one.right)
    if found != 1:
        raise ValueError(f"{one.path}: {one.right!r} is there {found} times, not once")
    if one.right == one.wrong:
        raise ValueError(f"{one.path}: {one.right!r} is replaced by itself")
    return source.replace(one.right, one.wrong)


def rotten(breaks: Iterable[Break], root: Path) -> list[str]:
    """What is wrong with a list of breaks: nothing, if each applies and has its tests."""
    found = []
    for one in breaks:
        try:
            ast.parse(broken((root / one.path).read_text("utf-8"), one), one.path)
        except (OSError, ValueError, SyntaxError) as error:
            found.append(str(error))
        absent = [path for path in guards_of(one.path) if not (root / path).exists()]
        found += [f"{one.path}: its tests {path} are not there" for path in absent]
    return found
