"""Notebooks in a real JupyterLab: all cells run, widgets are drawn and answer to a slider."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.notebooks import REPOSITORY, copy_notebook
from notebooks.parameters import TEST_PARAMETERS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(420)]

SHOWN = ("01_the_idea", "08_class_map")
_TRACKER = "@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
_QUIET = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"

RUN_ALL = """async () => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = app.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  await app.commands.execute('notebook:run-all-cells');
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


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a JupyterLab of our own on copies of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    for name in SHOWN:
        path = REPOSITORY / "notebooks" / f"{name}.ipynb"
        copy_notebook(path, folder, TEST_PARAMETERS[name])
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


def open_and_run(browser: Browser, address: str, name: str) -> tuple[Page, list[str]]:
    """A notebook whose cells have all run, and the JavaScript errors so far (a live list)."""
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/lab/tree/{name}.ipynb?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
    page.evaluate(RUN_ALL)
    cells: list[dict[str, Any]] = page.evaluate(CELLS)
    assert [cell for cell in cells if cell["failed"] or not cell["count"]] == []
    return page, errors


def photograph(page: Page, selector: str, path: Path) -> None:
    page.locator(selector).last.scroll_into_view_if_needed()
    page.screenshot(path=path)


def pull_slider(page: Page, label: str, key: str) -> None:
    """Moves the slider of a name from the keyboard."""
    row = page.locator(".widget-slider", has_text=label)
    row.scroll_into_view_if_needed()
    row.locator(".noUi-handle").focus()
    page.keyboard.press(key)


def test_the_idea_can_be_played_with(browser: Browser, lab: str, screenshots: Path) -> None:
    page, errors = open_and_run(browser, lab, "01_the_idea")
    page.wait_for_function(f"({TRACES})('exact probability').length === 1")
    (before,) = page.evaluate(TRACES, "exact probability")
    pull_slider(page, "temperature T", "Home")
    page.wait_for_function(
        f"before => JSON.stringify(({TRACES})('exact probability')[0]) !== JSON.stringify(before)",
        arg=before,
    )
    (after,) = page.evaluate(TRACES, "exact probability")
    assert max(after) < max(before)  # at T = 1 nothing is sure
    page.screenshot(path=screenshots / "lab_idea.png")
    # A click on the picture of the demo run asks for another pixel.
    rows = page.locator(".jp-OutputArea tbody", has_text="dark").last
    text = rows.inner_text()
    picture = page.locator(".js-plotly-plot", has=page.locator(".imagelayer image")).last
    picture.scroll_into_view_if_needed()
    box = picture.locator(".imagelayer image").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    page.wait_for_function(
        "text => ![...document.querySelectorAll('tbody')].some(b => b.innerText === text)", arg=text
    )
    page.screenshot(path=screenshots / "lab_pixel.png")
    assert errors == []
    page.close()


def test_the_class_map_moves_with_the_steps(browser: Browser, lab: str, screenshots: Path) -> None:
    page, errors = open_and_run(browser, lab, "08_class_map")
    page.wait_for_function(f"({MAPS})().length > 0")
    first = f"() => ({MAPS})().at(-1)"
    before = page.evaluate(first)
    pull_slider(page, "step", "Home")
    page.wait_for_function(
        f"before => JSON.stringify(({first})()) !== JSON.stringify(before)", arg=before
    )
    photograph(page, ".widget-slider", screenshots / "lab_class_map.png")
    assert errors == []
    page.close()
