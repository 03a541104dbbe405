"""Names that attack whoever shows them: on every page, in charts and tables, they are text.

Names of classes, groups, runs, splits, pictures and settings may come from strangers.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import pytest
from helpers.browser import is_well
from helpers.runs import add_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

RUN = "<img src=x onerror=document.title='owned'>"
OTHER = "![a](x) [c](javascript:document.title='owned') $x^2$ **b** :red[d]"
SPLIT = "\"><img src=x onerror=document.title='owned'>"

# All titles that the page was ever given: Streamlit's own would hide another at once.
WATCH = """
  window.titles = [];
  const title = Object.getOwnPropertyDescriptor(Document.prototype, 'title');
  Object.defineProperty(document, 'title', {
    get() { return title.get.call(this); },
    set(text) { window.titles.push(text); title.set.call(this, text); },
  });
"""
# What a name could become, looked for also within components and where charts draw text.
FOUND = """() => {
  const all = [];
  const walk = (root) => root.querySelectorAll('*').forEach((one) => {
    all.push(one);
    if (one.shadowRoot) walk(one.shadowRoot);
  });
  walk(document);
  const is = (query) => all.filter((one) => one.matches(query));
  const says = (query, text) => is(query).filter((one) => one.textContent.trim() === text);
  return [
    ...is('[onerror], [onload], a[href^="javascript:" i], img[src="x"], img[src$="/x"]'),
    ...is('script').filter((one) => one.textContent.includes('owned')),
    ...is('.katex, math'),
    ...says('strong', 'b'), ...says('b', 'g'), ...says('code', 'c'), ...says('strong', 'x'),
    ...says('[data-testid="stIconMaterial"]', 'delete'),
  ].map((one) => one.outerHTML.slice(0, 200));
}"""

OpenPage = Callable[..., Any]


class Served(NamedTuple):
    """An app on hostile runs.

    Attributes:
        address: Of the app.
        names: Of the classes of its run, by id.
    """

    address: str
    names: list[str]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory,
    serve: Callable[..., Any],
    write_hostile_run: Callable[[Path], list[str]],
) -> Iterator[Served]:
    """The app on two runs whose every text attacks."""
    folder = tmp_path_factory.mktemp("hostile")
    runs = folder / "runs"
    names = write_hostile_run(runs / RUN)
    run = add_checkpoint(runs / RUN)
    run.write_evaluation(
        SPLIT,
        summary=run.read_summary("val"),
        per_class=run.read_per_class("val"),
        per_image_class=run.read_per_image_class("val"),
        confusions=run.read_confusions("val"),
    )
    shutil.copytree(runs / RUN, runs / OTHER)
    with serve(runs, folder / "server.log") as address:
        yield Served(address, names)
    assert "Traceback" not in (folder / "server.log").read_text("utf-8")


def opened(open_page: OpenPage, served: Served, path: str, **query: str) -> Page:
    """A page of the hostile run, watched from its first script on."""
    chosen = "&".join(f"{name}={quote(text)}" for name, text in {"run": RUN, **query}.items())
    page: Page = open_page("/_stcore/health", address=served.address, settled=False)
    page.add_init_script(WATCH)
    page.goto(f"{served.address}{path}?{chosen}")
    return page


def is_text(page: Page) -> None:
    """Nothing of a name has become anything but text."""
    assert page.evaluate(FOUND) == []
    assert [text for text in page.evaluate("window.titles") if "owned" in text] == []
    assert page.title() == "Workbench"
    is_well(page, complaints=0)


@pytest.mark.parametrize(
    "class_id", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 3))]
)
@pytest.mark.parametrize("path", ["/classes", "/failures", "/class_map", "/predictions"])
def test_a_class_is_shown_as_text(
    open_page: OpenPage, settle: Callable[..., None], served: Served, path: str, class_id: int
) -> None:
    page = opened(open_page, served, path, **{"class": str(class_id), "with": str(class_id)})
    settle(page)
    is_text(page)
    if path in ("/classes", "/failures"):
        heading = page.locator("h3").all_inner_texts()
        assert any(" ".join(served.names[class_id].split()) in text for text in heading)


@pytest.mark.parametrize("path", ["/", "/vocabulary", "/memory", "/class_map"])
def test_every_other_page(
    open_page: OpenPage, settle: Callable[..., None], served: Served, path: str
) -> None:
    page = opened(open_page, served, path, compare=OTHER, split=SPLIT, color="hue", edges="0.05")
    settle(page)
    is_text(page)
    assert page.locator('[data-testid="stSidebar"] input').first.input_value() == RUN
    if path == "/":
        assert page.locator("h1").inner_text() == RUN
        assert page.get_by_text(f"Compare {RUN} with").count()
        for chart in ("Classes", "Drift"):
            page.get_by_test_id("stButtonGroup").get_by_text(chart, exact=True).click()
            settle(page)
            is_text(page)


@pytest.mark.parametrize("path", ["/classes", "/class_map"])
def test_what_the_pointer_rests_on(open_page: OpenPage, served: Served, path: str) -> None:
    page = opened(open_page, served, path)
    points = page.locator(".js-plotly-plot .scatterlayer .point")
    points.first.wait_for(timeout=60_000)
    said = set()
    for at in range(points.count()):
        box = points.nth(at).bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=3)
        page.wait_for_timeout(120)  # a chart does not tell when it has noticed
        said.update(page.locator(".hoverlayer .hovertext").all_text_contents())
        is_text(page)
    shown = [name for name in served.names if any(name in text for text in said)]
    assert any("<" in name for name in shown) and any("$" in name for name in shown)


def test_a_pixel_and_a_picture(
    open_page: OpenPage, settle: Callable[..., None], served: Served
) -> None:
    picture = f"{0:012d}{served.names[0]}"
    page = opened(open_page, served, "/predictions", image=picture, pixel="50,20")
    page.get_by_text(re.compile("^Pixel 50, 20$")).wait_for(timeout=60_000)
    settle(page)
    is_text(page)
    assert page.locator("strong", has_text=picture).count() == 1
    page.get_by_label("Go to picture").fill(OTHER)
    page.keyboard.press("Enter")
    page.get_by_text("in its id.").wait_for()
    is_text(page)


def test_edits_are_told_in_text(
    open_page: OpenPage, settle: Callable[..., None], served: Served
) -> None:
    page = opened(open_page, served, "/vocabulary")
    page.locator(".picker[data-ready]").wait_for(timeout=60_000)
    page.get_by_test_id("stButtonGroup").get_by_text("Rename", exact=True).click()
    field = page.locator('[class*="st-key-vocabulary_rename"] input').first
    field.click()
    page.keyboard.press("Enter")  # the first class
    page.get_by_label("New name").fill(OTHER)
    page.get_by_role("button", name="Rename").last.click()
    page.get_by_text("Renamed class 0 to").first.wait_for(timeout=60_000)
    settle(page)
    is_text(page)


def test_the_name_of_a_file_handed_in(
    open_page: OpenPage, settle: Callable[..., None], served: Served
) -> None:
    page = opened(open_page, served, "/vocabulary")
    page.locator(".picker[data-ready]").wait_for(timeout=60_000)
    page.get_by_test_id("stButtonGroup").get_by_text("File", exact=True).click()
    name = f"{RUN}$x^2$ **b** `c`.safetensors"
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": b"no class file"}
    page.locator('[data-testid="stFileUploader"] input').set_input_files([file])
    said = page.locator('[data-testid="stAlertContentError"]')
    said.wait_for(timeout=60_000)
    settle(page)
    assert name in said.inner_text()
    assert page.evaluate(FOUND) == []
    is_well(page, complaints=1)
