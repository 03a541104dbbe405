"""Every notebook runs from top to bottom: shrunk in `make test`, as it is in `make test-slow`.

Shrunk, the exercises are solved as well.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from helpers.notebooks import NOTEBOOKS, copy_notebook, run_cells, run_notebook
from helpers.processes import Home
from notebooks.parameters import TEST_PARAMETERS

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def shown(notebook: nbformat.NotebookNode) -> int:
    return sum(bool(cell.get("outputs")) for cell in notebook.cells)


@every_notebook
def test_notebook_runs_with_test_parameters(path: Path, tmp_path: Path, forks: Home) -> None:
    copy = copy_notebook(path, tmp_path, TEST_PARAMETERS[path.stem], solved=True)
    assert shown(run_cells(copy, forks, cell_timeout=120)) >= 5


@pytest.mark.slow
@pytest.mark.timeout(960)
@every_notebook
def test_notebook_runs_with_its_own_parameters(path: Path, tmp_path: Path) -> None:
    copy = copy_notebook(path, tmp_path, {})
    assert shown(run_notebook(copy, cell_timeout=600, timeout=900)) >= 5


@pytest.mark.parametrize("fresh", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_failing_cell_is_found(tmp_path: Path, forks: Home, fresh: bool) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    path = tmp_path / "broken.ipynb"
    nbformat.write(notebook, path)
    with pytest.raises(AssertionError, match=r"(?s)1 / 0.*ZeroDivisionError"):
        if fresh:
            run_notebook(path, cell_timeout=60, timeout=120)
        else:
            run_cells(path, forks, cell_timeout=60)
