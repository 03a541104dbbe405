"""A finished run with 1284 classes, made in seconds: invented pixels, real writers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest

from workbench.constants import IGNORE_INDEX
from workbench.datasets.shapeworld import class_table
from workbench.evaluation.evaluate import evaluate_predictions
from workbench.runs import PROJECTION_COLUMNS, RunDirectory
from workbench.vocabulary import Vocabulary

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = 1284
SIZE = 96
IMAGES = 260
KEPT = 24

Ids = npt.NDArray[np.int64]


def make_vocabulary(rng: np.random.Generator) -> Vocabulary:
    """ShapeWorld's classes with invented, long-tailed training counts."""
    table = class_table(CLASSES)
    spans = {"rare": (0, 1.0), "common": (1.0, 2.0), "frequent": (2.0, 3.6), "stuff": (2.5, 3.8)}
    low, high = np.array([spans[group] for group in table["group"]]).T
    images = np.round(10 ** rng.uniform(low, high)).astype(np.int64)
    images[table["group"] == "rare"] -= rng.integers(0, 2, (table["group"] == "rare").sum())
    table["train_images"] = images
    table["train_pixels"] = images * 400
    return Vocabulary(table.drop(columns=["source", "raw_id"]))


def make_scene(vocabulary: Vocabulary, rng: np.random.Generator, first: int) -> tuple[Ids, Ids]:
    """Truth and prediction: things on a background; rare ones are taken for their relatives."""
    table = vocabulary.table
    stuff = table.index[table["group"] == "stuff"].to_numpy()
    truth = np.full((SIZE, SIZE), rng.choice(stuff), dtype=np.int64)
    truth[: SIZE // 2] = rng.choice(stuff)
    prediction = truth.copy()
    for number in range(9):
        thing = (first + number) % (len(table) - len(stuff)) if number else len(table) - 1
        y, x = rng.integers(0, SIZE - 24, 2)
        high, wide = rng.integers(10, 24, 2)
        seen = table["train_images"].to_numpy()[thing]
        guess = (
            thing if rng.random() < 0.25 + 0.2 * np.log10(1 + seen) else (thing + 1) % len(table)
        )
        shift = int(rng.integers(0, 3))
        truth[y : y + high, x : x + wide] = thing
        prediction[y : y + high, x + shift : x + wide + shift] = guess
    truth[:2] = IGNORE_INDEX
    return truth, prediction


def make_picture(
    truth: Ids, vocabulary: Vocabulary, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    colors = vocabulary.colors[np.maximum(truth, 0)].astype(np.float64)
    colors[truth < 0] = 128
    return np.clip(colors + rng.normal(0, 14, colors.shape), 0, 255).astype(np.uint8)


def make_class_points(vocabulary: Vocabulary, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Classes that share shape, hue or texture lie near one another."""
    total = rng.normal(0, 0.25, (len(vocabulary), 24))
    for attribute in [name for name in ("shape", "hue", "texture") if name in vocabulary.table]:
        codes, values = pd.factorize(vocabulary.table[attribute])
        total += rng.normal(0, 1, (len(values), 24))[codes]
    return np.asarray(total / np.linalg.norm(total, axis=1, keepdims=True))


def write_run(
    path: Path,
    vocabulary: Vocabulary | None = None,
    images: int = IMAGES,
    hostile: Sequence[str] = (),
) -> RunDirectory:
    """Writes a whole run: training records, evaluation, pictures, embeddings, maps.

    Args:
        path: Its folder.
        vocabulary: Its classes.
        images: How many were evaluated.
        hostile: Texts for its settings, its status and the ids of its pictures.
    """
    rng = np.random.default_rng(7)
    vocabulary = vocabulary or make_vocabulary(rng)
    config = {
        "preset": "synthetic",
        "data": {"dataset": "shapeworld"},
        "model": {"network": "small", "embedding_dim": 24, "distance": "cosine"},
        "loss": {"name": "streaming"},
        "train": {"steps": 2000},
    }
    if hostile:
        config |= {"preset": hostile[0], "data": {"dataset": hostile[1]}}
    run = RunDirectory.create(path, config=config, vocabulary=vocabulary)
    for step in range(10, 2001, 10):
        record = {"step": step, "loss": 1.2 + 6 * np.exp(-step / 500) + rng.normal(0, 0.15)}
        if step % 500 == 0:
            record["val_miou"] = 0.5 * (1 - np.exp(-step / 800))
        run.append_metrics(record)
    points = make_class_points(vocabulary, rng)
    run.write_embeddings(2000, torch.from_numpy(points).float())
    run.write_projection(make_projection(points, rng))
    scenes = [
        (
            f"{n:012d}{hostile[n % len(hostile)] if hostile else ''}",
            *make_scene(vocabulary, rng, 9 * n),
        )
        for n in range(images)
    ]
    write_evaluation(run, vocabulary, points, rng, scenes)
    message = {"message": hostile[0]} if hostile else {}
    run.write_status("done", step=2000, steps=2000, **message)
    return run


def make_projection(points: npt.NDArray[np.float64], rng: np.random.Generator) -> pd.DataFrame:
    flat = np.concatenate([points @ rng.normal(0, 1, (24, n)) for n in (2, 3, 3)], axis=1)
    frame = pd.DataFrame(flat, columns=list(PROJECTION_COLUMNS[2:]))
    frame.insert(0, "class_id", np.arange(len(points)))
    frame.insert(0, "step", 2000)
    return frame


def write_evaluation(
    run: RunDirectory,
    vocabulary: Vocabulary,
    points: npt.NDArray[np.float64],
    rng: np.random.Generator,
    scenes: Sequence[tuple[str, Ids, Ids]],
) -> None:
    products = points @ points.T - 2 * np.eye(len(points))
    nearest = products.argmax(axis=1)
    distance = np.linalg.norm(points - points[nearest], axis=1)
    result = evaluate_predictions(
        ((name, prediction, truth) for name, truth, prediction in scenes),
        vocabulary,
        nearest_class_id=nearest,
        nearest_distance=distance,
    )
    run.write_evaluation("val", **result._asdict())
    for name, truth, prediction in scenes[:KEPT]:
        picture = make_picture(truth, vocabulary, rng)
        run.save_sample("val", name, image=picture, truth=truth, prediction=prediction)


@pytest.fixture(scope="session")
def synthetic_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one, called "demo"."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "demo")
    return folder


@pytest.fixture
def open_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Opens the app on a folder of runs: `open_app(folder, "views/classes.py", run="demo")`."""

    def start(folder: Path, page: str | None = None, **query: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", ["main.py", "--runs", str(folder)])
        app = AppTest.from_file(str(REPOSITORY / "app" / "main.py"), default_timeout=60)
        for name, value in query.items():
            app.query_params[name] = value
        if page is not None:
            app.switch_page(page)
        return app.run()

    yield start
    import streamlit as st

    st.cache_data.clear()


@pytest.fixture(scope="session")
def write_hostile_run() -> Callable[[Path], list[str]]:
    """Writes a small run whose class names attack every place that shows them."""

    def write(path: Path) -> list[str]:
        names = [
            "<img src=x onerror=document.title='owned'>",
            "<script>document.title='owned'</script>",
            "[click](javascript:document.title='owned')",
            ":material/delete: :red[x] $x^2$ **b** `c` # h | t",
            "same name",
            "same name",
            "\u202eright to left",
            "n" * 400,
            "\"quoted\" 'single' & \\ back",
            "line\nbreak",
        ]
        groups = ["<b>g</b>", "rare", "**x**", "a:b", "stuff"]
        table = pd.DataFrame(
            {
                "class_id": np.arange(len(names)),
                "name": names,
                "group": [groups[n % len(groups)] for n in range(len(names))],
                "supercategory": names[::-1],
                "color": "#336699",
                "train_images": 10,
                "train_pixels": 100,
                "hue": names,
            }
        )
        write_run(path, Vocabulary(table), images=12, hostile=names)
        return names

    return write


@pytest.fixture(scope="session", autouse=True)
def quick_apps(one_look_for_components: None) -> None:
    """See there: every test here may make an AppTest."""
