from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.evaluation.confusions import SparseConfusions
from workbench.evaluation.failures import REASONS, reasons, strongest_rival
from workbench.evaluation.iou import count_pixels

CLASSES = 1284


def codes(
    pixels: dict[tuple[int, int], int],
    train_images: dict[int, int] | None = None,
    *,
    boundary: dict[int, int] | None = None,
    unverified: dict[int, int] | None = None,
) -> dict[int, str]:
    """Codes of the classes concerned, from {(truth, predicted): pixels}."""
    truth = np.repeat([t for t, _ in pixels], list(pixels.values()))
    prediction = np.repeat([p for _, p in pixels], list(pixels.values()))
    counts = count_pixels(prediction, truth, CLASSES)
    found = SparseConfusions(CLASSES)
    found.update(prediction, truth)
    images = np.full(CLASSES, 3)
    for class_id, number in (train_images or {}).items():
        images[class_id] = number
    rival = strongest_rival(found.to_frame(), counts.truth_pixels)
    result = reasons(
        counts,
        rival,
        images,
        boundary_errors=None if boundary is None else column(boundary),
        unverified=None if unverified is None else column(unverified),
    )
    assert len(result) == CLASSES
    assert set(result) <= {*REASONS, ""}
    return {c: result[c] for c in {c for pair in pixels for c in pair}}


def column(values: dict[int, int]) -> np.ndarray:
    filled = np.zeros(CLASSES, np.int64)
    filled[list(values)] = list(values.values())
    return filled


def test_every_reason_has_words_and_a_meaning() -> None:
    assert all(reason.words and reason.meaning for reason in REASONS.values())
    assert len({reason.words for reason in REASONS.values()}) == len(REASONS)


def test_fine() -> None:
    assert codes({(1283, 1283): 25, (1283, 1): 20, (1283, 2): 20, (1283, 3): 35})[1283] == ""


def test_absent_from_val() -> None:
    found = codes({(1283, 1283): 1, (1283, 7): 1})
    assert found[7] == "absent_from_val"
    assert reasons_of_untouched() == "absent_from_val"


def reasons_of_untouched() -> str:
    zeros = np.zeros(CLASSES, np.int64)
    counts = count_pixels(zeros[:1], zeros[:1], CLASSES)
    rival = strongest_rival(pd.DataFrame({"truth": [], "predicted": [], "pixels": []}), zeros)
    return reasons(counts, rival, zeros)[1283]


def test_absent_from_train() -> None:
    assert codes({(1283, 1): 4}, {1283: 0})[1283] == "absent_from_train"
    # a class scored well is fine, whatever the counts say
    assert codes({(1283, 1283): 4}, {1283: 0})[1283] == ""


def test_counts_that_are_not_known_make_no_class_absent_from_train() -> None:
    assert codes({(1283, 1): 4}, dict.fromkeys(range(CLASSES), 0))[1283] == "never_predicted"


def test_never_predicted() -> None:
    assert codes({(1283, 1): 4, (1, 1): 9})[1283] == "never_predicted"


def test_swallowed_from_half_of_its_pixels_on() -> None:
    assert codes({(1283, 1283): 20, (1283, 256): 50, (1283, 2): 30})[1283] == "swallowed"
    assert codes({(1283, 1283): 21, (1283, 256): 49, (1283, 2): 30})[1283] == "mostly_misses"


def test_misses_and_false_alarms() -> None:
    spread = {(1283, other): 20 for other in (1, 2, 3, 4)}
    assert codes({(1283, 1283): 20, **spread})[1283] == "mostly_misses"
    assert codes({(1283, 1283): 20, **spread, (9, 1283): 79})[1283] == "mostly_misses"
    assert codes({(1283, 1283): 20, **spread, (9, 1283): 80})[1283] == "mostly_false_alarms"


def test_the_strongest_rival() -> None:
    frame = pd.DataFrame(
        [(5, 5, 90), (5, 1283, 6), (5, 2, 4), (6, 9, 3), (6, 8, 3), (7, 7, 1)],
        columns=["truth", "predicted", "pixels"],
    )
    truth_pixels = np.zeros(CLASSES, np.int64)
    truth_pixels[[5, 6, 7]] = [100, 6, 1]
    rival = strongest_rival(frame, truth_pixels)
    assert [(int(rival.class_id[c]), float(rival.share[c])) for c in (5, 6, 7, 8)] == [
        (1283, 0.06),
        (8, 0.5),  # of two equal ones the lower id
        (-1, 0.0),
        (-1, 0.0),
    ]


def test_boundary_only_from_three_quarters_of_the_wrong_pixels_on() -> None:
    spread = {(1283, other): 20 for other in (1, 2, 3, 4)}
    pixels = {(1283, 1283): 20, **spread, (9, 1283): 20}  # 100 wrong
    assert codes(pixels, boundary={1283: 75})[1283] == "boundary_only"
    assert codes(pixels, boundary={1283: 74})[1283] == "mostly_misses"
    assert codes(pixels)[1283] == "mostly_misses"  # not counted: an older evaluation
    # a class that another takes is confused, wherever its pixels lie
    taken = {(1283, 1283): 20, (1283, 256): 80}
    assert codes(taken, boundary={1283: 80})[1283] == "swallowed"


def test_false_alarms_that_nobody_checked() -> None:
    pixels = {(1283, 1283): 20, (1283, 1): 20, (1283, 2): 20, (9, 1283): 100}
    assert codes(pixels, unverified={1283: 50})[1283] == "unverified_false_alarms"
    assert codes(pixels, unverified={1283: 49})[1283] == "mostly_false_alarms"
    assert codes(pixels, unverified={})[1283] == "mostly_false_alarms"
