"""The load itself: a server, its people, a real browser among them, and a look at its memory."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from helpers.load import figures
from helpers.load.changes import possible
from helpers.load.figures import Act, Row, Sample
from helpers.load.protocol import Lost, Tab, Trouble
from workbench.benchmarks import app_browser
from workbench.benchmarks.app_actions import ACTIONS, PAGES, Action
from workbench.benchmarks.app_browser import Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

THINK: Final = 7.0
"""Seconds between two acts of a person, in the mean; exponential, at least 1 s, at most 30 s."""

HURRY: Final = 2.0
"""Seconds between two acts during the warm-up, in the mean: what the server keeps fills up."""

_LOOKS: Final = 300  # at the memory, evenly
_SAMPLES: Final = 120  # kept in the rows
_MOVES: Final = 0.25  # share of acts that open another page
_TYPED: Final = {
    ("predictions", "next picture"),
    ("predictions", "order"),
    ("classes", "search"),
    ("failures", "search"),
    ("class_map", "find"),
    ("memory", "classes"),
}
"""What the browser does: acts that change something however often they are done."""


class Load:
    """What happens, and what comes of it.

    Args:
        server: The app.
        run: Name of the run that people open.
        sessions: People, the one with a browser not counted.
        times: Seconds of the warm-up, and after it.
        think: Seconds between two acts, in the mean; in the warm-up ``HURRY`` at most.
        seed: Of all choices.

    Attributes:
        acts: Over the protocol, after the warm-up.
        browser_acts: In the browser, after the warm-up.
        warm_up_acts: In the warm-up, of both.
        samples: Of the server's memory.
    """

    def __init__(
        self,
        server: Server,
        run: str,
        sessions: int,
        times: tuple[float, float],
        think: float,
        seed: int,
    ) -> None:
        self.acts: list[Act] = []
        self.browser_acts: list[Act] = []
        self.warm_up_acts: list[Act] = []
        self.samples: list[Sample] = []
        self._server, self._run, self._think, self._seed = server, run, think, seed
        self._start = time.perf_counter()
        self._warm = self._start + times[0]
        self._end = self._start + sum(times)
        self._every = sum(times) / _LOOKS
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, daemon=True)]
        self._threads += [
            threading.Thread(target=self._person, args=(number,), daemon=True)
            for number in range(sessions)
        ]

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Everybody but the browser is there while the block runs, and until the time is up."""
        for thread in self._threads:
            thread.start()
        try:
            yield
            self._over.wait(max(0.0, self._end - time.perf_counter()))
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join(timeout=90)

    def _watch(self) -> None:
        while True:
            seconds = time.perf_counter() - self._start
            self.samples.append(Sample(seconds, self._server.resident_bytes()))
            if self._over.wait(self._every):
                return

    def _pause(self, rng: random.Random) -> bool:
        """Thinks; whether to go on."""
        think = min(self._think, HURRY) if time.perf_counter() < self._warm else self._think
        thought = min(30.0, max(1.0, rng.expovariate(1 / think))) if think else 0.0
        return not self._over.wait(thought) and time.perf_counter() < self._end

    def _person(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")
        self._over.wait(rng.random() * min(self._think, 5.0))  # people do not come all at once
        while not self._over.is_set():
            try:
                with Tab(self._server.address) as tab:
                    self._use(tab, number, rng)
            except Lost as error:
                self._note(Act("connection", None, str(error)))
            except Exception as error:  # a person who cannot go on must be seen
                self._note(Act("connection", None, f"{type(error).__name__}: {error}"[:200]))
            if time.perf_counter() >= self._end:
                return
            self._over.wait(1.0)

    def _use(self, tab: Tab, number: int, rng: random.Random) -> None:
        """Opens every page once, each person another first, then acts at will."""
        pages = [page.path.strip("/") for page in PAGES]
        pages = pages[number % len(pages) :] + pages[: number % len(pages)]
        self._act(f"open {_name(pages[0])}", tab, lambda: tab.open(pages[0], f"run={self._run}"))
        for page in pages[1:]:
            if not self._pause(rng):
                return
            self._act(f"open {_name(page)}", tab, lambda path=page: tab.go(path))
        while self._pause(rng):
            self._anything(tab, rng)

    def _anything(self, tab: Tab, rng: random.Random) -> None:
        changes = possible(tab.widgets, rng)
        here = next((path for path, key in tab.pages.items() if key == tab.page), "")
        if rng.random() < _MOVES or not changes:
            path = rng.choice([path for path in tab.pages if path != here])
            self._act(f"open {_name(path)}", tab, lambda: tab.go(path))
            return
        actions = sorted({change.action for change in changes})
        action = rng.choice(actions)  # a page has many buttons and one chart
        change = rng.choice([one for one in changes if one.action == action])
        self._act(action, tab, lambda: tab.make(change))

    def _act(self, action: str, tab: Tab, act: Callable[[], float]) -> None:
        try:
            seconds = act()
        except Lost:
            raise
        except Trouble as error:
            self._note(Act(action, None, str(error)))
            raise Lost("opened anew after: " + str(error)) from error
        self._note(Act(action, seconds, "; ".join(tab.trouble)))

    def _note(self, act: Act, *, browser: bool = False) -> None:
        after = self.browser_acts if browser else self.acts
        (self.warm_up_acts if time.perf_counter() < self._warm else after).append(act)

    def browse(self, tab: Page) -> None:
        """What the person with the browser does, until the time is up."""
        rng = random.Random(f"{self._seed} browser")
        faults: list[str] = []
        tab.on("pageerror", lambda error: faults.append(f"JavaScript: {error}"))
        tab.goto(f"{self._server.address}/?run={self._run}")
        actions = [one for one in ACTIONS if (one.page, one.name) in _TYPED]
        here, number = "overview", 0
        while self._pause(rng):
            action, turn = actions[number % len(actions)], number // len(actions)
            number += 1
            if action.page != here:
                here = action.page
                self._look("open a page", lambda page=here: self._follow(tab, page))
                self._pause(rng)
            self._look(action.name, lambda one=action, at=turn: _do(tab, one, at))
            boxes = app_browser.complaints(tab)
            faults += [f"{boxes} error boxes"] * bool(boxes)
            for one in faults:
                self._note(Act(action.name, None, one[:200]), browser=True)
            faults.clear()

    def _look(self, name: str, act: Callable[[], float]) -> None:
        try:
            self._note(Act(name, act(), ""), browser=True)
        except Exception as error:  # playwright's own, and its timeouts
            line = (str(error).splitlines() or [type(error).__name__])[0]
            self._note(Act(name, None, line[:200]), browser=True)

    def _follow(self, tab: Page, name: str) -> float:
        """Opens a page by the sidebar's link."""
        page = next(one for one in PAGES if one.name == name)
        start = time.perf_counter()
        tab.get_by_role("link", name=page.link, exact=True).click()
        app_browser.until_drawn(tab, page.title, page.sight)
        return time.perf_counter() - start


def _do(tab: Page, action: Action, turn: int) -> float:
    app_browser.settled(tab)  # or a late repaint takes the field that was filled
    return app_browser.seconds_until_changed(tab, action.aim(tab, turn))


def _name(path: str) -> str:
    """Of a page, from its path."""
    return next(page.link for page in PAGES if page.path.strip("/") == path)


def run_load(
    runs: Path,
    run: str,
    log: Path,
    *,
    sessions: int,
    seconds: float,
    warm_up: float = 0.0,
    think: float = THINK,
    browser: bool = True,
    seed: int = 0,
    checkout: Path | None = None,
) -> list[Row]:
    """Puts the app under load.

    Args:
        runs: Folder of runs.
        run: The one that people open.
        log: Where the server's words go.
        sessions: How many people, the one with the browser among them.
        seconds: How long, after the warm-up.
        warm_up: Seconds before, in which people act quickly.
        think: Seconds between two acts of a person, in the mean.
        browser: Whether there is one with a browser.
        seed: Of all choices.
        checkout: Where the folder app is; None takes this one.

    Returns:
        Rows with "what": "load" (the whole: "sessions", "minutes", "acts", "errors",
        "tracebacks", "problems"; errors are those of the warm-up too), "action" (of protocol
        clients, see `figures.latencies`), "browser" (likewise) and "memory" (see
        `figures.memory`, with "samples").

    Raises:
        ConfigError: The app does not start, or there is no browser.
    """
    port = app_browser.free_port()
    with app_browser.serve(runs, log, port, checkout=checkout) as server:
        load = Load(server, run, sessions - browser, (warm_up, seconds), think, seed)
        if browser:
            with app_browser.open_browser() as chromium, load.going_on():
                tab = chromium.new_page(viewport={"width": 1440, "height": 900})
                load.browse(app_browser.listening(tab))
        else:
            with load.going_on():
                pass
        tracebacks = server.errors()
    about = {
        "sessions": sessions,
        "browser": browser,
        "minutes": round(seconds / 60, 2),
        "warm_up_minutes": round(warm_up / 60, 2),
        "think_seconds": think,
        "seed": seed,
    }
    return _rows(load, about, tracebacks, warm_up)


def _rows(load: Load, about: dict[str, Any], tracebacks: int, warm_up: float) -> list[Row]:
    acts = load.acts + load.browser_acts
    problems = figures.problems([*load.warm_up_acts, *acts])
    whole = {
        "what": "load",
        **about,
        "acts": len(acts),
        "warm_up_acts": len(load.warm_up_acts),
        "errors": sum(one["count"] for one in problems) + tracebacks,
        "tracebacks": tracebacks,
        "problems": problems,
    }
    memory = figures.memory(load.samples, warm_up)
    memory |= {"samples": figures.thinned(load.samples, _SAMPLES)}
    return [
        whole,
        *({"what": "action", **row} for row in figures.latencies(load.acts)),
        *({"what": "browser", **row} for row in figures.latencies(load.browser_acts)),
        {"what": "memory", **memory},
    ]
