from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workbench.constants import IGNORE_INDEX
from workbench.evaluation import confusions
from workbench.evaluation.confusions import SparseConfusions, count_pairs

Maps = Callable[..., tuple[np.ndarray, np.ndarray]]

IDS = [0, 255, 256, 1283]
truths = hnp.arrays(np.int64, (3, 5), elements=st.sampled_from([*IDS, IGNORE_INDEX]))
predictions = hnp.arrays(np.int64, (3, 5), elements=st.sampled_from(IDS))


def as_counter(found: SparseConfusions) -> Counter[tuple[int, int]]:
    frame = found.to_frame()
    assert list(frame.columns) == ["truth", "predicted", "pixels"]
    assert not frame.duplicated(["truth", "predicted"]).any()
    assert (frame["pixels"] > 0).all()
    return Counter({(int(t), int(p)): int(n) for t, p, n in frame.itertuples(index=False)})


def oracle(pairs: list[tuple[np.ndarray, np.ndarray]]) -> Counter[tuple[int, int]]:
    return Counter(
        (int(t), int(p))
        for prediction, truth in pairs
        for p, t in zip(prediction.ravel(), truth.ravel(), strict=True)
        if t != IGNORE_INDEX
    )


@pytest.mark.parametrize("classes", [2, 21, 1284, 100_000, 1_000_000])
def test_counts_equal_the_oracle(make_maps: Maps, classes: int) -> None:
    pairs = [make_maps(classes, seed, (40, 50)) for seed in range(3)]
    found = SparseConfusions(classes)
    for prediction, truth in pairs:
        found.update(prediction, truth)
    assert as_counter(found) == oracle(pairs)


def test_counts_equal_the_dense_matrix_of_scikit_learn(make_maps: Maps) -> None:
    from sklearn.metrics import confusion_matrix

    prediction, truth = make_maps(300, 0, (60, 60))
    found = SparseConfusions(300)
    found.update(prediction, truth)
    frame = found.to_frame()
    dense = np.zeros((300, 300), np.int64)
    dense[frame["truth"], frame["predicted"]] = frame["pixels"]
    chosen = truth != IGNORE_INDEX
    expected = confusion_matrix(truth[chosen], prediction[chosen], labels=np.arange(300))
    np.testing.assert_array_equal(dense, expected)


@given(st.lists(st.tuples(predictions, truths), max_size=5), st.integers(0, 5))
def test_merged_parts_equal_the_whole(pairs: list[tuple[np.ndarray, np.ndarray]], cut: int) -> None:
    first, second = SparseConfusions(1284), SparseConfusions(1284)
    for index, (prediction, truth) in enumerate(pairs):
        (first if index < cut else second).update(prediction, truth)
    first.add(second.pairs())
    assert as_counter(first) == oracle(pairs)


def test_summing_up_early_changes_nothing(make_maps: Maps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusions, "_PENDING_LIMIT", 10)
    pairs = [make_maps(1284, seed) for seed in range(6)]
    found = SparseConfusions(1284)
    for prediction, truth in pairs:
        found.update(prediction, truth)
        assert found._pending_size <= 10
    assert as_counter(found) == oracle(pairs)


def test_no_class_predicted_is_left_out() -> None:
    codes, pixels = count_pairs(np.array([IGNORE_INDEX, 5, 5]), np.array([7, 7, 7]), 1284)
    assert (codes.tolist(), pixels.tolist()) == ([7 * 1284 + 5], [2])


def test_empty() -> None:
    frame = SparseConfusions(1284).to_frame()
    assert len(frame) == 0
    assert {str(kind) for kind in frame.dtypes} == {"int64"}
    nothing = np.full((2, 2), IGNORE_INDEX)
    assert len(count_pairs(nothing, nothing, 2)[0]) == 0
    with pytest.raises(ValueError, match="at least one"):
        SparseConfusions(0)
