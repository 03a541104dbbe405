"""Formulas broken on purpose: the list of breaks holds, and one of them is caught in a copy."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.mutations.breaks import Break, broken, guards_of, mirror, rotten
from helpers.mutations.of_losses import LOSSES
from helpers.mutations.of_metrics import METRICS
from helpers.mutations.trial import Copy

from workbench.benchmarks.rows import read_rows

SIGN = next(one for one in LOSSES if "penalty with the other sign" in one.what)


def test_every_break_applies_exactly_once(repository: Path) -> None:
    assert rotten([*LOSSES, *METRICS], repository) == []
    words = [one.what for one in (*LOSSES, *METRICS)]
    assert len(set(words)) == len(words) >= 50


def test_the_committed_rows_are_of_these_breaks_and_all_were_caught(repository: Path) -> None:
    path = repository / "benchmarks" / "reliability" / "mutations.json"
    rows = read_rows(path)
    assert [row["what"] for row in rows] == [one.what for one in (*LOSSES, *METRICS)]
    assert [row["what"] for row in rows if not row["test"]] == []


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("a - b", "a + b", ""),
        ("a * b", "a + b", "x.py: 'a * b' is there 0 times, not once"),
        ("a", "c", "x.py: 'a' is there 2 times, not once"),
        ("a - b", "a - b", "x.py: 'a - b' is replaced by itself"),
        ("a - b", "a - (", "was never closed (x.py, line 3)"),
    ],
)
def test_a_list_that_has_rotted_is_seen(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    (tmp_path / "x.py").write_text("a = 1\nb = 2\nprint(a - b)\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_x.py").touch()
    found = rotten([Break("a sign", "x.py", right, wrong)], tmp_path)
    assert bool(found) == bool(said)
    assert not said or said in found[0]


def test_a_file_or_its_tests_may_be_missing(tmp_path: Path) -> None:
    one = Break("a sign", "x.py", "a", "b")
    assert len(rotten([one], tmp_path)) == 2
    assert guards_of("x.py") == ("tests/test_x.py",)
    assert mirror("workbench/losses/blocks.py") == "tests/losses/test_blocks.py"


def test_a_break_replaces_what_it_names_and_no_more() -> None:
    source = "x = 1\nreturn functional.relu(margin - apart).mean()\n"
    assert broken(source, SIGN) == "x = 1\nreturn functional.relu(apart - margin).mean()\n"


@pytest.mark.slow
def test_a_break_is_caught_in_a_copy_and_mended(repository: Path, tmp_path: Path) -> None:
    before = (repository / SIGN.path).read_bytes()
    copy = Copy(repository, tmp_path)
    assert copy.is_used()
    with pytest.raises(RuntimeError, match="nowhere"):  # tests that do not run are no catch
        copy.pytest(["tests/nowhere.py"])
    test = f"{guards_of(SIGN.path)[0]}::test_the_penalty_is_the_formula"
    assert copy.pytest([test])[0] == ""  # what is whole passes
    outcome = copy.try_break(SIGN)
    assert outcome.test.startswith(test) and outcome.expected
    assert (copy.root / SIGN.path).read_bytes() == before == (repository / SIGN.path).read_bytes()
