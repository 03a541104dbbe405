"""Evaluating a model on a dataset, and a run on one of its splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench import config, processes
from workbench.datasets import open_dataset
from workbench.datasets.base import SegmentationDataset
from workbench.errors import DataError
from workbench.evaluation.evaluate import Evaluation, evaluate_predictions
from workbench.evaluation.projection import project_steps
from workbench.evaluation.shards import combine, shares
from workbench.inference import (
    Tiling,
    Views,
    at_scales,
    load_model,
    predict_labels,
    segment_bands,
)
from workbench.models import SegmentationModel
from workbench.neighbours import nearest_other_class
from workbench.progress import progress
from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary

Labels = npt.NDArray[np.int64]
MOST_STEPS = 12
"""Moments of training that are mapped."""
_ONE_VIEW: Final = Views()
OnPrediction = Callable[[str, Tensor, Labels, Labels], None]


def evaluate_model(
    model: SegmentationModel,
    dataset: SegmentationDataset,
    *,
    vocabulary: Vocabulary | None = None,
    split: str = "",
    images: int = 0,
    keep: int = 0,
    tiling: Tiling | None = None,
    on_prediction: OnPrediction | None = None,
) -> Evaluation:
    """Predicts every image of a dataset and scores it; one image in memory at a time.

    Several processes of one job share the images; all get the whole result.

    Args:
        model: In evaluation mode.
        dataset: Without a random transform.
        vocabulary: The classes with training counts; the dataset's own if None.
        split: Name written into the summary.
        images: Take this many, evenly spaced over the dataset; 0 takes all.
        keep: How many ``on_prediction`` is to hear of, evenly spaced; 0 is all of them.
        tiling: How images are cut; None takes each in one piece.
        on_prediction: Called in process 0 with (id, image uint8 (3, H, W), prediction, truth).

    Returns:
        Summary and tables.
    """
    vocabulary = vocabulary or dataset.vocabulary
    verified: dict[str, Mapping[str, Sequence[int]] | None] = {}
    chosen = evenly_spaced(len(dataset), images)
    kept = evenly_spaced(len(chosen), keep) if on_prediction is not None else []
    told = {chosen[place] for place in kept}
    places = shares(len(chosen), kept, processes.world())[processes.rank()]
    mine = [chosen[place] for place in places]

    def predictions() -> Iterator[tuple[str, Labels, Labels]]:
        shown = processes.rank() == 0
        for index in progress(mine, description="evaluate", unit="img", shown=shown):
            sample = dataset[index]
            verified[sample["id"]] = dataset.federated(index)
            prediction = _segment(model, sample["image"], tiling)
            truth: Labels = sample["mask"].numpy()
            if on_prediction is not None and index in told:
                on_prediction(sample["id"], sample["image"], prediction, truth)
            yield sample["id"], prediction, truth

    nearest = class_neighbours(model)
    return evaluate_predictions(
        predictions(),
        vocabulary,
        split=split,
        federated=verified.get if dataset.federated(0) is not None else None,
        nearest_class_id=nearest[0] if nearest else None,
        nearest_distance=nearest[1] if nearest else None,
        combine=lambda evaluator: combine(evaluator, places),
    )


def _segment(model: SegmentationModel, image: Tensor, tiling: Tiling | None) -> Labels:
    """The class ids (H, W) of an image (3, H, W)."""
    if tiling is None:
        labels: Labels = predict_labels(model, image[None].to(model.mean.device))[0].cpu().numpy()
        return labels
    picture = image.permute(1, 2, 0).numpy()
    return np.concatenate([band.labels for band in segment_bands(model, picture, tiling=tiling)])


def class_neighbours(
    model: SegmentationModel,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]] | None:
    """Each class's nearest other class and the distance; None without a table or neighbours.

    Returns:
        Class ids (C,) int64 and Euclidean distances of unit vectors (C,) float64, in [0, 2].
    """
    if model.table is None or len(model.table.weight) < 2:
        return None
    ids, distances = nearest_other_class(model.table.weight.detach().float())
    return ids.cpu().numpy(), distances.cpu().double().numpy()


def evaluate_run(
    run: RunDirectory,
    *,
    split: str | None = None,
    root: str | None = None,
    checkpoint: Literal["last", "best"] | int = "last",
    save: int = 100,
    images: int = 0,
    views: Views = _ONE_VIEW,
    name: str | None = None,
) -> dict[str, Any]:
    """Evaluates a run and writes the result into it.

    Args:
        run: With a checkpoint.
        split: Of the run's dataset; its validation split if None.
        root: The dataset's folder, if it is not where training found it.
        checkpoint: Which weights.
        save: Images kept with truth and prediction, evenly spaced; 0 keeps all.
        images: Images to evaluate, evenly spaced; 0 takes all.
        views: How often, and in which pieces, the network looks at an image.
        name: Under which the result is kept, beside others of this split; the split's if None.

    Returns:
        The summary, as written.

    Raises:
        DataError: The dataset cannot be read.
        RunError: No checkpoint, or another process writes to the run.
    """
    processes.join()
    data = config.from_dict(run.config()).data
    split = split or data.val_split
    name, vocabulary = name or split, run.vocabulary()
    dataset = _open_split(data, split, root, vocabulary)
    model, step = load_model(run, checkpoint)
    model = _seeing(model, views)

    def write(image_id: str, image: Tensor, prediction: Labels, truth: Labels) -> None:
        run.save_sample(name, image_id, image.permute(1, 2, 0).numpy(), truth, prediction)

    main = processes.rank() == 0
    with run.lock() if main else nullcontext():
        if main:
            run.begin_evaluation(name)
        result = evaluate_model(
            model,
            dataset,
            vocabulary=vocabulary,
            split=split,
            images=images,
            keep=save,
            tiling=views.tiling,
            on_prediction=write,
        )
        own = {"dataset": data.dataset, "checkpoint_step": step, **views.described()}
        summary = {**result.summary, **own}
        if main:
            run.write_evaluation(name, **result._replace(summary=summary)._asdict())
    return summary


def _seeing(model: SegmentationModel, views: Views) -> SegmentationModel:
    """The model with the views' scales, where it computes fastest."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return at_scales(model, views.scales, flip=views.flip).to(device)


