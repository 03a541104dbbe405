"""What the benchmark does on each page of the app: a table of pages and one of actions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Act = Callable[[], float | None]
"""Does it; returns the moment from which it counts where that is not its beginning."""


class AppPage(NamedTuple):
    """A page of the app.

    Attributes:
        name: In the rows.
        path: Of its address.
        link: Its name in the sidebar.
        title: Its heading; "" where that is the run's name.
        sight: Selector of what must be there before it counts as drawn.
    """

    name: str
    path: str
    link: str
    title: str
    sight: str


class Action(NamedTuple):
    """Something a person does on a page.

    Attributes:
        page: Where.
        name: What, in the rows.
        aim: Makes everything ready on a page and returns the act itself, which is timed. It is
            called anew for each repetition, with its number, so that the act changes something.
        fresh: Whether each repetition needs a page that was just opened.
        query: Choices in the address that the page is opened with: "&mouse=Circle".
    """

    page: str
    name: str
    aim: Callable[[Page, int], Act]
    fresh: bool = False
    query: str = ""


PLOT: Final = ".js-plotly-plot .main-svg"
TABLE: Final = '[data-testid="stDataFrame"] canvas'
_CHOICE: Final = "button[data-variant]"  # not the one for help
_ROW: Final = 35  # pixels, of a table's rows and header

PAGES: Final = (
    AppPage("overview", "/", "Overview", "", PLOT),
    AppPage("predictions", "/predictions", "Predictions", "Predictions", ".viewer[data-ready]"),
    AppPage("classes", "/classes", "Classes", "Classes", TABLE),
    AppPage("failures", "/failures", "Rare-class failures", "Rare-class failures", TABLE),
    AppPage(
        "class_map", "/class_map", "Class map", "Class map", ".js-plotly-plot .scatterlayer .point"
    ),
    AppPage("vocabulary", "/vocabulary", "Vocabulary", "Vocabulary", ".picker[data-ready]"),
    AppPage("memory", "/memory", "Memory", "Memory", PLOT),
)


def _click(page: Page, target: Locator) -> Act:
    """A click into the middle of something, in view already."""
    target.first.scroll_into_view_if_needed()
    box = target.first.bounding_box()
    if box is None:
        raise LookupError("it is not on the page")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    return lambda: page.mouse.click(x, y)


def _row(page: Page, number: int) -> Act:
    """The check box of a row of the page's first table; the table is a canvas."""
    table = page.locator('[data-testid="stDataFrame"]').first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    if box is None:
        raise LookupError("there is no table")
    x, y = box["x"] + 20, box["y"] + _ROW * (number + 1) + _ROW / 2
    page.mouse.move(x, y)
    return lambda: page.mouse.click(x, y)


def _type(key: str, words: tuple[str, ...]) -> Callable[[Page, int], Act]:
    """Words into a field, then Enter, which is timed."""

    def aim(page: Page, number: int) -> Act:
        field = page.locator(f'[class*="st-key-{key}"] input').first
        field.fill(words[number % len(words)])
        return lambda: page.keyboard.press("Enter")

    return aim


def _pick(key: str, words: tuple[str, ...]) -> Callable[[Page, int], Act]:
    """An option of a select box, found by typing."""

    def aim(page: Page, number: int) -> Act:
        field = page.locator(f'[class*="st-key-{key}"] input').first
        word = words[number % len(words)]
        field.scroll_into_view_if_needed()
        field.click()
        field.fill(word)
        # The list is filtered after a moment; until then Enter would choose from the whole.
        found = page.get_by_role("option").first.filter(has_text=re.compile(re.escape(word), re.I))
        found.wait_for(timeout=5000)
        return lambda: page.keyboard.press("Enter")

    return aim


def _button(key: str) -> Callable[[Page, int], Act]:
    return lambda page, number: _click(page, page.locator(f'[class*="st-key-{key}"] button'))


def _pill(key: str, *, spread: int = 2) -> Callable[[Page, int], Act]:
    """One pill after the other of a group."""

    def aim(page: Page, number: int) -> Act:
        pills = page.locator(f'[class*="st-key-{key}"] {_CHOICE}')
        return _click(page, pills.nth(number % spread))

    return aim


