"""The Predictions page in a real browser: pixels, layers, sliders, pictures handed in."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers.browser import is_well
from PIL import Image

from workbench.runs import RunDirectory

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

DEMO = Path(__file__).resolve().parents[2] / "runs" / "demo"
OpenPage = Callable[..., Any]


@pytest.fixture
def predictions(open_page: OpenPage) -> Page:
    if not RunDirectory(DEMO).has_checkpoint():
        pytest.skip("the shipped run is not there")
    page: Page = open_page("/predictions")
    page.locator(".viewer[data-ready]").wait_for()
    return page


def panel(page: Page, name: str) -> Locator:
    return page.locator(f'.viewer figure[data-panel="{name}"] canvas')


def click(page: Page, name: str, x: float, y: float) -> None:
    box = panel(page, name).bounding_box()
    assert box is not None
    panel(page, name).click(position={"x": x * box["width"], "y": y * box["height"]})


def names(page: Page) -> list[str]:
    return page.locator(".list td.name").all_inner_texts()


def button(page: Page, text: str) -> Locator:
    return page.locator(".viewer .choice button").get_by_text(text, exact=True)


def picture(canvas: Locator) -> str:
    return str(canvas.evaluate("canvas => canvas.toDataURL()"))


def until(holds: Callable[[], bool], page: Page, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true in time"
        page.wait_for_timeout(20)


def test_a_pixel_names_its_nearest_classes(predictions: Page, settle: Callable[..., None]) -> None:
    page = predictions
    click(page, "prediction", 0.4, 0.4)
    page.locator(".list td.name").first.wait_for()
    assert page.get_by_text(re.compile(r"^Pixel \d+, \d+$")).count() == 1
    first = names(page)
    assert len(first) == len(set(first)) == 7
    shares = page.locator(".list td.number:not(.note)").all_inner_texts()
    assert all("%" in share for share in shares)
    distances = [float(text) for text in page.locator(".list td.note").all_inner_texts()]
    assert distances == sorted(distances) and 0 <= distances[0] <= distances[-1] <= 2
    until(lambda: "pixel=" in page.url, page)
    slider = page.get_by_role("slider", name="Classes listed (k)")
    settle(page)
    slider.focus()
    for count in (8, 9, 10):
        slider.press("ArrowRight")
        until(lambda: len(names(page)) == count, page)  # noqa: B023
    assert names(page)[:7] == first
    temperature = page.get_by_role("slider", name="Temperature")
    temperature.focus()
    temperature.press("Home")
    page.get_by_text("At the model's temperature").wait_for()
    assert names(page)[:7] == first  # the order stays
    settle(page)
    chosen = first[0]
    page.locator(".list td.name button").first.click()
    page.wait_for_url("**/classes*")
    settle(page)
    assert re.search(r"class=\d+", page.url)
    assert page.get_by_text(chosen).count() > 0
    is_well(page)


def test_quick_clicks_end_at_the_last_one(predictions: Page) -> None:
    page = predictions
    for share in (0.2, 0.35, 0.5, 0.65, 0.8, 0.2, 0.35):
        click(page, "truth", share, share)
    width = RunDirectory(DEMO)
    wide = width.read_sample("val", width.samples("val")[0])[0].width
    said = page.get_by_text(re.compile(r"^Pixel \d+, \d+$"))
    place = re.compile(rf"^Pixel {int(0.35 * wide)}, ")
    until(lambda: said.count() == 1 and bool(place.match(said.inner_text())), page)
    until(lambda: f"pixel={int(0.35 * wide)}%2C" in page.url, page)
    is_well(page)


def test_one_large_picture_and_what_lies_on_it(predictions: Page) -> None:
    page = predictions
    shown = page.locator(".viewer figure:visible")
    assert shown.count() == 4
    button(page, "One picture").click()
    assert shown.count() == 1
    seen = set()
    for layer in ("truth", "prediction", "errors"):
        button(page, layer.capitalize()).click()
        assert shown.first.get_attribute("data-panel") == layer
        seen.add(picture(panel(page, layer)))
    assert len(seen) == 3
    before = picture(panel(page, "errors"))
    page.locator('.viewer input[type="range"]').fill("10")
    assert picture(panel(page, "errors")) != before
    small = panel(page, "errors").bounding_box()
    button(page, "4×").click()
    large = panel(page, "errors").bounding_box()
    assert small is not None and large is not None
    assert large["width"] == pytest.approx(4 * small["width"], rel=0.02)
    frame = page.locator('.viewer figure[data-panel="errors"] .frame')
    frame.click(position={"x": small["width"] / 2, "y": small["height"] / 2})
    page.get_by_text(re.compile(r"^Pixel \d+, \d+$")).wait_for()
    button(page, "Side by side").click()
    assert shown.count() == 4
    is_well(page)


def test_the_unknown_panel_says_numbers(predictions: Page) -> None:
    page = predictions
    assert not panel(page, "heat").is_visible()
    page.get_by_text("Unknown: how far from every class").click()
    panel(page, "heat").wait_for()
    low, high = map(float, page.locator(".viewer .scale span").all_inner_texts())
    assert 0 <= low < high <= 2
    panel(page, "heat").hover(position={"x": 30, "y": 30})
    said = page.locator(".viewer .say").inner_text()
    found = re.search(r"distance to the nearest class ([\d.]+)", said)
    assert found is not None and low <= float(found.group(1)) <= high
    is_well(page)


def packed(side: int, kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def hand_in(page: Page, path: Path, content: bytes) -> None:
    path.write_bytes(content)  # a file that the browser reads: its driver takes long to pass bytes
    page.locator('input[type="file"]').set_input_files(path)


def test_pictures_handed_in_good_broken_and_too_large(
    predictions: Page, settle: Callable[..., None], tmp_path: Path
) -> None:
    page = predictions
    page.get_by_role("radio", name="Your own picture").or_(
        page.get_by_text("Your own picture", exact=True)
    ).first.click()
    page.locator('input[type="file"]').wait_for(state="attached")
    hand_in(page, tmp_path / "good.png", packed(96, "PNG"))
    page.locator(".viewer[data-ready]").wait_for()
    assert page.locator(".viewer figure:visible").count() == 2
    settle(page)
    click(page, "prediction", 0.5, 0.5)
    page.locator(".list td.name").first.wait_for()
    assert page.get_by_text("Truth", exact=True).locator("visible=true").count() == 0
    hand_in(page, tmp_path / "broken.png", packed(96, "PNG")[:9000])
    page.get_by_text("damaged or cut off").wait_for()
    hand_in(page, tmp_path / "large.png", packed(2700, "BMP"))
    page.get_by_text("the limit is 20 MB").wait_for()
    hand_in(page, tmp_path / "good.webp", packed(64, "WEBP"))
    page.locator(".viewer[data-ready]").wait_for()
    is_well(page)
