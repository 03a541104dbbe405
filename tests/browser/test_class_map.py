"""The class map in a real browser: a box dragged, a search that flies, the training played."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browser import is_well, until

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Any]
Settle = Callable[..., None]
POINTS = ".js-plotly-plot .scatterlayer .trace:first-child .point"


def drag(page: Page, corners: list[tuple[float, float]]) -> None:
    """Drags over the map; corners in shares of its width and height."""
    area = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    spots = [(area["x"] + a * area["width"], area["y"] + b * area["height"]) for a, b in corners]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=8)
    page.mouse.up()


def count_in(page: Page, sight: Locator) -> int:
    return int(re.sub(r"\D", "", sight.first.inner_text().split()[0]))


def test_a_box_lists_its_classes_and_their_pictures(open_page: OpenPage, settle: Settle) -> None:
    page = open_page("/class_map?mouse=Box")
    page.wait_for_selector(POINTS)
    selected = page.get_by_text(re.compile(r"^[\d,]+ classes selected$"))
    until(selected, lambda: drag(page, [(0.05, 0.05), (0.95, 0.95)]))
    settle(page)
    everything = count_in(page, selected)
    page.get_by_role("button", name="Let go").click()
    selected.wait_for(state="detached")
    until(selected, lambda: drag(page, [(0.1, 0.1), (0.6, 0.6)]))
    settle(page)
    assert 1 < count_in(page, selected) < everything
    strip = page.get_by_text(re.compile(r"pictures? with these classes"))
    strip.wait_for()
    pictures = page.locator(".gallery .picture")
    pictures.first.wait_for()
    assert 0 < pictures.count() <= 24
    image = pictures.first.get_attribute("title")
    if ", 1 to" in strip.inner_text():
        page.locator('[class*="st-key-map_after"] button').click()
        page.get_by_text(re.compile(r"these classes, 25 to")).wait_for()
        # The line above the pictures changes before they do.
        page.locator(f'.gallery .picture[title="{image}"]').wait_for(state="detached")
        pictures.first.wait_for()
        assert selected.count() == 1  # turning the page keeps the selection
        image = pictures.first.get_attribute("title")
    page.locator(f'.gallery .picture[title="{image}"]').click()
    page.wait_for_url(re.compile(rf"/predictions\?.*image={image}"))
    is_well(page)


def test_a_search_flies_and_comes_back(open_page: OpenPage, settle: Settle) -> None:
    page = open_page("/class_map")
    page.wait_for_selector(POINTS)
    inside = """all => {
        const frame = document.querySelector('.js-plotly-plot .nsewdrag').getBoundingClientRect();
        return all.map(point => point.getBoundingClientRect()).filter(
            b => b.x > frame.x && b.right < frame.right && b.y > frame.y && b.bottom < frame.bottom
        ).length;
    }"""
    before = page.locator(POINTS).evaluate_all(inside)
    field = page.get_by_label("Find", exact=True)
    field.fill("1283")
    field.press("Enter")
    page.get_by_text("1 class found").wait_for()
    settle(page)
    page.wait_for_function("document.querySelectorAll('.textpoint text').length > 5")
    near = page.locator(POINTS).evaluate_all(inside)
    assert 5 < near < before / 4
    page.get_by_role("button", name="Back to all").click()
    page.get_by_text("Closest to another class").wait_for()
    settle(page)
    page.wait_for_selector(POINTS)
    assert page.locator(POINTS).evaluate_all(inside) == before
    is_well(page)


def test_a_clicked_class_keeps_the_zoom(open_page: OpenPage, settle: Settle) -> None:
    page = open_page("/class_map")
    page.wait_for_selector(POINTS)
    place = "all => all.slice(0, 40).map(point => point.getAttribute('transform')).join()"
    drawn = page.locator(POINTS).evaluate_all(place)
    area = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + area["height"] / 2)

    def zoom() -> None:
        page.mouse.wheel(0, -400)
        page.wait_for_function(
            f"was => ({place})([...document.querySelectorAll('{POINTS}')]) !== was", arg=drawn
        )

    zoom()
    page.wait_for_timeout(1000)  # plotly redraws after the last turn of the wheel
    zoomed = page.locator(POINTS).evaluate_all(place)
    until(page.get_by_text("Taken for", exact=True), lambda: click_a_point(page))
    settle(page)
    assert "class=" in page.url
    assert page.locator(POINTS).evaluate_all(place) == zoomed
    is_well(page)


def click_a_point(page: Page) -> None:
    """Clicks a point in the middle of the map that no other covers."""
    area = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    boxes = page.locator(POINTS).evaluate_all(
        "all => all.map(p => p.getBoundingClientRect())"
        ".map(b => [b.x + b.width / 2, b.y + b.height / 2])"
    )
    for x, y in boxes:
        within = (
            0.2 < (x - area["x"]) / area["width"] < 0.8
            and 0.2 < (y - area["y"]) / area["height"] < 0.8
        )
        if within and sum(abs(a - x) + abs(b - y) < 14 for a, b in boxes) == 1:
            page.mouse.move(x, y)
            page.wait_for_timeout(300)
            page.mouse.click(x, y)
            return
    raise AssertionError("no point stands alone")


def test_play_moves_the_points(open_page: OpenPage, settle: Settle) -> None:
    page = open_page("/class_map?layout=PCA+2D")
    page.wait_for_selector(POINTS)
    if page.get_by_text("Play the training").count() == 0:
        pytest.skip("the run has maps of one step only")
    page.get_by_text("Play the training").click()
    page.wait_for_selector(".updatemenu-button")
    settle(page)
    place = "all => all.slice(600, 700).map(point => point.getAttribute('transform')).join()"
    still = page.locator(POINTS).evaluate_all(place)
    moved = f"was => ({place})([...document.querySelectorAll('{POINTS}')]) !== was"
    page.locator(".updatemenu-button").first.click()
    page.wait_for_function(moved, arg=still)
    first = page.locator(".slider-label").first.text_content()
    page.wait_for_function(
        "first => document.querySelector('.slider-label').textContent !== first", arg=first
    )
    is_well(page)


def test_confusions_say_who_is_taken_for_whom(open_page: OpenPage, settle: Settle) -> None:
    page = open_page("/class_map?edges=0.2&layout=PCA+2D")
    page.wait_for_selector(".js-plotly-plot .scatterlayer .point", state="attached")
    page.get_by_text(re.compile(r"confusions from 20")).wait_for()
    middles = page.locator(".js-plotly-plot .scatterlayer .trace").nth(1)
    spots = middles.locator(".point").evaluate_all(
        "all => all.map(p => p.getBoundingClientRect())"
        ".map(b => [b.x + b.width / 2, b.y + b.height / 2])"
    )
    assert 0 < len(spots) <= 300
    said = page.locator(".hoverlayer .hovertext", has_text="taken for")

    def point_at_one() -> None:
        for x, y in spots[:40]:
            page.mouse.move(x, y)
            page.wait_for_timeout(60)
            if said.count():
                return

    until(said, point_at_one)
    assert re.search(r"taken for .+, \d+%", said.first.text_content())
    is_well(page)


def test_the_pixel_of_the_predictions_page_is_in_the_map(
    open_page: OpenPage, settle: Settle
) -> None:
    page = open_page("/predictions")
    page.wait_for_selector(".viewer[data-ready]")
    panel = page.locator(".viewer canvas").nth(2)
    box = panel.bounding_box()
    spot = {"x": box["width"] / 2, "y": box["height"] / 2}
    until(page.get_by_text("Nearest other classes of").or_(page.get_by_text(re.compile("Pixel"))),
          lambda: panel.click(position=spot))  # fmt: skip
    settle(page)
    if "pixel=" not in page.url:
        pytest.skip("the run has no model, or the page keeps no pixel")
    page.get_by_role("link", name="Class map").first.click()
    page.wait_for_url("**/class_map*")
    settle(page)
    page.get_by_text(re.compile("nearest classes, weighted by their probability")).wait_for()
    assert "pixel=" in page.url and "image=" in page.url
    is_well(page)