def _open_split(
    data: config.Data, split: str, root: str | None, vocabulary: Vocabulary
) -> SegmentationDataset:
    try:
        dataset = open_dataset(data.dataset, root or data.root, split, variant=data.variant)
    except DataError as error:
        if root is not None:
            raise
        raise DataError(f"{error}; if the data has moved, name its folder: --root DIR") from error
    if dataset.vocabulary.names != vocabulary.names:
        raise DataError(
            f"{dataset.root}: its {len(dataset.vocabulary)} classes are not the "
            f"{len(vocabulary)} the run was trained on; name the right folder: --root DIR"
        )
    return dataset


def evenly_spaced(total: int, number: int) -> list[int]:
    """Indices of ``number`` items spread over ``total``; 0 or too many takes all."""
    if not 0 < number < total:
        return list(range(total))
    return [int(index) for index in np.linspace(0, total - 1, number).round()]


def project_run(run: RunDirectory, *, seed: int = 0) -> dict[str, Any]:
    """Maps the class tables a run kept over training, and stores the result in it.

    Args:
        run: Of a model with a class table.
        seed: Of UMAP.

    Returns:
        "run", "classes" and the "steps" that were mapped.

    Raises:
        RunError: The run has no class table, or another process writes to it.
    """
    kept = run.embedding_steps()
    if not kept:
        run.read_points()  # raises, and says what is missing
    # Evenly spaced, the last one included: a long run keeps hundreds of tables.
    steps = [kept[place] for place in evenly_spaced(len(kept), MOST_STEPS)]
    with run.lock():
        tables = {step: run.read_points(step) for step in steps}
        projection = project_steps(tables, seed=seed)
        run.write_projection(projection)
    return {"run": str(run.path), "classes": len(tables[steps[-1]]), "steps": steps}
