"""The card says what the run's own files say, escaped, and what nobody has measured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mistune
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard

from workbench.errors import RunError
from workbench.runs import RunDirectory
from workbench.sharing import SharedModel
from workbench.sharing.facts import facts_from_dict

from .conftest import CLASSES, STEP, evaluate

MakeRun = Callable[..., RunDirectory]


def card_of(run: RunDirectory, folder: Path, **options: str) -> ModelCard:
    SharedModel.from_run(run, **options).save_pretrained(folder)
    return ModelCard.load(folder / "README.md")


def rows(card: ModelCard) -> dict[str, list[str]]:
    """First cell -> the others, of all tables."""
    lines = [line for line in card.text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {first: others for first, *others in cells}


def test_the_demo_card_has_the_numbers_of_the_run(repository: Path, tmp_path: Path) -> None:
    demo = repository / "runs" / "demo"
    card = card_of(RunDirectory.open(demo), tmp_path / "shared", license="apache-2.0")
    summary = json.loads((demo / "evaluation/val/summary.json").read_text("utf-8"))
    settings = yaml.safe_load((demo / "config.yaml").read_text("utf-8"))
    environment = json.loads((demo / "environment.json").read_text("utf-8"))
    metrics = pd.read_json(demo / "metrics.jsonl", lines=True)
    iou = pd.read_parquet(demo / "evaluation/val/per_class.parquet")["iou"]
    table = rows(card)
    assert table["all"] == [f"{summary['miou_classes']:,}", f"{summary['miou']:.3f}"]
    for name, group in summary["groups"].items():
        assert table[name] == [f"{group['classes']}", f"{group['miou']:.3f}"]
    weak = f"{(iou < 0.25).sum()} classes have an IoU below 0.25."
    assert f"Pixel accuracy {summary['pixel_accuracy']:.3f}. {weak}" in card.text
    model = settings["model"]
    assert table["numbers per pixel and class, D"] == [str(model["embedding_dim"])]
    assert table["distance"] == [model["distance"]]
    assert table["loss"] == [settings["loss"]["name"]]
    assert (
        table["temperature, T"][0].split(",")[0]
        == f"{metrics['temperature'].dropna().iloc[-1]:.4g}"
    )
    crops = f"{settings['train']['batch_size']} crops of {settings['data']['crop']} pixels"
    assert table["training"][0].startswith(f"{summary['checkpoint_step']:,} steps, {crops}")
    assert table["time"] == [f"{metrics['seconds'].max() / 60:.0f} minutes"]
    assert f"{environment['cpu_count']} CPU cores" in table["machine"][0]
    assert f"torch {environment['torch']}" in table["machine"][0].replace("\\", "")
    assert table["trained on"] == ["shapeworld, split train"]
    assert table["license of these weights"] == ["apache-2.0"]
    head = card.data.to_dict()
    assert head["license"] == "apache-2.0" and head["pipeline_tag"] == "image-segmentation"
    measured = {result.metric_type: result for result in card.data.eval_results or []}
    assert measured["mean_iou"].metric_value == summary["miou"]
    assert measured["mean_iou"].dataset_split == "val"
    assert measured["accuracy"].metric_value == summary["pixel_accuracy"]


def test_parameters_are_counted(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    shapes = run.checkpoint_shapes()
    learned = [name for name in shapes if name.endswith((".weight", ".bias"))]
    total = 0
    for name in learned:
        size = 1
        for side in shapes[name]:
            size *= side
        total += size
    table = rows(card_of(run, tmp_path / "shared"))
    assert table["parameters"] == [f"{total:,} ({CLASSES * 6:,} the classes' own)"]


def test_what_was_not_measured_is_said(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    evaluate(run, "test", step=STEP - 1)
    card = card_of(run, tmp_path / "shared")
    table = rows(card)
    assert table["stuff"] == ["0", "not defined"]
    assert "1 classes do not occur in the split" in card.text
    assert "100 classes have an IoU below 0.25" in card.text  # every third of 300
    assert "the split test with these weights: its evaluation is of other ones" in card.text
    assert "seed 77" in card.text
    assert table["license of these weights"] == ["not stated: ask who shared them"]
    assert table["time"] == ["70 minutes"]  # not that of steps after the checkpoint
    assert "CC BY 4.0" in table["terms of these data"][0]
    assert "published weights" in table["started from"][0]
    assert "license" not in card.data.to_dict()


def test_no_evaluation_no_score(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(scored=False, loss="dense")
    card = card_of(run, tmp_path / "shared")
    assert "nothing was evaluated" in card.text and "IoU" not in card.text
    assert card.data.eval_results is None
    assert "temperature, T" not in rows(card)  # a dense head has no distance


def test_foreign_names_are_text(make_run: MakeRun, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> | [a](http://x) `b` *c*\n---\n# d"
    run = make_run()
    settings = run.config()
    settings["data"] |= {"dataset": hostile, "train_split": "_x_"}
    run = RunDirectory.create(run.path, config=settings, vocabulary=run.vocabulary(), resume=True)
    evaluate(run, hostile[:40])
    card = card_of(run, tmp_path / "shared")
    assert rows(card)["terms of these data"] == ["not known"]
    html = str(mistune.create_markdown(escape=False, plugins=["table"])(card.text))
    assert "<script" not in html and "&lt;script&gt;" in html
    assert 'href="http://x' not in html and "<em>" not in html
    assert html.count("<h1>") == 1
    assert all(row.count("<td") in (2, 3) for row in html.split("<tr>")[1:] if "<td" in row)
    results = card.data.eval_results or []
    assert {result.dataset_name for result in results} == {" ".join(hostile.split())}


@pytest.mark.parametrize(
    "facts",
    [
        None,
        {},
        {"source": "a"},
        {"source": 3, "step": 1},
        {"source": "a", "step": "1"},
        {"source": "a", "step": 1, "seconds": "long"},
        {"source": "a", "step": 1, "evaluations": {"val": 3}},
        {"source": "a", "step": 1, "license": "mit\n---\n"},
    ],
)
def test_foreign_facts_of_another_type_are_refused(facts: Any) -> None:
    with pytest.raises(RunError, match=r"^(config.json: facts\.|license)") as error:
        facts_from_dict(facts, label="config.json")
    assert "\n" not in str(error.value)


def test_odd_numbers_of_a_stranger_are_no_numbers(make_run: MakeRun, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    SharedModel.from_run(make_run()).save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    odd = {"miou": "<b>1</b>", "images": None, "groups": {"rare": 3}, "pixel_accuracy": True}
    settings["facts"] |= {"evaluations": {"val": odd}, "environment": {"gpus": ["<i>"]}}
    (folder / "config.json").write_text(json.dumps(settings), "utf-8")
    shared = SharedModel.from_pretrained(folder)
    shared.save_pretrained(tmp_path / "again")
    card = ModelCard.load(tmp_path / "again" / "README.md")
    assert rows(card)["all"] == ["unknown", "not defined"]
    assert rows(card)["rare"] == ["unknown", "not defined"]
    assert "Pixel accuracy not defined." in card.text and "<" not in card.text.replace("\\<", "")
    assert card.data.eval_results is None
