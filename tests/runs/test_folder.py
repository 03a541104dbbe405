"""Places for new runs."""

from __future__ import annotations

from pathlib import Path

from workbench.runs import unused_path


def test_a_taken_name_gets_the_first_free_number(tmp_path: Path) -> None:
    places = []
    for _ in range(3):
        places.append(unused_path(tmp_path / "runs", "first"))
        places[-1].mkdir(parents=True)
    assert [place.name for place in places] == ["first", "first-2", "first-3"]
    (tmp_path / "runs" / "first-2").rmdir()
    assert unused_path(tmp_path / "runs", "first").name == "first-2"
    assert unused_path(tmp_path / "runs", "other").name == "other"
