"""Short lists of classes with a bar each, as HTML: far lighter than a table widget."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Final, NamedTuple

STYLE: Final = """
.wb-bars { width: 100%; border-collapse: collapse; font-size: .875rem; }
.wb-bars td { padding: .2rem .5rem .2rem 0; border: none; }
.wb-bars .bar { width: 36%; }
.wb-bars .name { width: 40%; max-width: 0; overflow: hidden; text-overflow: ellipsis;
  white-space: nowrap; }
.wb-bars .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.wb-bars .note { opacity: .65; }
.wb-bar { height: .5rem; border-radius: .25rem; background: rgba(128,134,145,.2); }
.wb-bar div { height: 100%; border-radius: .25rem; min-width: 2px; background: #3f86b5; }
.wb-swatch { display: inline-block; width: .72em; height: .72em; border-radius: .2em;
  margin-right: .45em; box-shadow: 0 0 0 1px rgba(128,134,145,.6); }
"""


class Bar(NamedTuple):
    """One line of the list.

    Attributes:
        name: Of the class; any text.
        color: Of the class, "#rrggbb"; "" for what has none.
        share: Length of the bar, 0..1.
        number: What the bar stands for, as text.
        note: Further text, in a lighter tone.
    """

    name: str
    color: str
    share: float
    number: str
    note: str = ""


def chip(name: object, color: object) -> str:
    """A class as HTML: its colour and its name, both escaped; no colour, no swatch."""
    fill = html.escape(str(color))
    if not fill:
        return html.escape(str(name))
    return f'<span class="wb-swatch" style="background:{fill}"></span>{html.escape(str(name))}'


def bars(rows: Sequence[Bar]) -> str:
    """The list as HTML, all text escaped."""
    lines = []
    for row in rows:
        width = 100 * min(1.0, max(0.0, row.share))
        title = html.escape(row.name, quote=True)
        lines.append(
            f'<tr><td class="name" title="{title}">{chip(row.name, row.color)}</td>'
            f'<td class="bar"><div class="wb-bar"><div style="width:{width:.1f}%"></div></div></td>'
            f'<td class="number">{html.escape(row.number)}</td>'
            f'<td class="number note">{html.escape(row.note)}</td></tr>'
        )
    return f'<table class="wb-bars">{"".join(lines)}</table>'
