"""``bench app``: how quickly the app draws and answers on an evaluation of LVIS val's size."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench.benchmarks.app_actions import ACTIONS, PAGES, Action, AppPage
from workbench.benchmarks.app_browser import (
    Server,
    complaints,
    free_port,
    listening,
    open_browser,
    seconds_until_changed,
    serve,
    settled,
    until_drawn,
)
from workbench.benchmarks.app_data import IMAGES, run_facts, write_app_run
from workbench.benchmarks.machine import describe_machine
from workbench.errors import ConfigError
from workbench.progress import progress, say
from workbench.runs import RunDirectory

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

Row = dict[str, Any]
SHOWN = ("seconds", "runs", "errors", "peak_bytes", "note")
SESSIONS: Final = 3
RUN: Final = "lvis"
"""Name of the run that is measured."""
_SECOND: Final = "lvis-earlier"
_SIZE: Final = {"width": 1440, "height": 900}


def run_app(
    *,
    images: int = IMAGES,
    runs: Path | None = None,
    pages: Sequence[str] = (),
    cold: int = 3,
    repeats: int = 5,
) -> list[Row]:
    """Generates two runs, starts the app on them and drives it in a headless Chromium.

    Args:
        images: Of the evaluations.
        runs: Folder of runs made before, or to keep for the next time; None makes them in a
            temporary folder.
        pages: Names of pages; empty takes all.
        cold: First paints of each page, each of a fresh server.
        repeats: Warm paints, and repetitions of each action.

    Returns:
        One row per page and action: seconds is the median over "runs", "slowest" the longest.
        "condition" is cold (fresh server, browser profile warm), warm (by the sidebar's link),
        click, or three (sessions at once); "peak_bytes" is the server's largest resident memory
        by then, "errors" counts error boxes and tracebacks.

    Raises:
        ConfigError: playwright or Chromium is missing, a page is unknown, or the folder holds
            runs of another size.
    """
    known = [page.name for page in PAGES]
    for name in pages:
        if name not in known:
            raise ConfigError(f"--pages: no page {name!r}; choose from {', '.join(known)}")
    chosen = [page for page in PAGES if not pages or page.name in pages]
    with tempfile.TemporaryDirectory() as scratch, open_browser() as browser:
        folder = runs or Path(scratch) / "runs"
        facts = make_runs(folder, images)
        machine = describe_machine()
        bench = _Bench(browser, folder, Path(scratch) / "server.log")
        rows = bench.cold(chosen, cold)
        rows += bench.warm_and_clicks(chosen, repeats)
    return [{"bench": "app", **row, **facts, "machine": machine} for row in rows]


def make_runs(folder: Path, images: int) -> Row:
    """The run to measure on, and a second one to compare it with; what the first one holds.

    Raises:
        ConfigError: A run that is there already is of another size.
        RunError: A run that is there already cannot be read.
    """
    for name, kept, seed in ((RUN, None, 0), (_SECOND, min(images, 200), 1)):
        if not (folder / name).exists():
            write_app_run(folder / name, images=images, kept=kept, seed=seed)
        there = RunDirectory.open(folder / name).read_summary("val").get("images")
        if there != images:
            raise ConfigError(
                f"--runs: {folder / name} was evaluated on {there} images, {images} are asked "
                f"for; give --images {there}, or another folder"
            )
    return run_facts(RunDirectory.open(folder / RUN))


class _Bench:
    """The measurements, with what they share.

    Args:
        browser: A headless Chromium.
        folder: Of the runs.
        log: Where the server's words go.
    """

    def __init__(self, browser: Browser, folder: Path, log: Path) -> None:
        self._folder, self._log = folder, log
        self._context: BrowserContext = browser.new_context(viewport=_SIZE)  # type: ignore[arg-type]
        self._port = free_port()  # always the same, or the browser would load all scripts anew

    def cold(self, pages: Sequence[AppPage], runs: int) -> list[Row]:
        """First paints by a server that has just started."""
        if runs == 0:
            return []
        self._warm_profile(pages[0])
        rows = []
        for page in progress(pages, description="first paints", unit="page"):
            seconds, errors, peak, note = [], 0, 0, ""
            for _ in range(runs):
                with serve(self._folder, self._log, self._port) as server:
                    tab = self._tab()
                    start = time.perf_counter()
                    tab.goto(f"{server.address}{page.path}?run={RUN}")
                    failed = self._drawn(tab, page)
                    if not failed:
                        seconds.append(time.perf_counter() - start)
                    note = note or failed
                    errors += complaints(tab) + server.errors()
                    peak = max(peak, server.peak_bytes())
                    tab.close()
            rows.append(_row(page.name, "first paint", "cold", seconds, errors, peak, note))
        return rows

    def warm_and_clicks(self, pages: Sequence[AppPage], repeats: int) -> list[Row]:
        """Everything a running server does."""
        with serve(self._folder, self._log, self._port) as server:
            tab = self._tab()
            # On the last page: a link to the page that is open would change nothing.
            tab.goto(f"{server.address}{pages[-1].path}?run={RUN}")
            settled(tab)
            rows = self._warm(tab, server, pages, repeats)
            actions = [action for action in ACTIONS if action.page in {p.name for p in pages}]
            for action in progress(actions, description="clicks", unit="action"):
                rows.append(self._act(tab, server, action, repeats))
            tab.close()
            rows += self._three(server, pages, repeats)
        return rows

    def _warm(self, tab: Page, server: Server, pages: Sequence[AppPage], repeats: int) -> list[Row]:
        """Paints after a click on the sidebar's link, pages taking turns."""
        seconds: dict[str, list[float]] = {page.name: [] for page in pages}
        notes = dict.fromkeys(seconds, "")
        for turn in range(repeats + 1):
            for page in pages:
                if len(pages) == 1:  # from elsewhere, or nothing would change
                    tab.goto(f"{server.address}{_elsewhere(page)}?run={RUN}")
                    settled(tab)
                try:
                    start = time.perf_counter()
                    self._follow(tab, page)
                    if turn:  # the first fills the caches
                        seconds[page.name].append(time.perf_counter() - start)
                except Exception as error:  # playwright's own, and its timeouts
                    notes[page.name] = _reason(error)
                settled(tab)
        peak, errors = server.peak_bytes(), server.errors() + complaints(tab)
        return [
            _row(name, "paint", "warm", times, errors, peak, notes[name])
            for name, times in seconds.items()
        ]

    def _act(self, tab: Page, server: Server, action: Action, repeats: int) -> Row:
        """One action, several times on a page that was opened for it."""
        page = next(page for page in PAGES if page.name == action.page)
        seconds: list[float] = []
        note = ""
        before = server.errors()
        try:
            for number in range(repeats):
                if number == 0 or action.fresh:
                    tab.goto(f"{server.address}{page.path}?run={RUN}{action.query}")
                    until_drawn(tab, page.title, page.sight)
                settled(tab)
                act = action.aim(tab, number)
                seconds.append(seconds_until_changed(tab, act))
        except Exception as error:  # a selector that is not there must not end all
            note = _reason(error)
            say(f"{action.page}, {action.name}: {note}")
        errors = server.errors() - before + complaints(tab)
        return _row(action.page, action.name, "click", seconds, errors, server.peak_bytes(), note)

    def _three(self, server: Server, pages: Sequence[AppPage], repeats: int) -> list[Row]:
        """Several sessions follow links at the same moment."""
        if len(pages) < 2:
            return []
        tabs = [self._tab() for _ in range(SESSIONS)]
        for tab in tabs:
            tab.goto(f"{server.address}/?run={RUN}")
        for tab in tabs:
            settled(tab)
        before = server.errors()
        seconds: list[float] = []
        note = ""
        for turn in range(repeats):
            order = [pages[(turn + 1 + number) % len(pages)] for number in range(SESSIONS)]
            try:
                starts = []
                for tab, page in zip(tabs, order, strict=True):
                    starts.append(time.perf_counter())
                    tab.get_by_role("link", name=page.link, exact=True).click()
                for tab, page, start in zip(tabs, order, starts, strict=True):
                    until_drawn(tab, page.title, page.sight)
                    seconds.append(time.perf_counter() - start)
            except Exception as error:
                note = _reason(error)
            for tab in tabs:
                settled(tab)
        errors = server.errors() - before + sum(map(complaints, tabs))
        for tab in tabs:
            tab.close()
        peak = server.peak_bytes()
        return [_row("all", "paint", "three", seconds, errors, peak, note)]

    def _warm_profile(self, page: AppPage) -> None:
        """Lets the browser load and keep Streamlit's scripts."""
        with serve(self._folder, self._log, self._port) as server:
            tab = self._tab()
            tab.goto(f"{server.address}{page.path}?run={RUN}")
            self._drawn(tab, page)
            tab.close()

    def _tab(self) -> Page:
        return listening(self._context.new_page())

    def _drawn(self, tab: Page, page: AppPage) -> str:
        """Waits for a page; says what went wrong, "" if nothing."""
        try:
            until_drawn(tab, page.title, page.sight)
        except Exception as error:
            return _reason(error)
        return ""

    def _follow(self, tab: Page, page: AppPage) -> None:
        heading = "document.querySelector('[data-testid=stMain] h1')?.innerText.trim()"
        before = tab.evaluate(heading)
        tab.get_by_role("link", name=page.link, exact=True).click()
        tab.wait_for_function(f"before => ({heading}) !== before", arg=before)
        until_drawn(tab, page.title, page.sight)


def _elsewhere(page: AppPage) -> str:
    """The path of another page."""
    return next(other.path for other in PAGES if other.name != page.name)


def _reason(error: Exception) -> str:
    return f"not measured: {(str(error).splitlines() or [type(error).__name__])[0]}"[:200]


def _row(
    page: str,
    action: str,
    condition: str,
    seconds: Sequence[float],
    errors: int,
    peak: int,
    note: str,
) -> Row:
    return {
        "page": page,
        "action": action,
        "condition": condition,
        "seconds": round(statistics.median(seconds), 3) if seconds else None,
        "slowest": round(max(seconds), 3) if seconds else None,
        "runs": len(seconds),
        "errors": errors,
        "peak_bytes": peak,
        "note": note,
    }
