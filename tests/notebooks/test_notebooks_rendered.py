"""The pages that `make docs` makes of notebooks, for reading without running."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from helpers.notebooks import REPOSITORY

PLOT = "from workbench.charts import figure\nfigure(height=200).add_scatter(y=[1, 2])"
WIDGET = "from workbench.widgets import TrainingMonitor\nTrainingMonitor({run!r})"
WARNING = "import warnings\nwarnings.warn('mind this')"
BAR = """from workbench.progress import progress
for number in progress(range(3), description="count"):
    list(progress(range(2), description="within"))
print("counted", number + 1)"""
SOLUTION = (
    "<details><summary>Solution</summary>\n\n```python\nx = 41\n\ny = 1\n```\n\nSo.\n\n</details>"
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = REPOSITORY / "docs" / "render_notebooks.py"
    spec = importlib.util.spec_from_file_location("render_notebooks", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_page_stands_alone(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = WIDGET.format(run=str(REPOSITORY / "runs" / "demo"))
    code = [nbformat.v4.new_code_cell(text) for text in (PLOT, widget, widget, WARNING, BAR)]
    solution = nbformat.v4.new_markdown_cell(SOLUTION, metadata={"tags": ["solution"]})
    after = nbformat.v4.new_markdown_cell("## Afterwards")
    path = tmp_path / "one.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[*code, solution, after]), path)
    before = path.read_bytes()
    monkeypatch.setenv("PLOTLY_RENDERER", "notebook")
    script.render(path, tmp_path / "out" / "one.html")
    assert path.read_bytes() == before
    page = (tmp_path / "out" / "one.html").read_text("utf-8")
    # Of an element by its id: older plotly.js mentions the function in a message, too.
    assert len(re.findall(r'Plotly\.newPlot\(\s*"', page)) == 3
    assert len(re.findall(r"\* plotly\.js v", page)) == 1
    assert "mind this" in page and "ipykernel_" not in page
    assert "counted 3" in page and "100%|" not in page
    assert len(re.findall(r'data-mime-type="application/vnd.jupyter.stderr"', page)) == 1
    # The solution is folded away, with all that belongs to it and nothing else.
    (folded,) = re.findall(r"<details>(.*?)</details>", page, flags=re.DOTALL)
    text = re.sub(r"<[^>]+>", "", folded)
    assert text.split() == ["Solution", "x", "=", "41", "y", "=", "1", "So."]
    assert "Afterwards" in page.split("</details>")[1]
