"""`bench export` with a tiny picture: its rows, and what the committed ones say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workbench.benchmarks.export import run_export
from workbench.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_rows_of_a_small_network() -> None:
    rows = run_export(["small"], classes=300, dim=4, size=64, repetitions=1)
    assert [row["method"] for row in rows] == ["embeddings", "onnxruntime", "torch"]
    assert len({row["pid"] for row in rows}) == 3  # each in a process of its own
    for row in rows:
        assert row["seconds"] > 0 and row["peak_bytes"] >= 0 and row["note"] == ""
        assert "file" not in row
    alone, full, torch = rows
    if alone["peak_bytes"]:
        assert full["memory_ratio"] == pytest.approx(full["peak_bytes"] / alone["peak_bytes"])
    assert torch["memory_ratio"] is None


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
