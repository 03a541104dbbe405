"""The sections on broken formulas and on bf16 say what the rows say."""

from __future__ import annotations

from typing import Any

from workbench.benchmarks.report_numbers import render_mutations, render_precision

MACHINE = {"cpu": "Z80", "cpu_count": 2, "ram_bytes": 8 * 2**30, "torch": "2.99"}


def mutation(**changes: Any) -> dict[str, Any]:
    row = {"what": "a sign", "path": "workbench/losses/x.py", "seconds": 4.25, "golden": True}
    row |= {"test": "tests/losses/test_x.py::test_it[2-euclidean]", "expected": True}
    return {**row, "machine": MACHINE, **changes}


def loss(**changes: Any) -> dict[str, Any]:
    row = {"kind": "loss", "loss": "nearest", "distance": "cosine", "classes": 1284, "dim": 64}
    row |= {"situation": "after training", "value": 0.1, "loss_difference": 0.0123}
    row |= {"by_pixels": {"mean": 0.5, "max": 0.25}, "by_classes": {"mean": 0.00041, "max": 1e-7}}
    return {**row, "machine": MACHINE, **changes}


def curve(**changes: Any) -> dict[str, Any]:
    row = {"kind": "curve", "case": "streaming", "classes": 300, "steps": 40, "mean": 0.002}
    row |= {"max": 0.03, "last": 4, "end_fp32": 1.5, "end_bf16": 1.5006}
    return {**row, "machine": MACHINE, **changes}


def test_every_break_is_a_line() -> None:
    rows = [mutation(), mutation(what="an index", golden=None), mutation(golden=False)]
    page = render_mutations(rows)
    assert "| `losses/x.py` | a sign | `test_x.py` `test_it` | 4.25 | moves |" in page
    assert "| `losses/x.py` | an index | `test_x.py` `test_it` | 4.25 |  |" in page
    assert page.count("| stays |") == 1
    assert "**3** mistakes" in page and "**Every one is noticed.**" in page
    assert "Z80, 2 cores, 8 GiB" in page


def test_what_nobody_noticed_is_not_hidden() -> None:
    page = render_mutations([mutation(), mutation(test="")])
    assert "**1 were not noticed.**" in page
    assert "| `losses/x.py` | a sign | **none** | 4.25 | moves |" in page


def test_differences_are_shares() -> None:
    page = render_precision([loss(), loss(loss="dense", distance="", dim=12), curve()])
    assert "| nearest, cosine | 64 | close | 1.2 % | 50 % | 25 % | 0.041 % | < 0.001 % |" in page
    assert "| dense | 12 | close |" in page
    assert "| streaming | 0.20 % | 3.0 % | 1.500 | 1.501 |" in page
    assert "1,284 classes" in page and "40 tiny steps" in page and "(300 classes)" in page
    assert "last 4 steps" in page and "torch 2.99" in page and "--steps 40" in page
