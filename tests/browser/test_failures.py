"""The page on failing classes in a real browser: filter, pick, read, follow, download."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlparse

import pytest
from helpers.browser import is_well
from playwright.sync_api import Error as PlaywrightError

from workbench.runs import RunDirectory

if TYPE_CHECKING:
    import pandas as pd
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Any]
TABLE = '[data-testid="stDataFrame"]'
ROW = 35  # pixels: the header's height, and a row's


@pytest.fixture(scope="module")
def failing(repository: Path) -> pd.DataFrame:
    """The failing classes of the run that the browser shows."""
    run = RunDirectory(repository / "runs" / "demo")
    if not run.evaluations():
        pytest.skip("the shipped run is not there")
    table = run.read_per_class("val")
    return table[table["reason"] != ""].set_index("class_id")


def chosen(page: Page) -> int:
    return int(parse_qs(urlparse(page.url).query)["class"][0])


def pick_first_row(page: Page) -> None:
    """Clicks the name in the first row until the class is chosen: a canvas may not listen yet."""
    table = page.locator(TABLE).first
    table.locator("canvas").first.wait_for()
    for _ in range(4):
        table.click(position={"x": 120, "y": ROW + ROW // 2})
        try:
            page.wait_for_url(re.compile(r"[?&]class=\d+"), timeout=15_000)
            return
        except PlaywrightError:
            continue
    raise AssertionError(f"no class was chosen: {page.url}")


def test_from_the_table_to_the_picture(
    open_page: OpenPage, settle: Callable[..., None], failing: pd.DataFrame
) -> None:
    page = open_page("/failures")
    page.get_by_text(f"{len(failing)} of {len(failing)} failing classes").wait_for()
    swallowed = failing[failing["reason"] == "swallowed"]
    assert 0 < len(swallowed) < len(failing)
    page.get_by_role("button", name=f"swallowed by another class · {len(swallowed)}").click()
    page.get_by_text(f"{len(swallowed)} of {len(failing)} failing classes").wait_for()
    settle(page)
    pick_first_row(page)
    class_id = chosen(page)
    assert class_id in swallowed.index
    row = swallowed.loc[class_id]
    page.locator("h3", has_text=row["name"]).wait_for()
    pixels = f"{row['truth_pixels']:,} labelled pixels"
    page.get_by_text(re.compile(rf"[\d,]+ of its {pixels} \(.+\) go to")).wait_for()
    page.get_by_text(re.compile("^In the class table")).wait_for()
    is_well(page)

    page.get_by_role("link", name="In Predictions").click()
    page.wait_for_url("**/predictions*")
    settle(page)
    assert chosen(page) == class_id
    page.get_by_role("link", name="Rare-class failures").click()
    page.wait_for_url("**/failures*")
    settle(page)
    assert chosen(page) == class_id
    page.locator("h3", has_text=row["name"]).wait_for()
    is_well(page)


def test_a_crop_leads_to_its_picture(
    open_page: OpenPage, settle: Callable[..., None], failing: pd.DataFrame
) -> None:
    class_id = failing.index[failing["reason"] == "swallowed"][0]
    page = open_page(f"/failures?class={class_id}")
    crop = page.locator('[class*="st-key-stack_examples"] img').first
    crop.wait_for()
    assert crop.evaluate("image => image.naturalWidth > 3 * image.naturalHeight - 30")
    link = page.locator('[class*="st-key-stack_examples"] a').first
    image_id = link.inner_text().strip().split("\n")[-1]
    link.click()
    page.wait_for_url("**/predictions*")
    settle(page)
    assert f"image={image_id}" in page.url
    assert chosen(page) == class_id
    is_well(page)


def test_the_download_holds_every_failing_class(open_page: OpenPage, failing: pd.DataFrame) -> None:
    page = open_page("/failures")
    page.get_by_text("rare", exact=True).first.wait_for()
    with page.expect_download() as waiting:
        page.get_by_test_id("stDownloadButton").get_by_role("button").click()
    path = waiting.value.path()
    rows = list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))
    assert {int(row["class_id"]) for row in rows} == set(failing.index)
    gains = [float(row["miou_gain"]) for row in rows]
    assert gains == sorted(gains, reverse=True) and gains[0] > 0
    assert all(row["reason_in_words"] for row in rows)
    assert waiting.value.suggested_filename == "failures_demo_val.csv"
    is_well(page)
