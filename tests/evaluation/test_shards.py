"""An evaluation in shares is the evaluation of one process, to the last pixel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import processes
from workbench.evaluation.evaluate import Evaluator
from workbench.evaluation.shards import combine, shares


@given(total=st.integers(0, 40), world=st.integers(1, 6), data=st.data())
def test_every_image_is_scored_once(total: int, world: int, data: Any) -> None:
    first = data.draw(st.sets(st.integers(0, max(0, total - 1)), max_size=total))
    parts = shares(total, first, world)
    assert len(parts) == world
    assert sorted(place for part in parts for place in part) == list(range(total))
    assert all(part == sorted(part) for part in parts)
    assert first <= set(parts[0])
    sizes = [len(part) for part in parts]
    fair = -(-total // world)
    assert sizes[0] == max(len(first), min(fair, total)) if world > 1 else sizes == [total]
    assert max(sizes[1:], default=0) - min(sizes[1:], default=0) <= 1


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("federated", [False, True])
def test_shares_add_up(
    make_vocabulary: Any, world: int, federated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes, generator = 300, np.random.default_rng(0)
    vocabulary = make_vocabulary(classes)
    images = []
    for number in range(7):
        truth = generator.integers(250, 300, (12, 9 + number))
        truth[0] = -100
        truth[1:3] = number
        guess = np.where(generator.random(truth.shape) < 0.5, truth, 255)
        images.append((f"ä {number}", np.where(guess < 0, 7, guess), truth))
    verdicts = {f"ä {n}": {"neg": [255], "not_exhaustive": []} for n in (2, 5)}

    def scored(places: list[int]) -> Evaluator:
        evaluator = Evaluator(vocabulary, federated=verdicts if federated else None)
        for place in places:
            evaluator.update(*images[place])
        return evaluator

    whole = scored(list(range(7))).result()
    parts = shares(7, {1, 6}, world)
    sent: list[bytes] = []
    monkeypatch.setattr(processes, "world", lambda: world)
    monkeypatch.setattr(processes, "all_gather", lambda part: sent.append(part) or [part])
    for places in parts:
        combine(scored(places), places)
    monkeypatch.setattr(processes, "all_gather", lambda _: sent)
    for places in parts:  # each process comes to the same
        evaluator = scored(places)
        combine(evaluator, places)
        result = evaluator.result()
        for one, other in zip(whole[1:], result[1:], strict=True):
            pd.testing.assert_frame_equal(one, other, check_exact=True)
        assert {**result.summary, "seconds": 0} == {**whole.summary, "seconds": 0}
        assert ("unverified_pixels" in result.summary) is federated


def test_a_process_may_have_no_image(make_vocabulary: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = make_vocabulary(2)
    one, none = Evaluator(vocabulary), Evaluator(vocabulary)
    one.update("x", np.array([[0, 1]]), np.array([[0, 0]]))
    right = one.result()
    sent: list[bytes] = []
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes, "all_gather", lambda part: sent.append(part) or [part])
    combine(one, [0])
    combine(none, [])
    monkeypatch.setattr(processes, "all_gather", lambda _: sent)
    combine(none, [])
    pd.testing.assert_frame_equal(none.result().per_image_class, right.per_image_class)
    assert none.result().summary["miou"] == right.summary["miou"]
