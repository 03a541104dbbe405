"""One break at a time in a copy of the checkout, never in the tree itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from helpers.mutations.breaks import EVERYTHING, Break, broken, guards_of

COPIED = ("workbench", "app", "tests")
GOLDEN = "tests/trainers/test_golden.py"
LONGEST = 600
"""Seconds that tests may take with a break in place."""

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$", re.MULTILINE)


class Outcome(NamedTuple):
    """What became of a break.

    Attributes:
        test: The first test that failed, "" if all passed.
        seconds: From the start of pytest to its end.
        expected: Whether it is one of those that ought to notice.
        golden: Whether the golden curves of training move, too; None if not asked.
    """

    test: str
    seconds: float
    expected: bool
    golden: bool | None


class Copy:
    """A copy of the checkout in which sources are broken and mended again."""

    def __init__(self, repository: Path, place: Path) -> None:
        """Copies what tests need.

        Args:
            repository: Root of the checkout.
            place: An empty folder.
        """
        self.root = place
        self._changed = int(time.time())
        skipped = shutil.ignore_patterns("*.pyc")  # compiled kernels lie there, too: kept
        for name in COPIED:
            shutil.copytree(repository / name, place / name, ignore=skipped)
        shutil.copy(repository / "pyproject.toml", place)

    def pytest(self, tests: Sequence[str]) -> tuple[str, float]:
        """Runs tests until one fails.

        Returns:
            The name of the test that failed, "" if all passed, and the seconds.

        Raises:
            RuntimeError: Pytest did not come to a verdict: no test, no import, no end.
        """
        flags = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not browser"]
        began = time.perf_counter()
        done = self._python("-m", "pytest", *flags, *tests)
        seconds = time.perf_counter() - began
        failed = _FAILED.search(done.stdout)
        if done.returncode == 1 and failed is not None:
            return failed.group(1), seconds
        if done.returncode == 0:
            return "", seconds
        raise RuntimeError(f"pytest {' '.join(tests)}: {(done.stdout + done.stderr)[-2000:]}")

    def is_used(self) -> bool:
        """Whether tests in the copy import the copy, not what is installed."""
        done = self._python("-c", "import workbench; print(workbench.__file__)")
        return done.stdout.strip() == str(self.root / "workbench" / "__init__.py")

    def try_break(self, one: Break, *, golden: bool = False) -> Outcome:
        """Breaks a file, runs its tests, then all of losses and evaluation if they pass; mends.

        Args:
            one: What to break.
            golden: Whether to look at the golden curves of training afterwards.
        """
        path = self.root / one.path
        whole = path.read_text("utf-8")
        self._write(path, broken(whole, one))
        try:
            test, seconds = self.pytest(guards_of(one.path))
            expected = bool(test)
            if not test:
                test, more = self.pytest(EVERYTHING)
                seconds += more
            moved = bool(self.pytest([GOLDEN])[0]) if golden else None
            return Outcome(test, round(seconds, 1), expected, moved)
        finally:
            self._write(path, whole)

    def _write(self, path: Path, source: str) -> None:
        """Writes a source so that no bytecode of an earlier one of the same second is taken."""
        path.write_text(source, "utf-8")
        self._changed += 1
        os.utime(path, (self._changed, self._changed))

    def _python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        places = f"{self.root}{os.pathsep}{self.root / 'tests'}"
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": places},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST,
            check=False,
        )
