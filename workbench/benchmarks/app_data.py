"""A generated run whose evaluation has the size of LVIS's val split.

19,809 images, the 1284 classes of LVIS with COCO's stuff, long-tailed training counts, about a
quarter of a million rows per image and class, some 150,000 confusions, every picture kept, class
tables over training with their map, records of a training, and an untrained network, so that a
click on a pixel costs what it costs. All is drawn by a seed; nothing is learned or downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from workbench import config
from workbench.benchmarks.app_scenes import (
    LEVELS,
    REGIONS,
    SCALE,
    Ids,
    PictureWriter,
    Scene,
    label,
    make_scene,
)
from workbench.evaluation import Evaluation, evaluate_predictions
from workbench.models import build_model
from workbench.progress import progress
from workbench.runs import PROJECTION_COLUMNS, RunDirectory
from workbench.vocabulary import Vocabulary, load_table

IMAGES = 19_809  # LVIS v1 val
DIMENSIONS = 64
STEPS = (0, 500, 1000, 2000, 4000, 8000)
_SCENES = 48
_NEAR = 6  # classes that one may be taken for because they lie near
_TRAIN_IMAGES = {"rare": (1, 10), "common": (11, 100), "frequent": (101, 40_000)}
_STUFF_IMAGES = (1500, 60_000)
Points = npt.NDArray[np.float64]


class Draws(NamedTuple):
    """What an image is made of, one row per image.

    Attributes:
        classes: (N, most regions) distinct classes.
        rivals: (N, most regions) what each may be taken for.
        wrong: (N, most regions) how much of each is wrong, 0..LEVELS.
        scene: (N,) number of its scene.
    """

    classes: Ids
    rivals: Ids
    wrong: Ids
    scene: Ids


def write_app_run(
    path: Path | str, *, images: int = IMAGES, kept: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Writes the run.

    Args:
        path: A new folder.
        images: Images evaluated.
        kept: Of which so many keep their pictures; None keeps all.
        seed: The same seed gives the same run.

    Returns:
        As ``run_facts``.

    Raises:
        RunError: The folder is not empty.
    """
    rng = np.random.default_rng(seed)
    vocabulary = make_vocabulary(rng)
    points = make_points(vocabulary, rng)
    settings = config.Run(
        data=config.Data(dataset="generated"),
        model=config.Model(network="small", embedding_dim=DIMENSIONS, distance="cosine"),
        train=config.Train(steps=STEPS[-1]),
    )
    facts = config.to_dict(settings)
    # Killed half way, it would be taken for a finished one the next time.
    with RunDirectory.create_whole(path, config=facts, vocabulary=vocabulary) as run:
        _write_training(run, settings, points, rng, seed)
        scenes = [make_scene(rng) for _ in range(min(_SCENES, images))]
        draws = draw_images(vocabulary, points, images, len(scenes), rng)
        writer = PictureWriter(run, scenes, rng)
        limit = images if kept is None else min(kept, images)
        result = _evaluate(vocabulary, points, scenes, draws, writer, limit, seed)
        run.write_evaluation("val", **result._asdict())
        run.write_status("done", step=STEPS[-1], steps=STEPS[-1])
    return run_facts(RunDirectory.open(path))


def run_facts(run: RunDirectory) -> dict[str, Any]:
    """How large an evaluation is: images, classes, image_class_rows, confusions, kept.

    Raises:
        RunError: It cannot be read.
    """
    return {
        "images": run.read_summary("val")["images"],
        "classes": len(run.vocabulary()),
        "image_class_rows": len(run.read_per_image_class("val")),
        "confusions": len(run.read_confusions("val")),
        "kept": len(run.samples("val")),
    }


def make_vocabulary(rng: np.random.Generator) -> Vocabulary:
    """The classes of LVIS with stuff; counts as their groups say, evenly on a log scale."""
    vocabulary = Vocabulary.from_table(load_table("lvis-coco"))
    low, high = np.array([_TRAIN_IMAGES.get(g, _STUFF_IMAGES) for g in vocabulary.groups]).T
    drawn = np.exp(rng.uniform(np.log(low), np.log(high + 1))).astype(np.int64)
    images = np.clip(drawn, low, high)
    pixels = images * np.exp(rng.normal(7.5, 1.0, len(images)))
    return vocabulary.with_counts(images, pixels.astype(np.int64))


def make_points(vocabulary: Vocabulary, rng: np.random.Generator) -> Points:
    """A class table (C, D) of unit rows in some sixty clusters."""
    centres = rng.normal(0, 1, (60, DIMENSIONS))
    cluster = rng.integers(0, len(centres), len(vocabulary))
    points = centres[cluster] + rng.normal(0, 0.55, (len(vocabulary), DIMENSIONS))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


