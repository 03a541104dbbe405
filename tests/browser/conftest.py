"""The app as a real server, and a page in a real browser that looks at it."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from workbench.benchmarks import app_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

REPOSITORY = Path(__file__).resolve().parents[2]


def _app_fixtures() -> ModuleType:
    """tests/app/conftest.py, whose invented runs the browser shows too."""
    path = REPOSITORY / "tests" / "app" / "conftest.py"
    spec = importlib.util.spec_from_file_location("app_fixtures", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


write_hostile_run = _app_fixtures().write_hostile_run


@contextmanager
def serve(runs: Path, log: Path) -> Iterator[str]:
    """Runs the app on a free port until the block ends; gives its address."""
    with app_browser.serve(runs, log, app_browser.free_port()) as server:
        yield server.address


@pytest.fixture(scope="session")
def app_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the app on the shipped demo run, or on an invented one where there is none."""
    folder = tmp_path_factory.mktemp("browser")
    runs = REPOSITORY / "runs"
    if not (runs / "demo" / "embeddings" / "projection.parquet").is_file():
        runs = folder / "runs"
        _app_fixtures().write_run(runs / "demo")
    with serve(runs, folder / "server.log") as address:
        yield address


class Watch:
    """What went wrong in a page while it was watched.

    Attributes:
        faults: JavaScript errors and dialogs.
        strangers: Addresses of other machines that were asked for.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.faults: list[str] = []
        self.strangers: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("dialog", lambda dialog: (self.faults.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self._request(request.url, address))

    def _console(self, kind: str, text: str) -> None:
        # Streamlit looks for its endpoints below the page's path first; a 404 there is normal.
        if kind == "error" and "404" not in text:
            self.faults.append(text)

    def _request(self, url: str, address: str) -> None:
        if re.match(r"(https?|wss?):", url) and address.partition("://")[2] not in url:
            self.strangers.append(url)


OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def profile(
    browser: Browser, chromium: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BrowserContext]:
    """A fresh profile that all tests share: on a disk, where Chromium keeps compiled scripts."""
    folder = tmp_path_factory.mktemp("profile")
    context = browser.browser_type.launch_persistent_context(
        folder, executable_path=chromium, args=list(app_browser.FLAGS)
    )
    yield context
    context.close()


@pytest.fixture
def open_page(profile: BrowserContext, app_url: str) -> Iterator[OpenPage]:
    """Opens a path of the app in a tab of its own and waits until it is drawn."""
    pages: list[Page] = []

    def start(
        path: str = "/",
        *,
        width: int = 1440,
        scheme: str = "light",
        address: str = app_url,
        settled: bool = True,
    ) -> Page:
        page = profile.new_page()
        pages.append(page)
        page.set_default_timeout(90_000)  # a busy machine is slow, not wrong
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.watch = Watch(page, address)  # type: ignore[attr-defined]
        page.goto(address + path)
        if settled:
            settle(page)
        return page

    yield start
    for page in pages:
        page.close()


def settle(page: Page, timeout: float = 60_000) -> None:
    """Waits until the script has run to its end and its charts and tables are drawn."""
    page.wait_for_selector('[data-testid="stMain"] h1', timeout=timeout)
    page.wait_for_selector(
        '[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=timeout
    )
    page.wait_for_selector('[data-testid="stSkeleton"]', state="detached", timeout=timeout)


@pytest.fixture(name="settle")
def settle_fixture() -> Callable[..., None]:
    """Waits until a page is drawn."""
    return settle


@pytest.fixture(name="serve", scope="session")
def serve_fixture() -> Callable[..., object]:
    """Starts a second server: `with serve(runs, log) as address`."""
    return serve
