"""What ``make test-minimum`` pins and what it keeps of the tests' results."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest
from helpers.bounds import oldest, outcome, record

PROJECT = """
[project]
dependencies = ["numpy>=2.1,<3", "onnx>=1.20,<2"]
[project.optional-dependencies]
export = ["onnx>=1.20,<2", "onnxruntime>=1.24.1,<2; platform_system == 'Linux'"]
test = ["pytest>=9,<10"]
"""
RESULTS = """<?xml version="1.0"?><testsuites><testsuite name="pytest" tests="5" errors="1"
failures="1" skipped="1"><testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><failure message="x"/></testcase>
<testcase classname="tests.b" name="three"><error message="x"/></testcase>
<testcase classname="tests.b" name="four"><skipped/></testcase>
<testcase classname="tests.b" name="five"/></testsuite></testsuites>"""


def test_the_oldest_versions_are_the_lower_bounds_of_what_users_install() -> None:
    assert oldest(PROJECT) == ["numpy==2.1", "onnx==1.20", "onnxruntime==1.24.1"]


@pytest.mark.parametrize("wrong", ["onnx>=1.19,<2", "onnx<2"])
def test_bounds_that_say_two_things_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="one lower bound"):
        oldest(PROJECT.replace("onnx>=1.20,<2", wrong, 1))


def test_results_are_counted_and_failures_named() -> None:
    assert outcome(RESULTS) == {
        "passed": 2,
        "skipped": 1,
        "failed": ["tests.a::two", "tests.b::three"],
    }


def test_a_row_takes_the_place_of_the_one_of_the_same_name_and_python(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(RESULTS)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    file = tmp_path / "rows.json"
    here = platform.python_version()
    there = [("minimum", here), ("minimum", "3.9.9"), ("newest", here)]
    file.write_text(json.dumps([{"name": name, "python": python} for name, python in there]))
    assert not record("minimum", tmp_path / "results.xml", file, tmp_path / "pyproject.toml")
    rows = json.loads(file.read_text())
    assert [(row["name"], row["python"]) for row in rows] == [there[1], there[0], there[2]]
    assert rows[1]["passed"] == 2 and set(rows[1]["versions"]) == {"numpy", "onnx", "onnxruntime"}
