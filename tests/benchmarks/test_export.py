"""`bench export` with a tiny picture: its rows, and what the committed ones say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.benchmarks.export import run_export
from workbench.benchmarks.report_export import render_export
from workbench.benchmarks.rows import Row
from workbench.errors import ConfigError

pytestmark = pytest.mark.usefixtures("forked_workers")

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """A small network at 1,284 classes, whose scores would fill 500 MiB."""
    return run_export(["small"], classes=1284, dim=12, size=320, repetitions=1)


@pytest.mark.slow
def test_rows_of_a_small_network(rows: list[Row]) -> None:
    assert [row["method"] for row in rows] == ["embeddings", "onnxruntime", "torch"]
    assert len({row["pid"] for row in rows}) == 3  # each in a process of its own
    for row in rows:
        assert row["seconds"] > 0 and row["peak_bytes"] >= 0 and row["note"] == ""
        assert "file" not in row
    alone, full, torch = rows
    if alone["peak_bytes"]:
        assert full["memory_ratio"] == pytest.approx(full["peak_bytes"] / alone["peak_bytes"])
    assert torch["memory_ratio"] is None


@pytest.mark.slow
def test_the_search_holds_no_scores_of_all_classes(rows: list[Row]) -> None:
    alone, full = (row["peak_bytes"] for row in rows[:2])
    # A tile has 4 MiB, labels and distances a little over one.
    assert full - alone < 32 * 2**20


def test_arguments_are_checked() -> None:
    with pytest.raises(ConfigError, match="--size: 64 or more"):
        run_export(size=32)


def test_committed_rows_keep_the_promise() -> None:
    """At 1284 classes the search adds less than a fifth; labels are PyTorch's."""
    rows = json.loads((REPOSITORY / "benchmarks/export.json").read_text(encoding="utf-8"))
    full = [row for row in rows if row["method"] == "onnxruntime"]
    assert {row["network"] for row in full} == {"small", "deeplabv3plus"}
    assert all(row["classes"] == 1284 and row["pixels"] == 512**2 for row in full)
    assert all(row["memory_ratio"] <= 1.2 for row in full)
    [trained] = [row for row in rows if row["method"] == "agreement"]
    assert trained["agreement"] >= 0.999 and trained["pictures"] > 3


def test_the_page_says_what_the_search_adds() -> None:
    machine = {"cpu": "A", "cpu_count": 2, "ram_bytes": 2**33, "gpus": [], "torch": "2", "load": 0}
    shared = {"network": "small", "pixels": 65_536, "classes": 1284, "dim": 12, "device": "cpu"}
    shared |= {"machine": machine, "seconds": 1.5, "cpu_seconds": 2.0}
    rows = [
        {**shared, "method": "embeddings", "peak_bytes": 100 * 2**20},
        {**shared, "method": "onnxruntime", "peak_bytes": 110 * 2**20},
        {
            **{"method": "agreement", "network": "demo", "pictures": 7, "bytes": 2**20},
            **{"agreement": 0.99951, "largest_error": 2.5e-6},
        },
    ]
    page = render_export(rows)
    assert "| small | embeddings | 100 |  | 1.50 | 2.00 |" in page
    assert "| small | onnxruntime | 110 | 1.10 | 1.50 | 2.00 |" in page
    assert "7 pictures: 99.9510% of the pixels" in page and "2.5e-06" in page
