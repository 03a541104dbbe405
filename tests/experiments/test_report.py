"""The page about accuracy says what the cells say, and what is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.experiments.advice import advice
from workbench.experiments.plan import METHODS, ROOMY, TIGHT
from workbench.experiments.plot import draw_why
from workbench.experiments.report import main, render_page
from workbench.experiments.report_tables import render_ladder
from workbench.experiments.summary import aims, entries, interval

CLASSES = 1284
MACHINE = {"cpu": "Abacus 3", "cpu_count": 7, "ram_bytes": 2**33, "torch": "9", "gpus": []}


def row(method: str, miou: float, *, seed: int = 0, **columns: Any) -> dict[str, Any]:
    groups = {name: {"miou": miou, "classes": 9, "absent": 0} for name in ("rare", "stuff")}
    score = {"miou": miou, "pixel_accuracy": 0.5, "groups": groups}
    inside: dict[str, Any] = {"hit_rate": {"1": 0.1, "7": 0.2, "32": 0.3, "128": 0.4}}
    if "dense" not in method:
        inside |= {
            "covered": {"7": 0.5},
            "crowding": {"smallest": 0.1, "p05": 0.2, "median": 0.9, "within_margin": 0.01},
            "effective_rank": 11.0,
            "temperature": 20.0,
            "gradients": {"rare": {"untouched": 0.75, "mean": 0.1}},
        }
    return {
        "experiment": "budgets",
        "method": method,
        "title": METHODS[method][0],
        "classes": CLASSES,
        "memory": TIGHT,
        "length": "time",
        "seed": seed,
        "batch": 16,
        "crop": 128,
        "steps": 600,
        "images_seen": 9600,
        "peak_bytes": 2**28,
        "seconds_per_step": 0.8,
        "dev": score,
        "test": score,
        "test_iou": [miou] * (CLASSES - 1) + [None],
        "diagnostics": inside,
        "curve": [[10.0, 5.0], [600.0, 1.0]],
        "machine": MACHINE,
        "device": "cpu",
        **columns,
    }


def by_text(rows: list[dict[str, Any]]) -> dict[str, bool | None]:
    return {aim.text.split(",")[0]: aim.met for aim in aims(rows)}


def test_seeds_are_one_entry_with_a_spread() -> None:
    (entry,) = entries([row("ours", 0.3), row("ours", 0.4, seed=1), row("ours", 0.2, seed=2)])
    assert entry.miou == pytest.approx(0.3) and (entry.low, entry.high) == (0.2, 0.4)


def test_three_times_dense_is_an_aim_that_can_be_missed() -> None:
    name = "best embedding / dense on drawn pixels"
    assert by_text([row("ours", 0.31), row("dense", 0.1)])[name] is True
    assert by_text([row("ours", 0.29), row("dense", 0.1)])[name] is False
    assert by_text([row("ours", 0.29)])[name] is None


def test_the_best_is_chosen_on_dev() -> None:
    lucky = row("linear-64", 0.9) | {"dev": {"miou": 0.0}}
    told = aims([row("ours", 0.31), lucky, row("dense", 0.1)])[1].reached
    assert told.startswith(METHODS["ours"][0])


def test_the_paper_is_beaten_outside_the_spread_or_not() -> None:
    name = "ours above the paper's loss"
    paper = [row("nearest", 0.1), row("nearest", 0.2, seed=1)]
    assert by_text([row("ours", 0.3), row("ours", 0.21, seed=1), *paper])[name] is True
    assert by_text([row("ours", 0.3), row("ours", 0.19, seed=1), *paper])[name] is False
    assert by_text([row("ours", 0.3), *paper])[name] is None  # one seed has no spread


def test_dense_has_room_only_where_it_learns() -> None:
    name = "best embedding minus best dense on the same images"
    room: dict[str, Any] = {"experiment": "images", "memory": ROOMY, "length": "images"}
    assert by_text([row("ours", 0.4, **room), row("dense", 0.3, **room)])[name] is True
    assert by_text([row("ours", 0.25, **room), row("dense", 0.3, **room)])[name] is False
    assert by_text([row("ours", 0.25, **room), row("dense", 0.1, **room)])[name] is None


def test_an_adjusted_embedding_is_ahead_of_what_is_adjusted_too() -> None:
    room: dict[str, Any] = {"experiment": "images", "memory": ROOMY, "length": "images"}
    rows = [row("ours", 0.2, **room), row("dense", 0.3, **room), row("ours-adjusted", 0.4, **room)]
    (alone,) = (aim for aim in aims(rows) if "on the same images" in aim.text)
    assert alone.met is True and "no dense head was trained with adjusted logits" in alone.reached
    fair = [*rows, row("dense-adjusted", 0.5, **room)]
    (both,) = (aim for aim in aims(fair) if "on the same images" in aim.text)
    assert both.met is False and "no dense head" not in both.reached


def test_the_rare_may_not_cost_the_rest() -> None:
    name = "rare classes: sampling or logit adjustment / plain training at least 2"
    factors: dict[str, Any] = {"experiment": "factors"}
    plain = row("ours-even", 0.1, **factors)
    good = row("ours-adjusted", 0.2, **factors)
    assert by_text([plain, good])[name] is True
    costly = good | {"test": good["test"] | {"miou": 0.08}}
    assert by_text([plain, costly])[name] is False


def test_an_interval_pairs_the_classes() -> None:
    a, b = row("dense", 0.1), row("ours", 0.3)
    b["test_iou"][7] = None  # a class one of them lacks is left out
    paired = interval(a, b)
    assert paired.classes == CLASSES - 2
    assert paired.change == pytest.approx(0.2)


def test_the_page_names_what_was_not_run() -> None:
    rows = [row("ours", 0.3123), row("dense", 0.1)]
    page = render_page(rows, {"budgets": ["nearest--x"], "factors": []})
    assert "**0.312**" in page and "Abacus 3" in page
    assert "`nearest--x`" in page
    assert "its cells were not run yet" in page


def test_the_protocol_stands_before_the_first_result(tmp_path: Path) -> None:
    page = tmp_path / "accuracy.md"
    main(tmp_path / "none", page)
    text = page.read_text(encoding="utf-8")
    assert "## Protocol" in text and "480 s of training" in text
    assert text.count("its cells were not run yet") == 5
    assert "- budgets: none of 22 cells run yet" in text  # every planned cell is owed
    assert "`--loss.name published`" in text  # and what it would be
    assert not (tmp_path / "images").exists()


def test_small_scores_keep_two_digits() -> None:
    page = render_page([row("ours", 0.3), row("nearest", 0.00246)], {})
    assert "**0.0025**" in page and "**0.300**" in page


def test_the_ladder_shows_each_step_with_its_change() -> None:
    assert render_ladder(entries([row("ours", 0.3)])) == ""
    text = render_ladder(entries([row("ours", 0.3), row("nearest", 0.1), row("euclidean", 0.15)]))
    steps = [line.split(" | ")[2] for line in text.splitlines() if line.startswith("| ")][1:]
    assert [step[:6] for step in steps] == [" |", "+0.050", "+0.150"]


def test_the_sweep_takes_what_the_budgets_have_at_1284_classes() -> None:
    sweep: dict[str, Any] = {
        "experiment": "classes",
        "memory": 2**31,
        "classes": 19,
        "test_iou": [0.4] * 19,
    }
    rows = [row("ours", 0.3), row("ours", 0.4, **sweep), row("dense", 0.5, **sweep)]
    page = render_page(rows, {})
    assert "| 19 | 0.400 | 0.500 |" in page and "| 1,284 | 0.300 | not run |" in page


def test_a_factor_stands_with_its_change_from_the_recipe() -> None:
    lower = row("ours-d8", 0.2, experiment="factors", seed=0)
    higher = row("ours-repeat", 0.35, experiment="factors", seed=0)
    again = row("ours-repeat", 0.39, experiment="factors", seed=1)
    page = render_page([row("ours", 0.3), lower, higher, again], {})
    section = page[page.index("## One factor at a time") :].split("\n\n")
    found = {line.split(" | ")[0][2:]: line.split(" | ")[1:3] for line in section[2].splitlines()}
    assert found[METHODS["ours"][0]] == ["0.300", ""]
    more, fewer = found[METHODS["ours-repeat"][0]], found[METHODS["ours-d8"][0]]
    assert (more[0], fewer[0]) == ("0.350", "0.200")
    assert "| 0.370 (0.350 to 0.390, 2 seeds) |" in section[2]
    assert more[1].startswith("+0.050 (") and fewer[1].startswith("-0.100 (")


@pytest.mark.parametrize(
    ("experiment", "title"), [("images", "## The same "), ("gpu", "## On a GPU: ")]
)
def test_other_comparisons_have_a_table_each(experiment: str, title: str) -> None:
    rows = [row("dense", 0.1, experiment=experiment), row("ours", 0.4, experiment=experiment)]
    page = render_page(rows, {})
    section = page[page.index(title) :].split("\n## ")[0]
    scores = [line for line in section.splitlines() if "**0." in line]
    assert ["**0.400**" in scores[0], "**0.100**" in scores[1], len(scores)] == [True, True, 2]


def test_machines_are_counted_where_they_differ() -> None:
    other = row("dense", 0.1) | {"machine": MACHINE | {"cpu": "Slide rule"}}
    page = render_page([row("ours", 0.3), other], {})
    assert "1 on Abacus 3" in page and "1 on Slide rule" in page


def test_the_picture_is_a_png() -> None:
    rows = [row("ours", 0.3), row("ours", 0.2, seed=1), row("dense", 0.1), row("nearest", 0.05)]
    assert draw_why(entries(rows)).startswith(b"\x89PNG")


def test_advice_comes_from_cells_and_prefers_the_cheaper_of_equals() -> None:
    assert advice(entries([row("ours", 0.3)])) == []
    rows = [row("ours", 0.300), row("ours-d32", 0.295), row("ours-d12", 0.2), row("nearest", 0.1)]
    told = "\n".join(advice(entries(rows)))
    assert "D = 32 is the smallest within 0.01" in told
    assert "Best on dev: exact, cosine, D = 64, learned T; mIoU 0.300" in told
    assert "the paper's loss, repaired 0.100" in told
    assert "Temperature" not in told


@pytest.mark.parametrize(
    ("wide", "advised"), [(0.5, "take `model.embedding_dim 128`"), (0.305, "D = 64 is enough")]
)
def test_advice_for_a_longer_training(wide: float, advised: str) -> None:
    rows = [row("ours", 0.3, length="images"), row("ours-d128", wide, length="images")]
    (told,) = advice(entries(rows))
    assert f"D = 128 {wide:.3f}, with D = 64 0.300. For such a length {advised}." in told


def test_advice_is_chosen_on_dev() -> None:
    lucky = row("nearest", 0.9) | {"dev": {"miou": 0.0}}
    (told, *_) = advice(entries([row("ours", 0.31), lucky]))
    assert "learned T; mIoU 0.310" in told and "repaired 0.900" in told
