"""Every page once in a real browser: it draws, it answers, it talks to nobody else."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browser import is_well, until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PAGES = {
    "overview": "/",
    "predictions": "/predictions",
    "classes": "/classes?class=1283",
    "failures": "/failures",
    "vocabulary": "/vocabulary",
    "memory": "/memory",
    "class_map": "/class_map",
    "class_map_3d": "/class_map?layout=UMAP+3D&color=hue",
}
# What must be there before a page counts as drawn.
SIGHT = {
    "overview": ".js-plotly-plot .main-svg",
    "predictions": ".viewer[data-ready]",
    "classes": '[data-testid="stDataFrame"] canvas',
    "failures": '[data-testid="stDataFrame"] canvas',
    "vocabulary": ".picker[data-ready]",
    "memory": ".js-plotly-plot .main-svg",
    "class_map": ".js-plotly-plot .scatterlayer .point",
    "class_map_3d": ".js-plotly-plot .gl-container canvas",
}
LINKS = {
    "predictions": "Predictions",
    "classes": "Classes",
    "class_map": "Class map",
    "failures": "Rare-class failures",
    "vocabulary": "Vocabulary",
    "memory": "Memory",
    "overview": "Overview",
}
SECONDS = 2.0

OpenPage = Callable[..., Any]


def whole_height(page: Page, width: int) -> None:
    """Makes the window as high as the page, so that a screenshot shows all of it."""
    main = page.locator('[data-testid="stMain"]')
    height = int(main.evaluate("main => main.scrollHeight"))
    page.set_viewport_size({"width": width, "height": max(900, min(height, 2600))})
    page.wait_for_timeout(1500)  # charts follow the window after a delay of their own


def photograph(page: Page, screenshots: Path, name: str, width: int, scheme: str) -> None:
    whole_height(page, width)
    folder = screenshots if (width, scheme) == (1440, "light") else screenshots / "variants"
    folder.mkdir(exist_ok=True)
    suffix = "" if folder == screenshots else f"-{width}-{scheme}"
    page.screenshot(path=folder / f"{name}{suffix}.png")


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (900, "dark"),  # the other tests look at all pages wide and light
        *[pytest.param(1440, scheme, marks=pytest.mark.slow) for scheme in ("light", "dark")],
        pytest.param(900, "light", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", PAGES)
def test_page_draws(
    open_page: OpenPage, request: pytest.FixtureRequest, name: str, width: int, scheme: str
) -> None:
    page = open_page(PAGES[name], width=width, scheme=scheme)
    page.wait_for_selector(SIGHT[name], timeout=60_000)
    if request.config.getoption("--screenshots"):  # a high window takes seconds to draw
        photograph(page, request.getfixturevalue("screenshots"), name, width, scheme)
    background = page.locator('[data-testid="stApp"]').evaluate(
        "app => getComputedStyle(app).backgroundColor"
    )
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    is_well(page)


def business() -> float:
    """How many times longer work takes than it would on an idle machine, at least 1."""
    wall, work = time.perf_counter(), time.process_time()
    while time.process_time() - work < 0.5:
        pass
    return max(1.0, (time.perf_counter() - wall) / 0.5)


@pytest.mark.slow
def test_pages_open_quickly_once_warm(
    open_page: OpenPage, settle: Callable[..., None], tmp_path: Path
) -> None:
    page = open_page("/")
    page.wait_for_selector(SIGHT["overview"])
    heading = page.locator('[data-testid="stMain"] h1')
    seconds: dict[str, list[float]] = {}
    slower = [business()]
    for name, link in [*LINKS.items()] * 3:
        before = heading.inner_text()
        start = time.perf_counter()
        page.get_by_role("link", name=link).click()
        page.wait_for_function(
            "text => document.querySelector('[data-testid=stMain] h1')?.innerText !== text",
            arg=before,
        )
        settle(page)
        page.wait_for_selector(SIGHT[name])
        seconds.setdefault(name, []).append(round(time.perf_counter() - start, 2))
    slower.append(business())
    warm = {name: min(tries[1:]) for name, tries in seconds.items()}
    facts = {"seconds": warm, "slower_than_idle": max(slower)}
    (tmp_path / "open_times.json").write_text(json.dumps(facts), "utf-8")
    # The promise is 2 s on an idle machine; on a busy one all work takes longer alike.
    assert max(warm.values()) < SECONDS * max(slower), (warm, slower)


def test_a_click_on_a_pixel_names_it(open_page: OpenPage, settle: Callable[..., None]) -> None:
    page = open_page("/predictions")
    page.wait_for_selector(".viewer[data-ready]")
    panel = page.locator(".viewer canvas").nth(2)
    box = panel.bounding_box()
    panel.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    said = page.locator(".viewer .say").inner_text()
    assert said.startswith("truth") and "predicted" in said
    panel.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    pixel = page.get_by_text(re.compile(r"^Pixel \d+, \d+$"))
    pixel.wait_for()
    assert page.locator(".viewer .mark.pin").nth(0).is_visible()
    page.get_by_role("button", name="Next picture").or_(
        page.locator('[class*="st-key-step_1"] button')
    ).first.click()
    settle(page)
    pixel.wait_for(state="detached")
    is_well(page)


def test_legend_singles_a_class_out(open_page: OpenPage) -> None:
    page = open_page("/predictions")
    page.wait_for_selector(".viewer[data-ready]")
    picture = "canvas => canvas.toDataURL()"
    truth = page.locator(".viewer canvas").nth(1)
    before = truth.evaluate(picture)
    page.locator(".viewer .legend .chip").first.click()
    page.mouse.move(0, 0)
    assert truth.evaluate(picture) != before
    page.locator(".viewer .legend .chip").first.click()
    page.mouse.move(0, 0)
    assert truth.evaluate(picture) == before


def test_a_point_in_the_scatter_opens_its_class(open_page: OpenPage) -> None:
    page = open_page("/classes")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    assert page.locator('[data-testid="stMetric"]').count() == 0
    until(page.get_by_text("Taken for", exact=True), lambda: click_a_point(page))
    page.wait_for_url(re.compile(r"class=\d+"))
    is_well(page)


def click_a_point(page: Page) -> None:
    """Clicks the first point that no other covers, as plotly's own hit test sees it."""
    points = page.locator(".js-plotly-plot .scatterlayer .trace").first.locator(".point")
    boxes = points.evaluate_all(
        "all => all.map(p => p.getBoundingClientRect())"
        ".map(b => [b.x + b.width / 2, b.y + b.height / 2])"
    )
    for x, y in boxes:
        near = [1 for a, b in boxes if abs(a - x) + abs(b - y) < 14]
        if len(near) == 1:
            page.mouse.move(x, y)
            page.wait_for_timeout(300)
            page.mouse.click(x, y)
            return
    raise AssertionError("no point stands alone")


