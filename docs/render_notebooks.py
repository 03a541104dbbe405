"""Runs every notebook as it is and writes it as a page to read without running: `make docs`.

    python docs/render_notebooks.py OUT [NAME ...]

Widgets leave the figure they last showed. Pages hold their own plotly.js; only equations are
set by MathJax from the network.
"""

from __future__ import annotations

import html
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_CELL_SECONDS = 1200
# nbconvert closes a <details> where its first line ends, so that it would hold nothing.
_FOLDS = {
    "<details><summary>Solution</summary>": "a-solution-begins",
    "</details>": "a-solution-ends",
}
_KERNEL_FILE = re.compile(r"\S*ipykernel_\d+\S*\.py:\d+")  # where a warning comes from
# A bar of progress as tqdm draws it, and the steps up and down between two of them.
_BAR = re.compile(r"\x1b\[[A-Z]|[^\r\n]*\d+%\|[^\r\n]*\|[^\r\n]*")


def render(path: Path, target: Path) -> None:
    """Executes a notebook in its folder and writes the page; the notebook stays as it is."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=False,  # without it, widgets show what they left for readers
    )
    client.execute()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(as_page(notebook, path.stem), encoding="utf-8")


def as_page(notebook: nbformat.NotebookNode, name: str) -> str:
    """A notebook that has run, as HTML."""
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        for stream in [one for one in outputs if one.output_type == "stream"]:
            stream.text = _BAR.sub("", _KERNEL_FILE.sub("this notebook", stream.text))
            if not stream.text.strip():
                outputs.remove(stream)
        if "solution" in cell.metadata.get("tags", []):
            for tag, word in _FOLDS.items():
                cell.source = cell.source.replace(tag, word)
    exporter = HTMLExporter(embed_images=True)
    page = str(exporter.from_notebook_node(notebook, {"metadata": {"name": name}})[0])
    for tag, word in _FOLDS.items():
        page = page.replace(f"<p>{word}</p>", tag)
    return page


def title(path: Path) -> str:
    """The first heading of a notebook."""
    first = str(nbformat.read(path, as_version=4).cells[0].source)
    return first.splitlines()[0].lstrip("# ")


def main(arguments: list[str]) -> None:
    """Renders the notebooks named, or all, and a list of the pages that are there."""
    out, names = Path(arguments[0]), arguments[1:]
    # Figures as HTML that stands alone: no kernel will be there, and perhaps no network.
    os.environ["PLOTLY_RENDERER"] = "notebook"
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in paths:
        if names and path.stem not in names:
            continue
        began = time.monotonic()
        render(path, out / f"{path.stem}.html")
        sys.stderr.write(f"{path.stem}: {time.monotonic() - began:.0f} s\n")
    there = [path for path in paths if (out / f"{path.stem}.html").exists()]
    links = [f'<li><a href="{p.stem}.html">{html.escape(title(p))}</a></li>' for p in there]
    page = '<!doctype html><meta charset="utf-8"><title>Notebooks</title><h1>Notebooks</h1>'
    (out / "index.html").write_text(f"{page}<ol start='0'>{''.join(links)}</ol>", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
