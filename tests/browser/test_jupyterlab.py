"""Notebooks in a real JupyterLab: all cells run, widgets are drawn and answer to a slider.

One of them in `make test`, the others in `make test-slow`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.notebooks import REPOSITORY, copy_notebook
from notebooks.parameters import TEST_PARAMETERS
from playwright.sync_api import Error as PlaywrightError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

SHOWN: dict[str, dict[str, object]] = {
    "01_the_idea": {"counts": [21]},
    "03_pascal_voc": {"steps": 40},  # long enough to be seen training
    "08_class_map": {},
}
"""Notebooks in which each widget is shown, and what else they are given."""
_TRACKER = "@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
_QUIET = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"

RUN_ALL = """async () => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  window.ran = app.commands.execute('notebook:run-all-cells');
}"""
CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter(cell => cell.model.type === 'code')
  .map(cell => ({count: cell.model.executionCount,
                 failed: cell.model.outputs.toJSON().some(out => out.output_type === 'error')}))"""
TRACES = """name => [...document.querySelectorAll('.js-plotly-plot')]
  .flatMap(plot => plot.data || []).filter(trace => trace.name === name)
  .map(trace => Array.from(trace.y))"""

MAPS = """() => [...document.querySelectorAll('.jupyter-widgets .js-plotly-plot')]
  .flatMap(plot => plot.data || []).filter(trace => trace.customdata)
  .map(trace => Array.from(trace.x))"""
# Of the picture and the classes beside it: the probabilities.
BARS = """() => [...document.querySelectorAll('.jupyter-widgets .js-plotly-plot')]
  .flatMap(plot => plot.data || []).filter(trace => trace.type === 'bar')
  .map(trace => Array.from(trace.x))"""
LAYERS = """() => [...document.querySelectorAll('.jupyter-widgets .js-plotly-plot')]
  .flatMap(plot => plot.data || []).filter(trace => trace.type === 'image')
  .map(trace => [trace.name, trace.opacity, trace.source])"""
TABLES = "() => [...document.querySelectorAll('.jp-OutputArea tbody')].map(b => b.innerText)"
# What a widget that is not drawn shows in its place.
STATE = """() => [...document.querySelectorAll('.jupyter-widgets')]
  .filter(box => !box.parentElement.closest('.jupyter-widgets'))
  .map(box => ({plots: box.querySelectorAll('.js-plotly-plot').length,
                text: box.innerText.slice(0, 200)}))"""
