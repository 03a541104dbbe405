"""Files of small models, exported once for all tests that look at them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from helpers.export_models import CLASSES, make_model, vocabulary

from workbench.export import export_model

Exported = Callable[[str, str], Path]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """From distance and format to the file of a model from `make_model`."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def make(distance: str, format: str) -> Path:
        out = folder / f"{distance}.{format}"
        export_model(make_model(distance), vocabulary(CLASSES), out, format, source="mine")
        return out

    return make