def _option(key: str) -> Callable[[Page, int], Act]:
    """The parts of a segmented control in turn, beginning with the last."""

    def aim(page: Page, number: int) -> Act:
        parts = page.locator(f'[class*="st-key-{key}"] {_CHOICE}')
        return _click(page, parts.nth((parts.count() - 1 - number) % parts.count()))

    return aim


def _pixel(canvas: str, which: int) -> Callable[[Page, int], Act]:
    """Another pixel of a picture each time."""

    def aim(page: Page, number: int) -> Act:
        panel = page.locator(canvas).nth(which)
        panel.scroll_into_view_if_needed()
        box = panel.bounding_box()
        if box is None:
            raise LookupError("there is no picture")
        x = box["x"] + box["width"] * (0.2 + 0.13 * number)
        y = box["y"] + box["height"] * (0.8 - 0.11 * number)
        page.mouse.move(x, y)
        return lambda: page.mouse.click(x, y)

    return aim


def _point(page: Page, number: int) -> Act:
    """A point of the first scatter chart that stands alone."""
    points = page.locator(".js-plotly-plot .scatterlayer .trace").first.locator(".point")
    boxes = points.evaluate_all(
        "all => all.map(p => p.getBoundingClientRect())"
        ".map(b => [b.x + b.width / 2, b.y + b.height / 2])"
    )
    height = page.viewport_size["height"] if page.viewport_size else 900
    alone = [
        (x, y)
        for x, y in boxes
        if y < height - 20 and sum(abs(a - x) + abs(b - y) < 14 for a, b in boxes) == 1
    ]
    if len(alone) <= number:
        raise LookupError("no point stands alone")
    x, y = alone[number]
    page.mouse.move(x, y)
    page.wait_for_timeout(300)  # the chart must notice what lies under the pointer
    return lambda: page.mouse.click(x, y)


def _circle(page: Page, number: int) -> Act:
    """A lasso over a part of the first chart; what counts begins with letting go."""
    area = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    if area is None:
        raise LookupError("there is no chart")
    low, high = 0.2 + 0.04 * number, 0.7
    corners = [(low, low), (high, low), (high, high), (low, high), (low, low + 0.05)]
    spots = [(area["x"] + a * area["width"], area["y"] + b * area["height"]) for a, b in corners]
    page.mouse.move(*spots[0])
    page.wait_for_timeout(500)  # a chart does not tell when it begins to listen

    def act() -> float:
        page.mouse.down()
        for spot in spots[1:]:
            page.mouse.move(*spot, steps=6)
        released = time.perf_counter()
        page.mouse.up()
        return released

    return act


def _slide(key: str) -> Callable[[Page, int], Act]:
    """A slider one step back."""

    def aim(page: Page, number: int) -> Act:
        thumb = page.locator(f'[class*="st-key-{key}"] input[type="range"]').first
        thumb.focus(timeout=10_000)
        return lambda: page.keyboard.press("ArrowLeft")

    return aim


_WORDS: Final = ("dog", "an", "er", "12", "st")

ACTIONS: Final = (
    Action("overview", "compare with a run", _pick("choice_compare", ("lvis",)), fresh=True),
    Action("predictions", "next picture", _button("step_1")),
    Action("predictions", "pixel", _pixel(".viewer canvas", 2)),
    Action("predictions", "order", _option("choice_order")),
    Action("predictions", "pictures with a class", _pick("choice_with", ("dog", "tree"))),
    Action("predictions", "next page of pictures", _button("sheet_forth")),
    Action("classes", "row of the table", _row),
    Action("classes", "point of the chart", _point),
    Action("classes", "search", _type("class_search", _WORDS)),
    Action("classes", "group", _pill("class_groups")),
    Action("failures", "row of the table", _row),
    Action("failures", "reason", _pill("failure_reasons")),
    Action("failures", "search", _type("failure_search", _WORDS)),
    Action("class_map", "circle classes", _circle, query="&mouse=Circle"),
    Action("class_map", "training step", _slide("choice_step")),
    Action("class_map", "find", _type("map_find", _WORDS)),
    Action("vocabulary", "pixel", _pixel(".picker canvas", 0)),
    Action("vocabulary", "pictures with a class", _pick("vocabulary_with", ("dog", "tree"))),
    Action("memory", "classes", _type("memory_classes", ("2000", "90000", "150", "7", "5000"))),
)
"""In the order they are done; each begins on a page that was just opened."""
