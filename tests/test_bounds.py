"""What ``make test-minimum`` pins and what it keeps of the tests' results."""

from __future__ import annotations

import json
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


def test_a_row_takes_the_place_of_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(RESULTS)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"name": "minimum"}, {"name": "newest"}]))
    assert not record("minimum", tmp_path / "results.xml", file, tmp_path / "pyproject.toml")
    rows = json.loads(file.read_text())
    assert [row["name"] for row in rows] == ["minimum", "newest"]
    assert rows[0]["passed"] == 2 and set(rows[0]["versions"]) == {"numpy", "onnx", "onnxruntime"}
