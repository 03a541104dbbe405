"""A run with the weights of a small random network, and photos for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.predicting import draw_three
from helpers.runs import random_run

from workbench.runs import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return random_run(tmp_path_factory.mktemp("runs") / "mine", classes=300)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return draw_three(tmp_path / "photos")
