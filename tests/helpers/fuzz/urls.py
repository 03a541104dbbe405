"""What the app makes of the address it is opened with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock


def check_url(text: str) -> None:
    """Gives every choice of the app this text from the address.

    Raises:
        AssertionError: A choice is none that is allowed.
    """
    from app import pictures, state

    pixel = pictures.parse_pixel(text, 64, 48)
    if pixel is not None and not (0 <= pixel.x < 64 and 0 <= pixel.y < 48):
        raise AssertionError(f"a pixel outside of the picture: {pixel}")
    for name, options, default, parse in _choices():
        session: dict[str, Any] = {}
        browser = SimpleNamespace(query_params={name: text}, session_state=session)
        with mock.patch.object(state, "st", browser):
            state.seed(name, options, default, parse)
        chosen = session[state.widget_key(name)]
        if chosen not in options:
            raise AssertionError(f"{name} became {chosen!r}")


def _choices() -> list[tuple[str, Any, Any, Any]]:
    from app import pictures

    return [
        ("class", [None, *range(1284)], None, int),
        ("image", {"a/b.jpg", "c"}, "c", str),
        ("run", ["demo", "mine"], "demo", str),
        ("split", ["val"], "val", str),
        ("edges", (0.0, 0.1, 0.25), 0.0, float),
        ("step", [10, 20], 20, int),
        ("layout", ["UMAP 2D", "PCA 2D"], "UMAP 2D", str),
        ("pixel", pictures.PixelGrid(64, 48), None, str),
        ("compare", [None, "mine"], None, str),
    ]