# A bar that has moved, above a live figure.
TRAINS = """() => [...document.querySelectorAll('.jupyter-widgets')].some(box =>
  box.querySelector('.js-plotly-plot .trace') && box.querySelector('.progress-bar')
  && parseFloat(box.querySelector('.progress-bar').style.width) > 0)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a JupyterLab of our own on copies of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    for name, values in SHOWN.items():
        path = REPOSITORY / "notebooks" / f"{name}.ipynb"
        copy_notebook(path, folder, TEST_PARAMETERS[name] | values)
    settings = folder / "settings"
    for file, value in ((_TRACKER, {"windowingMode": "none"}), (_QUIET, {"fetchNews": "false"})):
        (settings / file).parent.mkdir(parents=True, exist_ok=True)
        (settings / file).write_text(json.dumps(value))
    own = {
        **{"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime"},
        **{"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"},
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1"]
    command += ["--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    environment = os.environ | {name: str(folder / at) for name, at in own.items()}
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            command, cwd=folder / "notebooks", env=environment, stdout=log, stderr=log
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, server, folder / "lab.log")
        yield address
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=5).close()
            return
        except OSError:
            pass
    raise AssertionError(log.read_text()[-2000:])


def open_and_start(browser: Browser, address: str, name: str) -> tuple[Page, list[str]]:
    """A notebook whose cells begin to run, and the JavaScript errors so far (a live list)."""
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.set_default_timeout(90_000)  # a busy machine is slow, not wrong
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.evaluate(RUN_ALL)
    return page, errors


def finish(page: Page) -> None:
    """Waits until all cells have run; none may have failed."""
    page.evaluate("() => window.ran")
    cells: list[dict[str, Any]] = page.evaluate(CELLS)
    assert [cell for cell in cells if cell["failed"] or not cell["count"]] == []


def wait_for_widgets(page: Page, script: str, errors: list[str]) -> None:
    """Until a script finds what it looks for, or a failure that says what stands there."""
    try:
        page.wait_for_function(script)
    except PlaywrightError as error:
        raise AssertionError(f"{error}: {page.evaluate(STATE)}, {errors}") from error


def photograph(page: Page, selector: str, path: Path) -> None:
    page.locator(selector).last.scroll_into_view_if_needed()
    page.screenshot(path=path)


def pull_slider(page: Page, label: str, key: str) -> None:
    """Moves the slider of a name from the keyboard."""
    row = page.locator(".widget-slider", has=page.get_by_text(label, exact=True))
    row.scroll_into_view_if_needed()
    row.locator(".noUi-handle").focus()
    page.keyboard.press(key)


def wait_for_change(page: Page, what: str, before: object, timeout: float = 90_000) -> None:
    """Until a script says something else than before."""
    script = f"before => JSON.stringify(({what})()) !== JSON.stringify(before)"
    page.wait_for_function(script, arg=before, timeout=timeout)


def act_until_change(page: Page, what: str, act: Callable[[], object]) -> None:
    """Acts until a script says something else: a widget does not tell when it begins to listen."""
    before = page.evaluate(what)
    for _ in range(4):
        act()
        try:
            wait_for_change(page, what, before, 20_000)
            return
        except PlaywrightError:
            continue
    raise AssertionError(f"{what} stays as it was: {page.evaluate(STATE)}")


@pytest.mark.slow
def test_the_idea_can_be_played_with(browser: Browser, lab: str, screenshots: Path) -> None:
    page, errors = open_and_start(browser, lab, "01_the_idea")
    finish(page)
    exact = f"() => ({TRACES})('exact probability')[0]"
    wait_for_widgets(page, exact, errors)
    before = page.evaluate(exact)
    act_until_change(page, exact, lambda: pull_slider(page, "temperature T", "Home"))
    assert max(page.evaluate(exact)) < max(before)  # at T = 1 nothing is sure
    page.screenshot(path=screenshots / "lab_idea.png")
    # A click on the picture of the demo run asks for another pixel.
    bars = page.evaluate(BARS)
    picture = page.locator(".js-plotly-plot", has=page.locator(".imagelayer image")).last
    picture.scroll_into_view_if_needed()
    box = picture.locator(".imagelayer image").bounding_box()
    assert box is not None
    place = box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"]
    act_until_change(page, TABLES, lambda: page.mouse.click(*place))
    wait_for_change(page, BARS, bars)
    sure = page.evaluate(BARS)
    act_until_change(page, BARS, lambda: pull_slider(page, "temperature", "Home"))
    assert max(page.evaluate(BARS)[-1]) < max(sure[-1])
    photograph(page, ".js-plotly-plot", screenshots / "lab_pixel.png")
    assert errors == []
    page.close()


def test_a_training_is_watched_and_its_pictures_faded(
    browser: Browser, lab: str, screenshots: Path
) -> None:
    page, errors = open_and_start(browser, lab, "03_pascal_voc")
    page.wait_for_function(TRAINS, timeout=120_000)
    photograph(page, ".progress-bar", screenshots / "lab_training.png")
    finish(page)
    # Live no more: in their place stand figures that say how it went.
    page.get_by_text("step 40 of 40").first.wait_for()
    assert page.get_by_text("step 40 of 40").count() == 2
    assert page.locator(".progress-bar").count() == 0
    wait_for_widgets(page, f"({LAYERS})().length >= 7", errors)
    before = page.evaluate(LAYERS)
    act_until_change(page, LAYERS, lambda: pull_slider(page, "opacity", "Home"))
    faded = page.evaluate(LAYERS)
    assert [opacity for name, opacity, _ in faded if name != "picture"] == [0, 0, 0]
    page.get_by_role("button", name="next").click()
    wait_for_change(page, LAYERS, faded)
    assert page.evaluate(LAYERS)[0] != before[0]
    pull_slider(page, "opacity", "End")
    photograph(page, ".jupyter-widgets .js-plotly-plot", screenshots / "lab_predictions.png")
    assert errors == []
    page.close()


@pytest.mark.slow
def test_the_class_map_moves_with_the_steps(browser: Browser, lab: str, screenshots: Path) -> None:
    page, errors = open_and_start(browser, lab, "08_class_map")
    finish(page)
    last = f"() => ({MAPS})().at(-1)"
    wait_for_widgets(page, last, errors)
    act_until_change(page, last, lambda: pull_slider(page, "step", "Home"))
    photograph(page, ".widget-slider", screenshots / "lab_class_map.png")
    assert errors == []
    page.close()
