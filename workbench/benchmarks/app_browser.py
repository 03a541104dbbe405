"""The app as a process of its own, and a headless browser that looks at it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import workbench
from workbench.benchmarks.process_tree import ProcessTree
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHECKOUT: Final = Path(workbench.__file__).resolve().parents[1]
TIMEOUT: Final = 30_000
"""Milliseconds after which something counts as not coming."""

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
"""Names under which distributions install Chromium, in the order they are looked for."""

FLAGS: Final = (
    "--no-sandbox",  # in containers everything runs as root, where the sandbox refuses
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Of a browser that talks to this machine only."""

_IDLE: Final = """() => {
  const app = document.querySelector('[data-testid="stApp"]');
  return app && app.dataset.testScriptState === 'notRunning'
    && !document.querySelector('[data-testid="stSkeleton"]');
}"""
# All that a person could see change: words, the address, rows of tables, points and pictures.
_SIGHT: Final = """() => {
  const main = document.querySelector('[data-testid="stMain"]');
  if (!main) return '';
  const count = (query) => main.querySelectorAll(query).length;
  const rows = [...main.querySelectorAll('[role=grid]')].map(
    (grid) => grid.getAttribute('aria-rowcount') + ':' + grid.textContent.slice(0, 400));
  const drawn = [...main.querySelectorAll('.js-plotly-plot')].map((plot) =>
    (plot.data || []).map((t) => [t.x && t.x.length, t.x && t.x[0], t.y && t.y[0]].join()).join());
  const own = [...main.querySelectorAll('*')].filter((e) => e.shadowRoot).map((e) => [
    e.shadowRoot.textContent,
    ...[...e.shadowRoot.querySelectorAll('[data-ready]')].map((v) => v.dataset.ready),
    ...[...e.shadowRoot.querySelectorAll('img')].map((i) => i.src.slice(-40))]);
  return JSON.stringify([main.innerText, location.search, rows, drawn, own,
    [...main.querySelectorAll('img')].map((i) => i.src.slice(-40)),
    count('[data-testid="stException"]')]);
}"""
# Something may change at once, drawn by the browser alone: what counts is the script's answer.
# A quick one begins and ends between two frames of React's, and the state never changes; then the
# server's words tell, once no more of them come.
_COUNT: Final = """
const Socket = window.WebSocket;
window.lastWord = -Infinity;
window.WebSocket = class extends Socket {
  constructor(...given) {
    super(...given);
    this.addEventListener('message', () => { window.lastWord = performance.now(); });
  }
};"""
_WATCH: Final = """() => {
  window.scriptRuns = 0;
  window.lastWord = -Infinity;
  if (window.scriptWatch) window.scriptWatch.disconnect();
  const app = document.querySelector('[data-testid="stApp"]');
  window.scriptWatch = new MutationObserver(() => { window.scriptRuns += 1; });
  window.scriptWatch.observe(
    app, {attributes: true, attributeFilter: ['data-test-script-state']});
}"""
_ANSWERED: Final = """() => window.scriptRuns > 1
  || (window.lastWord > -Infinity && performance.now() - window.lastWord > 300)"""
_CHANGED: Final = f"(before) => ({_ANSWERED})() && ({_IDLE})() && ({_SIGHT})() !== before"


class Server:
    """The app, running.

    Attributes:
        address: Its URL.
    """

    def __init__(self, process: subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.process, self.address, self._log = process, address, log
        self._tree = ProcessTree(process.pid)

    def peak_bytes(self) -> int:
        """Largest resident memory so far."""
        self._tree.sample()
        return self._tree.main_peak_bytes

    def resident_bytes(self) -> int:
        """Resident memory now."""
        self._tree.sample()
        return self._tree.main_bytes

    def errors(self) -> int:
        """Tracebacks in what it said, in colour where rich is installed."""
        said = re.sub(r"\x1b\[[\d;]*m", "", self._log.read_text("utf-8", errors="replace"))
        return said.count("Traceback (most recent")


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(
    runs: Path,
    log: Path,
    port: int,
    *,
    checkout: Path | None = None,
    start_in: Path | None = None,
) -> Iterator[Server]:
    """Starts the app of a checkout on a folder of runs, until the block ends.

    Args:
        runs: Folder of runs.
        log: Where its words go.
        port: To listen on.
        checkout: Where the folder app is; None takes this one.
        start_in: Working directory; None takes the checkout.

    Raises:
        ConfigError: There is no app beside the package, or it does not start.
    """
    checkout = checkout or CHECKOUT
    script = checkout / "app" / "main.py"
    if not script.is_file():
        raise ConfigError(f"bench app: {checkout} has no app/main.py; run it from a checkout")
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    command += ["--server.headless", "true", "--server.fileWatcherType", "none"]
    command += ["--server.port", str(port), "--", "--runs", str(runs.absolute())]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=start_in or checkout,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        server = Server(process, f"http://localhost:{port}", log)
        try:
            _wait(server, log)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(server: Server, log: Path) -> None:
    for _ in range(600):
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.address}/_stcore/health", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    said = " ".join(log.read_text("utf-8", errors="replace").split())[-300:]
    raise ConfigError(f"bench app: streamlit does not start here: {said}")


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium.

    Raises:
        ConfigError: playwright or Chromium is not installed.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise ConfigError(
            "bench app drives a browser through playwright; install it: pip install playwright"
        ) from error
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        raise ConfigError(
            f"bench app: none of {', '.join(BROWSERS)} is on the PATH; install Chromium"
        )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def listening(tab: Page) -> Page:
    """The tab, which goes nowhere before this, hears the server: for `seconds_until_changed`."""
    tab.add_init_script(_COUNT)
    return tab


def until_drawn(page: Page, title: str, sight: str) -> None:
    """Waits until a page's script has run to its end and its main content is there."""
    page.wait_for_function(
        "title => document.querySelector('[data-testid=stMain] h1')?.innerText.trim() === title"
        if title
        else "() => document.querySelector('[data-testid=stMain] h1')",
        arg=title,
        timeout=TIMEOUT,
    )
    page.wait_for_selector(sight, timeout=TIMEOUT)
    page.wait_for_function(_IDLE, timeout=TIMEOUT)


def settled(page: Page) -> str:
    """Waits until nothing changes any more, and returns what is to be seen."""
    page.wait_for_function(_IDLE, timeout=TIMEOUT)
    seen = str(page.evaluate(_SIGHT))
    for _ in range(40):
        page.wait_for_timeout(150)
        now = str(page.evaluate(_SIGHT))
        if now == seen and page.evaluate(_IDLE):
            return seen
        seen = now
    return seen


def seconds_until_changed(page: Page, act: Callable[[], float | None]) -> float:
    """Seconds from an act to what it changes on the page, the script's end included.

    Up to 0.3 s too many where the browser did not show that a script ran at all.

    Args:
        page: Where; ``listening``.
        act: Does it; returns the moment from which it counts, None for its beginning.
    """
    before = settled(page)
    page.evaluate(_WATCH)
    start = time.perf_counter()
    start = act() or start
    page.wait_for_function(_CHANGED, arg=before, timeout=TIMEOUT)
    return time.perf_counter() - start


def complaints(page: Page) -> int:
    """Error boxes on the page."""
    boxes = '[data-testid="stException"], [data-testid="stAlertContentError"]'
    return page.locator(boxes).count()
