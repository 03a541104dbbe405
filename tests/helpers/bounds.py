"""Do the tests pass with the oldest versions that ``pyproject.toml`` allows, and the newest?

``python tests/helpers/bounds.py oldest pyproject.toml`` writes pins of the oldest: only of what a
user installs, the tools that test it may be newer. It needs ``packaging`` and nothing else.

``python tests/helpers/bounds.py record NAME RESULTS FILE`` keeps what the tests said (JUnit XML)
and the versions they ran with as the row NAME of the rows in FILE. ``make test-minimum`` and
``make test-newest`` do both.
"""

from __future__ import annotations

import json
import platform
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from packaging.requirements import Requirement

TOOLS = ("test", "bench", "docs")


def requirements(pyproject: str) -> list[Requirement]:
    """What a user installs: dependencies and the extras that are not for developers.

    Args:
        pyproject: Text of its ``pyproject.toml``.
    """
    project = tomllib.loads(pyproject)["project"]
    texts = list(project["dependencies"])
    for extra, found in project["optional-dependencies"].items():
        texts += [] if extra in TOOLS else found
    return [Requirement(text) for text in texts]


def oldest(pyproject: str) -> list[str]:
    """Pins a project to the lower bound of each requirement.

    Args:
        pyproject: Text of its ``pyproject.toml``.

    Returns:
        Sorted ``name==version``.

    Raises:
        ValueError: A requirement has no lower bound, or two that differ.
    """
    pins: dict[str, str] = {}
    for requirement in requirements(pyproject):
        lower = [one.version for one in requirement.specifier if one.operator == ">="]
        if len(lower) != 1 or pins.setdefault(requirement.name, lower[0]) != lower[0]:
            raise ValueError(f"{requirement}: give one lower bound, the same everywhere")
    return sorted(f"{name}=={version}" for name, version in pins.items())


def outcome(results: str) -> dict[str, int | list[str]]:
    """Counts of a JUnit XML text, and the names of the tests that failed."""
    suites = ElementTree.fromstring(results).iter("testsuite")
    counts = {"tests": 0, "skipped": 0, "failures": 0, "errors": 0}
    failed: list[str] = []
    for suite in suites:
        for name in counts:
            counts[name] += int(suite.get(name, "0"))
        for case in suite.iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(f"{case.get('classname')}::{case.get('name')}")
    bad = counts["failures"] + counts["errors"]
    passed = counts["tests"] - counts["skipped"] - bad
    return {"passed": passed, "skipped": counts["skipped"], "failed": sorted(failed)}


def _which(row: dict[str, Any]) -> tuple[str, list[int]]:
    """What a row replaces: its name, and its Python without the last number."""
    return row["name"], [int(part) for part in row["python"].split(".")[:2]]


def record(name: str, results: Path, file: Path, pyproject: Path = Path("pyproject.toml")) -> bool:
    """Puts a row into a file of rows, in place of the earlier one of that name and Python.

    Returns:
        Whether all tests passed.
    """
    names = [requirement.name for requirement in requirements(pyproject.read_text("utf-8"))]
    row: dict[str, Any] = {
        "name": name,
        "python": platform.python_version(),
        **outcome(results.read_text("utf-8")),
        "versions": {one: metadata.version(one) for one in sorted(set(names))},
    }
    rows = json.loads(file.read_text("utf-8")) if file.exists() else []
    rows = sorted([*(one for one in rows if _which(one) != _which(row)), row], key=_which)
    from workbench.runs import write_json

    write_json(file, rows)
    return not row["failed"]


if __name__ == "__main__":
    if sys.argv[1] == "oldest":
        sys.stdout.write("\n".join(oldest(Path(sys.argv[2]).read_text("utf-8"))) + "\n")
    else:
        sys.exit(not record(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
