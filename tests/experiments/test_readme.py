"""The README's table of what was measured says what the rows say."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import DataError
from workbench.experiments.readme import BEGIN, END, main, put_between_marks, render_measured

GIB = 2**30


def cell(method: str, seed: int, miou: float, memory: int = GIB // 2) -> dict[str, Any]:
    row = {"experiment": "budgets", "method": method, "classes": 1284, "memory": memory}
    return {**row, "length": "time", "seed": seed, "test": {"miou": miou}}


def step(method: str, classes: int, peak: int, seconds: float) -> dict[str, Any]:
    return {
        **{"method": method, "classes": classes, "peak_bytes": peak, "seconds": seconds},
        "sampled": False,
    }


def test_figures_are_those_of_the_rows() -> None:
    rows = [step("dense", 21, 1000, 1.0), step("dense", 1284, 9000, 6.0)]
    costs = {
        "step": [*rows, step("streaming", 1284, 1010, 1.5)],
        "app": [
            {"condition": "warm", "seconds": 0.5, "images": 19_809},
            {"condition": "warm", "seconds": 0.25, "images": 19_809},
            {"condition": "cold", "seconds": 3.0, "images": 19_809},
        ],
        "reliability/faults": [
            {"fault": "kill", "kills": {"clock": 4, "byte": 3}, "losses": ["x"]},
            {"fault": "disk full", "trials": 4, "losses": ["y", "z"]},
        ],
        "reliability/fuzz": [{"cases": 1500, "findings": [{"cases": 2}]}],
    }
    cells = [cell("ours", 0, 0.25), cell("ours", 1, 0.27), cell("nearest", 0, 0.0048)]
    cells += [{**cell("ours-adjusted", 0, 0.3), "experiment": "factors"}]
    cells += [cell("dense", 0, 0.044), cell("dense", 0, 0.9, memory=6 * GIB)]
    table = render_measured(costs, cells)
    assert "a dense head at 21 | streaming **1.01** |" in table
    assert "dense head / embedding | streaming **4.00** |" in table
    scores = "exact loss **0.26** (2 seeds), dense head **0.044** (1 seed), the paper's"
    assert scores in table and "**0.0048** (1 seed)" in table
    assert "adjusted logits (`default`) **0.30** (1 seed), exact" in table
    assert "19,809 images | **0.25 to 0.50 s** |" in table
    assert "taken up again | **7**, 1 lost |" in table
    assert "| **1,500**, 2 that crashed" in table


def test_what_was_not_measured_is_left_out() -> None:
    assert render_measured({}, []).count("\n") == 2


def test_only_the_place_between_the_marks_changes() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    new = put_between_marks(text, "| new |\n")
    assert new == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"
    assert put_between_marks(new, "| new |\n") == new
    for broken in ("no marks", f"{END} {BEGIN}", text + BEGIN, text + END):
        with pytest.raises(DataError, match=r"README\.md: expected one"):
            put_between_marks(broken, "")


def test_the_readme_has_the_table_of_the_committed_rows(repository: Path, tmp_path: Path) -> None:
    shutil.copy(repository / "README.md", tmp_path / "README.md")
    main(repository / "benchmarks", tmp_path / "README.md")
    text = (repository / "README.md").read_text("utf-8")
    assert (tmp_path / "README.md").read_text("utf-8") == text
    table = text.partition(BEGIN)[2].partition(END)[0]
    assert len(re.findall(r"\*\*[\d.,]+", table)) >= 6
