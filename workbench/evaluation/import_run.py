"""A run made from the masks of any tool, so that the app shows it like one of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from workbench.datasets.folder import IMAGE_SUFFIXES, MASK_SUFFIXES, RawIds, files_by_id
from workbench.datasets.images import read_image
from workbench.errors import DataError
from workbench.evaluation.evaluate import Evaluation, evaluate_predictions
from workbench.evaluation.run import evenly_spaced
from workbench.progress import progress
from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary, read_table

Labels = npt.NDArray[np.int64]
_COUNTS = ("train_images", "train_pixels")


class Sources(NamedTuple):
    """What is imported, matched.

    Attributes:
        ids: Of the images with a truth and a prediction, sorted.
        images: Id -> file of the picture.
        truths: Id -> file of its truth.
        predictions: Id -> file of its prediction.
    """

    ids: list[str]
    images: Mapping[str, str]
    truths: Mapping[str, str]
    predictions: Mapping[str, str]


def import_predictions(
    images: Path,
    truth: Path,
    predictions: Path,
    vocabulary: Path,
    run: Path,
    *,
    save: int = 100,
    split: str = "val",
) -> dict[str, Any]:
    """Scores masks that another program made, and writes run and evaluation.

    Files belong together by their path below the folder without suffix. Masks are read as those
    of the dataset ``folder``: raw ids in a PNG of 8 bits (grey or palette) or 16, or a TIFF of up
    to 32; the largest value of the file's type (255, 65,535, 2,147,483,647) is ignored unless the
    table lists it. Pixels ignored in the truth do not count. Pixels ignored in a prediction are
    no class: a miss, and nobody's false alarm.

    The run appears when it is done, or not at all.

    Args:
        images: Folder of pictures. Pictures without a truth are left out.
        truth: Folder of masks; each needs a prediction and a picture.
        predictions: Folder of masks.
        vocabulary: CSV of the classes, see ``workbench.vocabulary.read_table``; ``name`` alone
            will do. ``train_images`` and ``train_pixels`` are kept where it has them.
        run: Folder of the run; must not exist.
        save: Images kept with truth and prediction, evenly spaced; 0 keeps all.
        split: Name of what was evaluated.

    Returns:
        The summary, as written, and "run" and "kept".

    Raises:
        DataError: A file or folder is missing, unreadable or does not fit the others.
        RunError: The folder of the run is there already.
    """
    table = read_table(vocabulary, number=True)
    classes = _vocabulary(table, vocabulary)
    sources = match(images, truth, predictions)
    settings = {
        "preset": "imported",
        "data": {"dataset": "imported", "val_split": split},
        # Names, not paths: a run may be moved and shared.
        "imported": {
            "images": images.resolve().name,
            "truth": truth.resolve().name,
            "predictions": predictions.resolve().name,
            "vocabulary": vocabulary.name,
        },
    }
    with RunDirectory.create_whole(run, config=settings, vocabulary=classes) as made:
        kept = {sources.ids[place] for place in evenly_spaced(len(sources.ids), save)}
        result = _evaluate(sources, RawIds(table, len(classes)), classes, made, kept, split)
        made.write_evaluation(split, **result._asdict())
        made.write_status("done")
    return {**result.summary, "run": str(run), "kept": len(kept)}


def match(images: Path, truth: Path, predictions: Path) -> Sources:
    """Finds the files that belong together, by their path without its suffix.

    Args:
        images: Folder of the pictures.
        truth: Folder of the masks to compare with.
        predictions: Folder of the masks of a tool.

    Raises:
        DataError: A folder is missing or empty, or a file has no partner.
    """
    truths = _masks(truth, "--truth")
    predicted = _masks(predictions, "--pred")
    pictures = files_by_id(images, IMAGE_SUFFIXES, "give the folder of the pictures as --images")
    if not pictures:
        raise DataError(
            f"{images}: holds no picture ({', '.join(IMAGE_SUFFIXES)}); give the folder of the "
            "pictures as --images"
        )
    for folder, there, wanted, what in (
        (predictions, predicted, truths, "prediction"),
        (truth, truths, predicted, "truth"),
        (images, pictures, truths, "picture"),
    ):
        absent = sorted(set(wanted) - set(there))
        if absent:
            raise DataError(
                f"{folder}: {len(absent)} of {len(wanted)} masks have no {what} of the same name, "
                f"first {wanted[absent[0]]}; add what is missing or take these masks out"
            )
    return Sources(sorted(truths), pictures, truths, predicted)


def _masks(folder: Path, flag: str) -> dict[str, str]:
    remedy = f"give the folder of the masks as {flag}"
    found = files_by_id(folder, MASK_SUFFIXES, remedy)
    if not found:
        raise DataError(f"{folder}: holds no mask ({', '.join(MASK_SUFFIXES)}); {remedy}")
    return found


def _vocabulary(table: pd.DataFrame, path: Path) -> Vocabulary:
    """The classes of the table, with counts of training data where it has them."""
    try:
        vocabulary = Vocabulary.from_table(table)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if not set(_COUNTS) & set(table):
        return vocabulary
    rows = table[table["train_id"].notna()].drop_duplicates("train_id").sort_values("train_id")
    counts = {name: np.zeros(len(rows), dtype=np.int64) for name in _COUNTS}
    for name in set(_COUNTS) & set(table):
        text = rows[name].str.strip().replace("", "0")
        wrong = rows.index[~text.str.fullmatch(r"[0-9]{1,15}")]
        if len(wrong):
            raise DataError(
                f"{path} line {int(wrong[0]) + 2}: {name} {table[name][wrong[0]]!r} is not a whole "
                "number; correct it or leave it empty"
            )
        counts[name] = text.to_numpy().astype(np.int64)
    return vocabulary.with_counts(counts["train_images"], counts["train_pixels"])


def _evaluate(
    sources: Sources,
    masks: RawIds,
    classes: Vocabulary,
    run: RunDirectory,
    kept: set[str],
    split: str,
) -> Evaluation:
    """Scores one image after the other, and keeps some."""

    def pairs() -> Iterator[tuple[str, Labels, Labels]]:
        for image_id in progress(sources.ids, description="import", unit="img"):
            truth = masks.read(Path(sources.truths[image_id]))
            prediction = masks.read(Path(sources.predictions[image_id]))
            _check_size(prediction.shape, truth.shape, sources.predictions[image_id], "its truth")
            if image_id in kept:
                picture = _picture(sources, image_id, truth.shape)
                run.save_sample(split, image_id, picture, truth, prediction)
            yield image_id, prediction, truth

    return evaluate_predictions(pairs(), classes, split=split, extra={"dataset": "imported"})


def _picture(sources: Sources, image_id: str, shape: tuple[int, ...]) -> Image.Image:
    picture = read_image(Path(sources.images[image_id]))
    _check_size((picture.height, picture.width), shape, sources.images[image_id], "its truth")
    return picture


def _check_size(size: tuple[int, ...], other: tuple[int, ...], path: str, what: str) -> None:
    if size != other:
        raise DataError(
            f"{path}: {size[1]} x {size[0]} pixels, but {what} has {other[1]} x {other[0]}; "
            "save both in the same size (nearest neighbour for masks)"
        )
