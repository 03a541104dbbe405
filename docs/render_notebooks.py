"""Runs every notebook as it is and writes it as a page to read without running: `make docs`.

    python docs/render_notebooks.py OUT [NAME ...]

Widgets leave the figure they last showed. Pages hold their own plotly.js; only equations are
set by MathJax from the network.
"""

from __future__ import annotations

import html
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
_CELL_SECONDS = 1200


def render(path: Path, target: Path) -> None:
    """Executes a notebook in its folder and writes the page; the notebook stays as it is."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=_CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    notebook.metadata.pop("widgets", None)  # without it, widgets show what they left for readers
    exporter = HTMLExporter(embed_images=True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page, encoding="utf-8")


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