def test_a_row_of_the_table_opens_its_class(open_page: OpenPage) -> None:
    page = open_page("/classes")
    table = page.locator('[data-testid="stDataFrame"]').first
    table.locator("canvas").first.wait_for()
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    plot = page.locator(".js-plotly-plot").first
    plot.evaluate("plot => { plot.dataset.before = 'yes'; }")
    # The table is a canvas: the check box of the second row lies below the header's.
    until(
        page.get_by_text("Taken for", exact=True),
        lambda: table.click(position={"x": 20, "y": 35 + 35 + 17}),
    )
    page.wait_for_url(re.compile(r"class=1\b"))
    assert [re.findall(r"class (\d+)", text) for text in ringed(page)] == [["1"]]
    assert plot.get_attribute("data-before") == "yes"  # ringed where it was, not drawn again
    page.locator('[class*="st-key-class_search"] input').fill("1")
    page.keyboard.press("Enter")
    plot.and_(page.locator("[data-before]")).wait_for(state="detached")
    page.wait_for_selector(".scatterlayer .point.wb-ring")  # the new chart has the ring too
    assert [re.findall(r"class (\d+)", text) for text in ringed(page)] == [["1"]]
    is_well(page)


def ringed(page: Page) -> list[str]:
    """What the points say that have a ring."""
    page.wait_for_selector(".scatterlayer .point.wb-ring")
    texts: list[str] = page.locator(".js-plotly-plot").first.evaluate(
        "plot => [...plot.querySelectorAll('.scatterlayer .trace:first-child .point')]"
        ".flatMap((p, at) => p.classList.contains('wb-ring') ? [plot.data[0].hovertext[at]] : [])"
    )
    return texts


def test_circled_classes_are_listed(open_page: OpenPage) -> None:
    page = open_page("/class_map?mouse=Circle")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point")
    area = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    corners = [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8), (0.2, 0.25)]
    spots = [(area["x"] + a * area["width"], area["y"] + b * area["height"]) for a, b in corners]

    def circle() -> None:
        page.mouse.move(*spots[0])
        page.mouse.down()
        for spot in spots[1:]:
            page.mouse.move(*spot, steps=6)
        page.mouse.up()

    until(page.get_by_text(re.compile(r"^[\d,]+ classes selected$")), circle)
    is_well(page)


def test_the_choice_follows_from_page_to_page(
    open_page: OpenPage, settle: Callable[..., None]
) -> None:
    page = open_page("/classes?class=1283")
    page.get_by_text("class 1283").wait_for()
    page.get_by_role("link", name="Class map").click()
    page.wait_for_url("**/class_map*")
    settle(page)
    page.get_by_text("class 1283").wait_for()
    assert "run=demo" in page.url and "class=1283" in page.url
    for _ in range(3):  # a page's own address, then the same with its choices
        page.go_back()
        settle(page)
        if "/classes" in page.url:
            break
    assert "/classes" in page.url
    page.get_by_text("class 1283").wait_for()
    is_well(page)