def draw_images(
    vocabulary: Vocabulary, points: Points, images: int, scenes: int, rng: np.random.Generator
) -> Draws:
    """Draws classes, rivals and errors of all images.

    Frequent classes are in more images and are recognised better; a tenth of the classes is
    never predicted, some are always taken for the same other class.
    """
    counts = vocabulary.table["train_images"].to_numpy(dtype=np.float64)
    most = REGIONS[1] - 1
    weights = np.log(counts) * 0.62
    classes = np.concatenate(
        [
            np.argpartition(
                weights + rng.gumbel(size=(len(part), len(counts))), -most, axis=1
            )[:, -most:]
            for part in np.array_split(np.arange(images), max(1, images // 1000))
        ]
    )  # fmt: skip
    classes = rng.permuted(classes, axis=1)
    products = points @ points.T - 2 * np.eye(len(points))
    near = np.argpartition(products, -_NEAR, axis=1)[:, -_NEAR:]
    rivals = near[classes, rng.integers(0, _NEAR, classes.shape)]
    anywhere = rng.choice(len(counts), classes.shape, p=counts**0.5 / (counts**0.5).sum())
    rivals = np.where(rng.random(classes.shape) < 0.4, anywhere, rivals)
    stubborn = rng.random(len(counts)) < 0.12
    rivals = np.where(stubborn[classes], near[classes, 0], rivals)
    skill = 0.14 * np.log(counts) - 0.7 + rng.normal(0, 0.25, len(counts))
    skill[rng.random(len(counts)) < 0.1] = -9.0
    share = 1 / (1 + np.exp(3 * (skill[classes] + rng.normal(0, 0.35, classes.shape))))
    wrong = np.where(rivals == classes, 0, np.rint(share * LEVELS)).astype(np.int64)
    scene = np.arange(images) % scenes
    return Draws(classes.astype(np.int64), rivals.astype(np.int64), wrong, scene)


def _evaluate(
    vocabulary: Vocabulary,
    points: Points,
    scenes: list[Scene],
    draws: Draws,
    writer: PictureWriter,
    kept: int,
    seed: int,
) -> Evaluation:
    """Scores the images at the size of their scenes, and turns counts into picture's pixels."""
    products = points @ points.T - 2 * np.eye(len(points))
    nearest = products.argmax(axis=1)
    verified = np.random.default_rng(seed + 1)

    def predictions() -> Iterator[tuple[str, Ids, Ids]]:
        every = range(len(draws.scene))
        for index in progress(every, description="generate the run", unit="img"):
            number = int(draws.scene[index])
            scene = scenes[number]
            row = slice(0, scene.regions)
            truth, prediction = label(
                scene, draws.classes[index, row], draws.rivals[index, row], draws.wrong[index, row]
            )
            image_id = f"{image_number(index):012d}"
            if index < kept:
                writer.save(image_id, number, truth, prediction)
            yield image_id, prediction, truth

    result = evaluate_predictions(
        predictions(),
        vocabulary,
        federated=lambda image_id: {
            "neg": verified.integers(0, len(vocabulary), 12).tolist(),
            "not_exhaustive": [],
        },
        nearest_class_id=nearest,
        nearest_distance=np.linalg.norm(points - points[nearest], axis=1),
        extra={"dataset": "generated", "checkpoint_step": STEPS[-1]},
    )
    return _in_pixels(result)


def image_number(index: int) -> int:
    """Ids with gaps, as COCO's have."""
    return 29 * index + 139


def _in_pixels(result: Evaluation) -> Evaluation:
    """All columns that count pixels, from those of a scene to those of the picture."""
    square = SCALE * SCALE
    frames = []
    for frame in (result.per_class, result.per_image_class, result.confusions):
        counted = [
            name
            for name in frame
            if (name in _PIXELS or str(name).endswith(("_pixels", "_errors")))
            and name != "train_pixels"
        ]
        frames.append(frame.assign(**{str(name): frame[name] * square for name in counted}))
    summary = {
        name: value * square if name in ("labelled_pixels", "unverified_pixels") else value
        for name, value in result.summary.items()
    }
    return Evaluation(summary, *frames)


_PIXELS = frozenset({"intersection", "union", "pixels"})


def _write_training(
    run: RunDirectory, settings: config.Run, points: Points, rng: np.random.Generator, seed: int
) -> None:
    """Records, class tables over training with their map, and an untrained network."""
    for step in range(20, STEPS[-1] + 1, 20):
        record = {"step": step, "loss": 1.4 + 5.7 * np.exp(-step / 1500) + rng.normal(0, 0.12)}
        if step % 1000 == 0:
            record["val_miou"] = 0.42 * (1 - np.exp(-step / 2500))
        run.append_metrics(record)
    start = rng.normal(0, 1, points.shape)
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    tables = {}
    for step in STEPS:
        mixed = start + (points - start) * (1 - np.exp(-step / 1200))
        tables[step] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
        run.write_embeddings(step, torch.from_numpy(tables[step]).half())
    run.write_projection(_project(tables, rng))
    torch.manual_seed(seed)
    model = build_model(settings.model, len(points))
    if model.table is not None:
        with torch.no_grad():
            model.table.weight.copy_(torch.from_numpy(points))
    run.save_checkpoint(STEPS[-1], model=model.state_dict(), optimizer=None, trainer={})


def _project(tables: dict[int, Points], rng: np.random.Generator) -> pd.DataFrame:
    """Straight projections onto fixed axes, bent a little; UMAP would take minutes."""
    _, _, axes = np.linalg.svd(tables[STEPS[-1]] - tables[STEPS[-1]].mean(axis=0))
    wide = rng.normal(0, 1, (DIMENSIONS, 5))
    frames = []
    for step, table in tables.items():
        bent = np.tanh(1.5 * (table @ wide)) * 8
        flat = np.concatenate([bent, table @ axes[:3].T], axis=1)
        frame = pd.DataFrame(flat, columns=list(PROJECTION_COLUMNS[2:]))
        frame.insert(0, "class_id", np.arange(len(table)))
        frame.insert(0, "step", step)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
