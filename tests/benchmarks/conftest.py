"""Measurements take seconds here, not the minute that fresh interpreters would import."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def measured_in_forks(forked_workers: None) -> None:
    """See `forked_workers`."""
