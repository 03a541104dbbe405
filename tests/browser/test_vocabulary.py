"""The Vocabulary page in a real browser: pixels clicked become a class, files are read kindly."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.browser import is_well

from workbench.runs import RunDirectory
from workbench.runs.class_file import read_class_file

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

REPOSITORY = Path(__file__).resolve().parents[2]
PATH = "/vocabulary"
OpenPage = Callable[..., Any]


@pytest.fixture
def vocabulary(open_page: OpenPage) -> Page:
    if not RunDirectory(REPOSITORY / "runs" / "demo").has_checkpoint():
        pytest.skip("the shipped run is not there")
    page: Page = open_page(PATH)
    page.locator(".picker[data-ready]").wait_for()
    return page


def canvas(page: Page) -> Locator:
    return page.locator(".picker canvas").first


def at(page: Page, x: float, y: float) -> dict[str, float]:
    """A place in the picture, given in shares of its size."""
    box = canvas(page).bounding_box()
    assert box is not None
    return {"x": x * box["width"], "y": y * box["height"]}


def drag(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    box = canvas(page).bounding_box()
    assert box is not None
    for step, (x, y) in enumerate((start, end)):
        page.mouse.move(
            box["x"] + x * box["width"], box["y"] + y * box["height"], steps=1 + 5 * step
        )
        if step == 0:
            page.mouse.down()
    page.mouse.up()


def choose(page: Page, action: str) -> None:
    page.get_by_test_id("stButtonGroup").get_by_text(action, exact=True).click()


def test_clicked_pixels_become_a_class_that_is_predicted(vocabulary: Page) -> None:
    page = vocabulary
    canvas(page).click(position=at(page, 0.2, 0.2))
    page.get_by_text("1 pixel", exact=True).wait_for()
    canvas(page).click(position=at(page, 0.25, 0.22))
    page.get_by_text("2 pixels", exact=True).wait_for()
    canvas(page).click(position=at(page, 0.25, 0.22))  # on a mark: takes it away
    page.get_by_text("1 pixel", exact=True).wait_for()
    drag(page, (0.18, 0.18), (0.26, 0.24))
    page.get_by_text(re.compile(r"1 pixel and 1 box, \d+ pixels in all")).wait_for()
    page.get_by_label("Name of the new class").fill("my heart")
    page.get_by_role("button", name="Add class").click()
    page.get_by_text("1,285 classes").wait_for()
    page.locator(".picker .chip", has_text="my heart").wait_for()
    page.get_by_text("Took pixels").wait_for()
    # What the picker says about the very pixel that was marked.
    after = page.locator(".picker figure", has_text="After").locator("canvas")
    box = after.bounding_box()
    assert box is not None
    after.hover(position={"x": 0.22 * box["width"], "y": 0.21 * box["height"]})
    page.locator(".picker .say", has_text=re.compile(r"before.*after.*my heart")).wait_for()
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_text("as trained").wait_for()
    page.locator(".picker .chip", has_text="my heart").wait_for(state="detached")
    is_well(page)


def test_a_picture_takes_no_more_marks_than_are_read(vocabulary: Page) -> None:
    page = vocabulary
    click_all = """(canvas, [count, width]) => {
      const box = canvas.getBoundingClientRect();
      canvas.setPointerCapture = () => {};  // no pointer of these events is there to capture
      for (let at = 0; at < count; at++) {
        const place = {clientX: box.x + (at % width + 1) * box.width / (width + 1),
                       clientY: box.y + (Math.floor(at / width) + 1) * box.height / (width + 1),
                       pointerId: 1, button: 0, bubbles: true};
        for (const kind of ['pointerdown', 'pointerup']) {
          canvas.dispatchEvent(new PointerEvent(kind, place));
        }
      }
    }"""
    canvas(page).evaluate(click_all, [201, 15])
    page.locator(".picker .say", has_text="No more than 200 marks").wait_for()
    page.get_by_text("200 pixels", exact=True).wait_for()
    is_well(page)


def test_the_strip_opens_another_picture_and_the_address_follows(vocabulary: Page) -> None:
    page = vocabulary
    page.locator(".picker .turn").nth(1).click()
    page.get_by_text("Pictures 9 to 16 of").wait_for()
    thumb = page.locator(".picker .thumb").nth(2)
    image = thumb.get_attribute("title")
    thumb.click()
    page.wait_for_url(f"**image={image}*")
    page.locator(".picker .thumb.chosen").wait_for()
    assert page.locator(".picker .thumb.chosen").get_attribute("title") == image
    page.get_by_text(f"in view: {image}").wait_for()
    is_well(page)


def test_classes_go_out_and_come_in_as_a_file(vocabulary: Page, tmp_path: Path) -> None:
    page = vocabulary
    choose(page, "Rename")
    page.get_by_role("combobox", name="Class").last.fill("purple star")
    page.get_by_role("option", name="purple star", exact=True).first.click()
    page.get_by_label("New name").fill("<b>violet</b>")
    page.get_by_role("button", name="Rename", exact=True).last.click()
    page.get_by_text("after 1 edit").wait_for()
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download").click()
    file = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(file)
    assert file.name == "demo-classes.safetensors"
    assert "<b>violet</b>" in read_class_file(file).vocabulary.names
    page.get_by_role("button", name="Undo", exact=True).click()
    page.get_by_text("as trained").wait_for()
    choose(page, "File")
    page.locator('input[type="file"]').set_input_files(file)
    page.get_by_role("button", name="Use these classes").click()
    page.get_by_text("after 1 edit").wait_for()
    is_well(page)


@pytest.mark.parametrize("kind", ["broken", "cut", "oversized"])
def test_a_bad_file_gets_a_friendly_message(vocabulary: Page, tmp_path: Path, kind: str) -> None:
    page = vocabulary
    choose(page, "File")
    file = tmp_path / f"{kind}<i>.safetensors"
    content = {"broken": b"\x00not a class file" * 60, "cut": b"\x00", "oversized": bytes(21 << 20)}
    file.write_bytes(content[kind])
    page.locator('input[type="file"]').set_input_files(file)
    complaint = "this page takes 20 MB" if kind == "oversized" else "is no sound class file"
    page.get_by_text(complaint).wait_for()
    assert page.locator('[data-testid="stAlertContentError"] i').count() == 0
    page.get_by_text("as trained").wait_for()
    is_well(page, complaints=1)


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1440, "light"),
        pytest.param(1440, "dark", marks=pytest.mark.slow),
        pytest.param(900, "light", marks=pytest.mark.slow),
    ],
)
def test_it_draws(
    open_page: OpenPage, screenshots: Path, width: int, scheme: str, settle: Callable[..., None]
) -> None:
    page = open_page(PATH, width=width, scheme=scheme)
    page.locator(".picker[data-ready]").wait_for()
    drag(page, (0.18, 0.18), (0.26, 0.24))
    page.get_by_text("pixels in all").wait_for()
    page.get_by_label("Name of the new class").fill("wooden heart")
    page.get_by_role("button", name="Add class").click()
    page.get_by_text("Took pixels").wait_for()
    settle(page)
    main = page.locator('[data-testid="stMain"]')
    height = int(main.evaluate("main => main.scrollHeight"))
    page.set_viewport_size({"width": width, "height": max(900, min(height, 2600))})
    folder = screenshots if (width, scheme) == (1440, "light") else screenshots / "variants"
    folder.mkdir(exist_ok=True)
    suffix = "" if folder == screenshots else f"-{width}-{scheme}"
    page.screenshot(path=folder / f"vocabulary{suffix}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    is_well(page)
