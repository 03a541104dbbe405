"""The Overview in a real browser: a training that goes on, and two runs side by side."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers.browser import is_well, until
from helpers.runs import replace_per_class

from workbench.runs import RunDirectory

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Any]
Settle = Callable[..., None]


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, serve: Callable[..., Any]
) -> Iterator[tuple[str, Path]]:
    """Address of an app and its runs: the demo, a changed copy of it, and one in training."""
    folder = tmp_path_factory.mktemp("overview")
    runs = folder / "runs"
    for name in ("demo", "variant", "training"):
        shutil.copytree(repository / "runs" / "demo", runs / name)
    run = RunDirectory(runs / "variant")
    table = run.read_per_class("val")
    rng = np.random.default_rng(0)
    table["iou"] = np.clip(table["iou"] + 0.03 + rng.normal(0, 0.05, len(table)), 0, 1)
    replace_per_class(run, table)
    shutil.rmtree(runs / "training" / "evaluation")
    with serve(runs, folder / "server.log") as address:
        yield address, runs


def test_a_training_is_followed_without_a_reload(
    open_page: OpenPage, served: tuple[str, Path]
) -> None:
    address, runs = served
    run = RunDirectory(runs / "training")
    run.truncate_metrics(1000)
    with run.lock():
        run.write_status("running", step=1000, steps=5000, eta_seconds=600)
        page = open_page("/?run=training", address=address)
        page.get_by_text("Step 1,000 of 5,000, about 10 min left").wait_for()
        page.get_by_text(re.compile(r"^\d+ s ago$")).wait_for()
        curve = page.locator(".js-plotly-plot .scatterlayer .js-line").first
        drawn = curve.get_attribute("d")
        for step in range(1010, 1510, 10):
            run.append_metrics({"step": step, "loss": 0.5, "seconds": float(step)})
        run.write_status("running", step=1500, steps=5000, eta_seconds=300)
        page.get_by_text("Step 1,500 of 5,000, about 5 min left").wait_for()
        page.wait_for_function(
            "was => { const line = document.querySelector('.js-plotly-plot .js-line');"
            " return line && line.getAttribute('d') !== was; }",
            arg=drawn,
        )
        is_well(page)
        run.write_status("done", step=5000, steps=5000)
    page.get_by_text("Last sign of life").wait_for(state="detached")
    is_well(page)


def test_two_runs_are_compared_and_a_class_is_followed(
    open_page: OpenPage, settle: Settle, served: tuple[str, Path]
) -> None:
    address, _ = served
    page = open_page("/?run=demo&compare=variant", address=address)
    page.get_by_text("Mean change", exact=True).wait_for()
    shown = page.locator('[data-testid="stMetric"]', has_text="Mean change").inner_text()
    assert re.search(r"\+0\.0[123]\d", shown)
    page.get_by_text(re.compile("is better by more than the choice of classes")).wait_for()
    page.locator('[class*="st-key-compare_chart"]').get_by_text("Classes", exact=True).click()
    plot = page.locator('[class*="st-key-compare_iou"] .js-plotly-plot')
    plot.locator(".scatterlayer .point").first.wait_for()
    plot.scroll_into_view_if_needed()
    settle(page)
    link = page.get_by_role("link", name="Its page")
    until(link, lambda: click_a_point(page, plot))
    chosen = re.search(r"class=(\d+)", page.url)
    assert chosen is not None
    link.first.click()
    page.wait_for_url("**/classes*")
    settle(page)
    page.get_by_text(f"class {chosen[1]}").first.wait_for()
    is_well(page)


def click_a_point(page: Page, plot: Locator) -> None:
    boxes = plot.locator(".scatterlayer .trace .point").evaluate_all(
        "all => all.map(p => p.getBoundingClientRect())"
        ".map(b => [b.x + b.width / 2, b.y + b.height / 2])"
    )
    for x, y in boxes:
        if 0 < y < 860 and sum(abs(a - x) + abs(b - y) < 14 for a, b in boxes) == 1:
            page.mouse.move(x, y)
            page.wait_for_timeout(300)
            page.mouse.click(x, y)
            return
    raise AssertionError("no point stands alone")


def test_a_row_of_the_runs_opens_that_run(
    open_page: OpenPage, settle: Settle, served: tuple[str, Path]
) -> None:
    address, _ = served
    page = open_page("/?run=demo", address=address)
    table = page.locator('[class*="st-key-runs_"] [data-testid="stDataFrame"]').first
    table.locator("canvas").first.wait_for()
    table.scroll_into_view_if_needed()
    heading = page.locator('[data-testid="stMain"] h1')
    until(
        heading.filter(has_not_text="demo"),
        lambda: table.click(position={"x": 20, "y": 35 + 35 + 17}),
    )
    settle(page)
    assert "run=demo" not in page.url
    is_well(page)
