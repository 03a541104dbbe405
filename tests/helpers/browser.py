"""Steps that browser tests share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from playwright.sync_api import Error as PlaywrightError

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def is_well(page: Page, *, complaints: int = 0) -> None:
    """No traceback, no JavaScript error, no request to another machine; red boxes as expected."""
    assert page.locator('[data-testid="stException"]').count() == 0
    assert page.locator('[data-testid="stAlertContentError"]').count() == complaints
    assert page.watch.faults == []  # type: ignore[attr-defined]
    assert page.watch.strangers == []  # type: ignore[attr-defined]


def until(sight: Locator, act: Callable[[], object]) -> None:
    """Acts until it shows: a canvas does not tell when it begins to listen."""
    for _ in range(4):
        act()
        try:
            sight.first.wait_for(timeout=20_000)
            return
        except PlaywrightError:
            continue
    sight.first.wait_for()
