"""The page about performance, made from the committed rows: no number is typed in.

``python -m workbench.benchmarks.report benchmarks docs/performance.md``, or
``make performance``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from workbench.benchmarks.report_app import render_app
from workbench.benchmarks.report_export import render_export
from workbench.benchmarks.report_files import render_files, render_large
from workbench.benchmarks.report_loading import render_loading
from workbench.benchmarks.report_loss import (
    render_loss,
    render_loss_bf16,
    render_loss_gpu,
    render_loss_million,
    render_loss_wide,
    render_predict,
)
from workbench.benchmarks.report_prepare import render_prepare
from workbench.benchmarks.report_steps import render_memory, render_step
from workbench.benchmarks.report_targets import render_targets
from workbench.benchmarks.report_throughput import render_roofline, render_throughput
from workbench.benchmarks.rows import Row, read_rows
from workbench.errors import DataError
from workbench.runs import write_bytes, write_text

_HEAD = """\
# What a number of classes costs

<!-- Made by `make performance` from the rows in `benchmarks/`; edit workbench/benchmarks. -->

Memory and time of training, losses and prediction against the number of classes, and what it \
takes to read images and build masks. `make benchmarks` measures again all that is about classes, \
and makes this page.
"""


class Section(NamedTuple):
    """A part of the page.

    Attributes:
        render: From rows and the address of their picture to Markdown.
        drawn: Whether there is a picture of the rows.
    """

    render: Callable[[Sequence[Row], str], str]
    drawn: bool = False


SECTIONS: dict[str, Section] = {
    "step": Section(render_step),
    "memory": Section(render_memory, drawn=True),
    "loss": Section(render_loss, drawn=True),
    "loss_wide": Section(render_loss_wide),
    "loss_bf16": Section(render_loss_bf16),
    "loss_million": Section(render_loss_million, drawn=True),
    "loss_gpu": Section(render_loss_gpu),
    "roofline_gpu": Section(render_roofline),
    "throughput_gpu": Section(render_throughput),
    "predict": Section(render_predict, drawn=True),
    "predict_files": Section(lambda rows, _: render_files(rows)),
    "predict_large": Section(lambda rows, _: render_large(rows)),
    "export": Section(lambda rows, _: render_export(rows)),
    "prepare": Section(lambda rows, _: render_prepare(rows)),
    "loading": Section(lambda rows, _: render_loading(rows)),
    "app": Section(lambda rows, _: render_app(rows)),
}
"""What the page consists of, in order, as far as there are rows: file name -> section."""


def picture_name(name: str) -> str:
    """File name of the picture of a benchmark's rows, in the folder ``images``."""
    return f"bench_{name}.png"


def render_page(results: Mapping[str, Sequence[Row]]) -> str:
    """The page as Markdown.

    Args:
        results: Key of :data:`SECTIONS` -> rows of one run.

    Raises:
        DataError: There are none.
    """
    if not results:
        raise DataError("no rows to report: run workbench bench memory --json FILE")
    parts = [_HEAD, render_targets(results)]
    parts += [
        section.render(results[name], f"images/{picture_name(name)}")
        for name, section in SECTIONS.items()
        if name in results
    ]
    return "\n".join(part for part in parts if part)


def main(source: Path, target: Path, *, pictures: bool = True) -> None:
    """Writes the page, and its pictures into the folder ``images`` beside it.

    Args:
        source: Folder with a file of rows for each section, such as ``memory.json``.
        target: The page.
        pictures: Whether to draw.

    Raises:
        DataError: There are no files, or one holds something else.
    """
    paths = {name: source / f"{name}.json" for name in SECTIONS}
    results = {name: read_rows(path) for name, path in paths.items() if path.exists()}
    page = render_page(results)
    for name in results if pictures else ():
        if SECTIONS[name].drawn:
            from workbench.benchmarks.plot import draw_costs

            write_bytes(target.parent / "images" / picture_name(name), draw_costs(results[name]))
    write_text(target, page)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
