"""Damaged files, a few for every reader; `make reliability` tries a hundred thousand."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.fuzz import cases, mutations, targets, urls
from helpers.fuzz.cases import Hang, Reader, at_most
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import config
from workbench.errors import ConfigError

MOST = 60  # cases of the cheapest readers


@pytest.fixture(params=targets.TARGETS)
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    made = Reader(request.param, seed=11)
    yield made
    made.close()


def test_damaged_files_are_read_or_refused_in_one_line(reader: Reader) -> None:
    number = max(2, MOST // reader.target.cost)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries, about what they go on to refuse
        found = {case: reader.finding(reader.content(case)) for case in range(number)}
    assert {case: what for case, what in found.items() if what is not None} == {}


def test_the_files_are_read_where_they_are_whole(reader: Reader) -> None:
    """Otherwise every damage would be refused for another reason."""
    whole = [reader.finding(content) for content in reader.valid()]
    assert whole == [None] * len(whole)
    assert reader.taken > 0


def test_cases_are_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    later = time.time() + 1e6
    for name in ("annotations", "label map (.mat)", "archive", "weights", "class file"):
        before = Reader(name, seed=11)
        monkeypatch.setattr(time, "time", lambda: later)
        after = Reader(name, seed=11)
        monkeypatch.undo()
        first, second = ([one.content(case) for case in range(20)] for one in (before, after))
        assert first == second
        assert len(set(first)) > 15
        before.close()
        after.close()


def test_what_is_wrong_with_a_reader_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def finding(read: Any) -> str | None:
        target = targets.Target(".json", read, lambda: [b"{}"])
        monkeypatch.setitem(targets.TARGETS, "mine", target)
        one = Reader("mine", seed=0)
        found = one.finding(b"{}")
        one.close()
        return found

    def hang(_: object) -> None:
        while True:
            pass

    def two_lines(_: object) -> None:
        raise ConfigError("one\ntwo")

    monkeypatch.setattr(cases, "LONGEST", 0.05)
    assert finding(lambda path: path.read_bytes()) is None
    assert str(finding(lambda _: 1 / 0)).startswith("ZeroDivisionError in test_fuzz.py")
    assert str(finding(hang)).startswith("takes more than")
    assert str(finding(two_lines)).startswith("a message of 2 lines")


def test_the_time_is_up_once_and_another_timer_goes_on() -> None:
    with at_most(30), pytest.raises(Hang), at_most(0.01):
        while True:
            pass


def test_every_change_changes_something() -> None:
    """A mutation that leaves files as they are would make cases of nothing."""
    random = np.random.default_rng(0)
    data = bytes(range(256)) + b"value: 12.5"
    changed = [mutations.bytes_changed(data, [data[::-1]], random) for _ in range(300)]
    assert sum(one != data for one in changed) > 270
    document = {"a": [1, 2, {"b": "c"}], "d": None}
    odd = mutations.odd_values()
    documents = [mutations.document_changed(document, random, odd) for _ in range(300)]
    assert sum(one != json.dumps(document).encode() for one in documents) > 270
    assert document == {"a": [1, 2, {"b": "c"}], "d": None}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=20)
    | st.sampled_from(["adamw", "cosine", "small", "fp32"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)


@settings(max_examples=25, deadline=10_000)
@given(st.sampled_from(config.setting_names()), VALUES)
def test_any_value_of_a_setting_is_taken_or_refused_in_one_line(name: str, value: object) -> None:
    section, _, field = name.partition(".")
    text = yaml.safe_dump({section: {field: value}})
    try:
        run = config.from_dict(yaml.safe_load(text))
    except ConfigError as error:
        assert str(error).count("\n") == 0
    else:
        assert config.from_dict(config.to_dict(run)) == run


@settings(max_examples=300)
@given(
    st.text(max_size=40)
    | st.integers().map(str)
    | st.tuples(st.integers(), st.integers()).map(lambda pair: f"{pair[0]},{pair[1]}")
    | st.floats().map(str)
)
def test_any_address_opens_the_app_with_allowed_choices(text: str) -> None:
    urls.check_url(text)
