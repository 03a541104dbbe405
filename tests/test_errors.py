"""How errors of other libraries are quoted."""

from __future__ import annotations

import pytest

from workbench.errors import first_line


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("bad marker\n  in line 3", "bad marker"),
        ("\n  bad marker \n", "bad marker"),
        ("", "ValueError"),
        (" \n", "ValueError"),
    ],
)
def test_an_error_is_quoted_in_one_line(said: str, quoted: str) -> None:
    assert first_line(ValueError(said)) == quoted
