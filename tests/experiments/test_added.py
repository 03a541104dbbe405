"""Classes held out of a training and added from masks: splits, rows, scores, the section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from workbench import config
from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset, write_sample
from workbench.distances import ClassEmbeddings
from workbench.experiments.added import Case, run_case
from workbench.experiments.added_data import (
    choose_held,
    pixels_per_picture,
    without_gap,
    write_without,
)
from workbench.experiments.added_rows import SHIPPED, WAYS, make_row
from workbench.experiments.added_score import draw_rows
from workbench.experiments.cell import make_world
from workbench.experiments.plan import METHODS, World, base_config
from workbench.experiments.report_added import render_added
from workbench.inference import load_model, predict_labels
from workbench.inference.class_sets import class_set, classes_of_run
from workbench.inference.examples import Shown, together
from workbench.inference.vocabulary_edits import add_class
from workbench.runs import RunDirectory

WORLD = World(classes=300, images=24, val_images=10, size=64)
MACHINE = {"cpu": "Abacus 3", "cpu_count": 7, "ram_bytes": 2**33, "torch": "9", "gpus": []}


def test_held_out_classes_are_of_every_frequency() -> None:
    pictures = np.array([3, 100, 20, 7, 50, 19, 20, 400])
    assert choose_held(pictures, 3, least=20) == [2, 4, 7]  # of 20, 20, 50, 100, 400
    assert choose_held(pictures, 9, least=50) == [1, 4, 7]


def test_the_split_without_some_classes_has_their_pixels_ignored(tmp_path: Path) -> None:
    write_sample("coco-panoptic", tmp_path / "coco", images=4, size=64)
    whole = open_dataset("coco-panoptic", tmp_path / "coco", "train")
    counts = pixels_per_picture(whole)
    held = sorted(np.argsort(-counts.sum(axis=0))[:2].tolist())
    write_without(whole, held, tmp_path / "less")
    less = open_dataset("folder", tmp_path / "less", "train")
    assert len(less) == len(whole) and len(less.vocabulary) == len(whole.vocabulary) - 2
    names, left = np.array(whole.vocabulary.names), np.array(less.vocabulary.names)
    for index in range(len(whole)):
        assert np.array_equal(whole[index]["image"], less[index]["image"])
        before, after = whole.read_mask(index), less.read_mask(index)
        gone = np.isin(before, held) | (before == IGNORE_INDEX)
        assert (after[gone] == IGNORE_INDEX).all()
        assert (left[after[~gone]] == names[before[~gone]]).all()
    assert counts[:, held].sum() > 0
    lookup = without_gap(len(names), held)
    assert names[np.argsort(lookup)].tolist() == [*left, *names[held]]


def test_the_shipped_way_is_that_of_the_command() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.normal(0.3, 1, (n, 6)) for n in (5, 90)]
    rest = [rng.normal(-0.1, 1, (n, 6)) for n in (40, 50)]
    table = torch.tensor(rng.normal(size=(9, 6))).float()
    examples = [
        Shown(torch.tensor(inside).float(), torch.tensor(outside).float(), 0.1 * number)
        for number, (inside, outside) in enumerate(zip(pictures, rest, strict=True), start=1)
    ]
    embeddings = ClassEmbeddings(table, None, torch.tensor(20.0))
    classes = class_set(embeddings, "cosine", open_vocabulary(9))
    both = together(examples)
    assert both.marked == pytest.approx(0.15)
    added = add_class(classes, "new", both.inside, others=both.outside, marked=both.marked)
    found = make_row(SHIPPED, examples, table)
    assert torch.allclose(found, added.classes.weight[-1], atol=1e-6)
    units = [p / np.linalg.norm(p, axis=1, keepdims=True) for p in pictures]
    pooled = np.concatenate(units).mean(axis=0)
    even = (units[0].mean(axis=0) + units[1].mean(axis=0)) / 2
    for way, wanted in (("pixels", pooled), ("pictures", even)):
        row = make_row(way, examples, table).numpy()
        assert np.allclose(row, wanted / np.linalg.norm(wanted), atol=1e-6)
    points = table.numpy() / np.linalg.norm(table.numpy(), axis=1, keepdims=True)
    near = points[np.argsort(-points @ pooled)[:3]].mean(axis=0)
    pushed = make_row("rivals-0.25", examples, table).numpy()
    assert pushed @ near < make_row("pixels", examples, table).numpy() @ near


def open_vocabulary(classes: int) -> Any:
    import pandas as pd

    from workbench.vocabulary import Vocabulary, palette

    return Vocabulary(
        pd.DataFrame(
            {
                "class_id": np.arange(classes),
                "name": [f"c{n}" for n in range(classes)],
                "group": "all",
                "supercategory": "",
                "color": palette(classes),
                "train_images": 1,
                "train_pixels": 1,
            }
        )
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, str, Path]:
    folder = tmp_path_factory.mktemp("added")
    settings = config.from_dict(
        {
            "data": {"crop": 32, "workers": 0},
            "model": {"width": 8},
            "loss": {"pixels": 64},
            "train": {"steps": 2, "warmup_steps": 0, "batch_size": 2},
        },
        base=base_config(),
    )
    case = Case(
        name="tiny",
        settings=config.from_overrides(settings, METHODS["ours"][1]),
        held=3,
        least_pictures=2,
        least_pixels=20,
        halves=True,
    )
    return case, make_world(WORLD, folder), folder


def test_a_case_is_scored_as_its_classes_predict(tiny: tuple[Case, str, Path]) -> None:
    case, root, folder = tiny
    row = run_case(case, root, data=folder / "without", work=folder / "work")
    assert str(folder) not in json.dumps(row)
    held = [int(name) for name in _ids(root, row["held"])]
    assert len(held) == 3 and len(row["added"]) == len(WAYS) * 3 * 5
    assert set(row["pictures"]) == {"dev", "test"} and sum(row["pictures"].values()) == 10
    assert {v for v in row["before"]["test"]["held_iou"] if v is not None} <= {0.0}
    assert all(("test" in e) == (e["way"] == SHIPPED) and "dev" in e for e in row["added"])
    # One of the variants again, in the plain way: rows into the table, nearest class, numpy.
    run = RunDirectory.open(folder / "work" / "tiny-without")
    assert len(run.vocabulary()) == 297
    model, _ = load_model(run)
    base = classes_of_run(run)
    sets = {s: open_dataset("shapeworld", root, s) for s in ("train", "val")}
    shown = pixels_per_picture(sets["train"]) >= case.least_pixels
    rows = draw_rows(model, sets["train"], shown, held, base.weight, (1, 5), 2)
    variant = next(key for key in rows if (key.way, key.examples, key.draw) == (SHIPPED, 5, 1))
    table = torch.cat([base.weight, rows[variant]])
    classes = ClassEmbeddings(table, None, torch.tensor(20.0))
    order = [c for c in range(300) if c not in held] + held
    hits, union = np.zeros(300), np.zeros(300)
    truths = np.zeros(300, dtype=bool)
    for index in range(1, len(sets["val"]), 2):
        sample = sets["val"][index]
        found = predict_labels(model, sample["image"][None], classes=classes)[0].numpy()
        truth = sample["mask"].numpy()
        for place, class_id in enumerate(order):
            is_true, is_found = truth == class_id, (found == place) & (truth != IGNORE_INDEX)
            hits[place] += (is_true & is_found).sum()
            union[place] += (is_true | is_found).sum()
            truths[place] |= bool(is_true.any())
    entry = next(e for e in row["added"] if (e["way"], e["examples"], e["draw"]) == tuple(variant))
    wanted = hits / np.maximum(union, 1)
    told = [np.nan if v is None else v for v in entry["test"]["held_iou"]]
    assert np.allclose(told, np.where(truths, wanted, np.nan)[297:], atol=2e-3, equal_nan=True)
    others = wanted[:297][truths[:297]].mean()
    assert entry["test"]["others_miou"] == pytest.approx(others, abs=2e-4)


def test_what_is_there_is_listed_and_not_made_again(cli: Any, tmp_path: Path) -> None:
    places = ("--json", tmp_path / "out", "--data", tmp_path / "d", "--work", tmp_path / "w")
    listed = cli("experiment", "added", "--list", *places)
    assert listed.stdout.split() == ["-", "shapeworld", "-", "photos-0"]
    done = tmp_path / "out" / "added" / "shapeworld.json"
    done.parent.mkdir(parents=True)
    done.write_text("{}")
    listed = cli("experiment", "added", "--list", "--only", "shape*", *places)
    assert listed.stdout.split() == ["done", "shapeworld"]
    told = cli("experiment", "added", *places)  # the photos are not named, so nothing is left
    assert told.returncode == 0 and "--photos ROOT adds the real ones" in told.stdout
    assert done.read_text() == "{}" and not (tmp_path / "d").exists()


def _ids(root: str, names: list[str]) -> list[int]:
    known = open_dataset("shapeworld", root, "train").vocabulary.names
    return [known.index(name) for name in names]


def scores(held: list[float | None], others: float) -> dict[str, Any]:
    part = {"held_iou": held, "others_miou": others, "pixel_accuracy": 0.5}
    return {"dev": part, "test": part}


def invented() -> dict[str, Any]:
    return {
        "case": "shapeworld",
        "classes": 300,
        "held": ["red cross", "blue wave", "a"],
        "held_groups": ["common", "stuff", "stuff"],
        "held_pictures": [21, 40, 12],
        "title": "ours",
        "network": "small",
        "steps": 7,
        "batch": 2,
        "crop": 96,
        "training_pictures": 60,
        "pictures": {"dev": 5, "test": 5},
        "before": scores([0.0, 0.0, None], 0.25),
        "trained": scores([0.8, 0.6, None], 0.5),
        "added": [
            {"way": way, "examples": k, "draw": d} | scores([0.1 * d, 0.3 * d, None], 0.3)
            for way in WAYS
            for k in (1, 5, 20)
            for d in (0, 1)
        ],
        "machine": MACHINE,
        "device": "cpu",
    }


def test_the_section_tells_means_and_spread() -> None:
    text = render_added([invented()])
    assert "| nothing added | 0.000 | 0.000 | 0.000 | 0.250 | 0.500 |" in text
    assert "| **trained with them** | 0.700 | 0.800 | 0.600 | 0.500 | 0.500 |" in text
    line = next(x for x in text.splitlines() if x.startswith("| added from 1 mask |"))
    assert line.startswith("| added from 1 mask | 0.100 (0.000 to 0.200) | 0.050 (0.000 to 0.100)")
    assert "3 of 300 classes held out" in text and "2 of them in the 5 pictures" in text
    assert "the scarcest is in 12 of them" in text
    assert f"**{WAYS[SHIPPED][0]}** | 0.100 (0.300)" in text
    assert "has hardly learned" not in text
    poor = invented() | {"case": "photos-0", "trained": scores([0.8, 0.6, None], 0.02)}
    assert "has hardly learned the other classes" in render_added([invented(), poor])
    assert render_added([]) == ""
