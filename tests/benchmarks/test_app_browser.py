"""When an act counts as answered, on a page that behaves as Streamlit's do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from workbench.benchmarks import app_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PAGE = """<div data-testid="stApp" data-test-script-state="notRunning">
<div data-testid="stMain">nothing yet</div></div>
<script>
const app = document.querySelector('[data-testid="stApp"]');
const main = document.querySelector('[data-testid="stMain"]');
const server = new WebSocket('ws://127.0.0.1:9');
const hear = () => server.dispatchEvent(new MessageEvent('message'));
const state = (name) => { app.dataset.testScriptState = name; };
const draw = (text) => { main.innerText = text; };
</script>"""


@pytest.fixture
def tab(browser: Browser) -> Page:
    page = app_browser.listening(browser.new_page())
    page.goto(f"data:text/html,{PAGE}")
    return page


def test_a_run_that_the_state_shows_counts_from_its_end(tab: Page) -> None:
    act = "state('running'); draw('half'); setTimeout(() => { draw('all'); state('notRunning'); },"
    seconds = app_browser.seconds_until_changed(tab, lambda: tab.evaluate(f"() => {{{act} 400)}}"))
    assert seconds >= 0.4
    assert tab.inner_text('[data-testid="stMain"]') == "all"


def test_a_run_too_quick_for_the_state_is_heard(tab: Page) -> None:
    seconds = app_browser.seconds_until_changed(
        tab, lambda: tab.evaluate("() => { hear(); draw('all'); hear(); }")
    )
    assert 0.3 <= seconds < 20


def test_what_the_browser_draws_alone_is_no_answer(
    tab: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_browser, "TIMEOUT", 1500)
    with pytest.raises(Exception, match="Timeout 1500ms"):
        app_browser.seconds_until_changed(tab, lambda: tab.evaluate("() => draw('hovered')"))
