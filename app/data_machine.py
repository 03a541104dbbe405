"""Cached readers of what was measured, part of the door in ``app.data``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from workbench.benchmarks.machine import total_ram
from workbench.benchmarks.rows import read_rows
from workbench.errors import DataError

_FILES = ("step.json", "memory.json")  # of training steps, with and without many classes


def benchmark_rows(folder: str) -> list[dict[str, Any]]:
    """Rows of the measured training steps in a folder; none where there are no files."""
    stamps = []
    for name in _FILES:
        try:
            stat = (Path(folder) / name).stat()
        except OSError:
            continue
        stamps.append((name, stat.st_mtime_ns, stat.st_size))
    return _benchmark_rows(folder, tuple(stamps))


@st.cache_data(show_spinner=False, max_entries=4)
def _benchmark_rows(folder: str, stamps: tuple[tuple[str, int, int], ...]) -> list[dict[str, Any]]:
    rows = []
    for name, *_ in stamps:
        try:
            rows += read_rows(Path(folder) / name)
        except DataError:
            continue
    return rows


def machine_memory() -> int:
    """Memory of the machine the app runs on, in bytes."""
    return total_ram()
