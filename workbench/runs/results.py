"""The part of a run directory that evaluation leaves: tables and sample pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from workbench.errors import RunError
from workbench.runs import masks, readers
from workbench.runs.atomic import remove_directory, write_bytes, write_json, write_parquet
from workbench.runs.folder import RunFolder
from workbench.runs.names import id_to_name, name_to_id

PER_CLASS_COLUMNS: Final = (
    "class_id",
    "name",
    "group",
    "supercategory",
    "iou",
    "precision",
    "recall",
    "intersection",
    "union",
    "truth_pixels",
    "predicted_pixels",
    "val_images",
    "train_images",
    "train_pixels",
    "nearest_class_id",
    "nearest_distance",
    "reason",
)
"""Columns of `per_class.parquet`, one row per class in the order of their ids."""

PER_IMAGE_CLASS_COLUMNS: Final = (
    "image_id",
    "class_id",
    "intersection",
    "union",
    "truth_pixels",
    "predicted_pixels",
)
"""Columns of `per_image_class.parquet`: a row where truth or prediction has the class."""

CONFUSION_COLUMNS: Final = ("truth", "predicted", "pixels")
"""Columns of `confusions.parquet`: the entries of the confusion matrix that are not 0."""

_PICTURES: Final = ("images", "truth", "predictions")
_JPEG_QUALITY: Final = 90


class EvaluationFiles(RunFolder):
    """Reads and writes `evaluation/<split>/`."""

    def write_evaluation(
        self,
        split: str,
        *,
        summary: Mapping[str, Any],
        per_class: pd.DataFrame,
        per_image_class: pd.DataFrame,
        confusions: pd.DataFrame,
    ) -> None:
        """Keeps the figures of one evaluation; the summary last, so that it implies the rest.

        Args:
            split: The part of the dataset, "val".
            summary: Headline numbers; undefined ones (NaN) are kept as null.
            per_class: Columns `PER_CLASS_COLUMNS`, and any more.
            per_image_class: Columns `PER_IMAGE_CLASS_COLUMNS`, and any more.
            confusions: Columns `CONFUSION_COLUMNS`, and any more.

        Raises:
            ValueError: A column is missing.
        """
        folder = self._split(split)
        for name, frame, columns in (
            ("per_class", per_class, PER_CLASS_COLUMNS),
            ("per_image_class", per_image_class, PER_IMAGE_CLASS_COLUMNS),
            ("confusions", confusions, CONFUSION_COLUMNS),
        ):
            absent = [column for column in columns if column not in frame]
            if absent:
                raise ValueError(f"{name} lacks the columns {absent}")
            write_parquet(folder / f"{name}.parquet", frame)
        write_json(folder / "summary.json", summary)

    def evaluations(self) -> list[str]:
        """Lists the splits that were evaluated to the end."""
        found = (path.parent.name for path in (self.path / "evaluation").glob("*/summary.json"))
        return sorted(name_to_id(name) for name in found)

    def read_summary(self, split: str) -> dict[str, Any]:
        """Reads the headline numbers (None where one is not defined).

        Raises:
            RunError: The split was not evaluated, or the file is damaged.
        """
        return readers.read_json(self._split(split) / "summary.json", remedy=self._evaluate(split))

    def read_per_class(self, split: str) -> pd.DataFrame:
        """Reads the table of classes; errors as in `read_summary`."""
        return self._read_table(split, "per_class", PER_CLASS_COLUMNS)

    def read_per_image_class(self, split: str) -> pd.DataFrame:
        """Reads the table of classes by image; errors as in `read_summary`."""
        return self._read_table(split, "per_image_class", PER_IMAGE_CLASS_COLUMNS)

    def read_confusions(self, split: str) -> pd.DataFrame:
        """Reads the sparse confusion matrix; errors as in `read_summary`."""
        return self._read_table(split, "confusions", CONFUSION_COLUMNS)

    def save_sample(
        self,
        split: str,
        image_id: str,
        image: Image.Image | NDArray[np.uint8],
        truth: NDArray[np.integer],
        prediction: NDArray[np.integer],
    ) -> None:
        """Keeps one picture with its truth and prediction, to be looked at.

        Args:
            split: The part of the dataset.
            image_id: The dataset's name of the picture; any text.
            image: RGB picture, or (H, W, 3) uint8; kept as JPEG.
            truth: (H, W) train ids or IGNORE_INDEX; kept without loss.
            prediction: (H, W) train ids or IGNORE_INDEX; kept without loss.

        Raises:
            ValueError: The three differ in size.
        """
        picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
        sizes = {(picture.height, picture.width), np.shape(truth), np.shape(prediction)}
        if len(sizes) != 1:
            raise ValueError(f"image, truth and prediction of {image_id} differ in size: {sizes}")
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        masks.write_mask(self._picture(split, "truth", image_id), truth)
        masks.write_mask(self._picture(split, "predictions", image_id), prediction)
        jpeg = masks.with_suffix(self._picture(split, "images", image_id), ".jpg")
        write_bytes(jpeg, buffer.getvalue(), sync=False)

    def samples(self, split: str) -> list[str]:
        """Lists the ids of the pictures kept, sorted; only those with all three files."""
        folder = self._split(split)
        # Three listings, not three questions a picture: there may be tens of thousands.
        pictures = _stems(folder / "images", (".jpg",))
        masks_of = [_stems(folder / kind, masks.SUFFIXES) for kind in _PICTURES[1:]]
        return sorted(map(name_to_id, pictures.intersection(*masks_of)))

    def read_picture(self, split: str, image_id: str, *, within: int | None = None) -> Image.Image:
        """Reads the RGB picture alone; arguments and errors as in `read_sample`.

        Args:
            split: The part of the dataset.
            image_id: One of `samples`.
            within: Scale it down to so many pixels a side; quicker than reading all of it.
        """
        remedy = self._evaluate(split)
        jpeg = masks.with_suffix(self._picture(split, "images", image_id), ".jpg")
        try:
            with Image.open(jpeg) as file:
                if within is None:
                    return file.convert("RGB")
                file.draft("RGB", (within, within))
                image = file.convert("RGB")
        except FileNotFoundError as error:
            raise readers.missing(jpeg, error, remedy) from error
        except (OSError, ValueError, SyntaxError) as error:
            raise readers.broken(jpeg, error, remedy) from error
        image.thumbnail((within, within))
        return image

    def read_sample(
        self, split: str, image_id: str
    ) -> tuple[Image.Image, NDArray[np.int64], NDArray[np.int64]]:
        """Reads one picture kept.

        Args:
            split: The part of the dataset.
            image_id: One of `samples`.

        Returns:
            The RGB picture; truth and prediction, both (H, W) train ids or IGNORE_INDEX.

        Raises:
            RunError: There is no such picture, or a file is damaged.
        """
        remedy = self._evaluate(split)
        image = self.read_picture(split, image_id)
        truth = masks.read_mask(self._picture(split, "truth", image_id), remedy=remedy)
        prediction = masks.read_mask(self._picture(split, "predictions", image_id), remedy=remedy)
        if not truth.shape == prediction.shape == (image.height, image.width):
            jpeg = masks.with_suffix(self._picture(split, "images", image_id), ".jpg")
            raise readers.broken(jpeg, "its truth or prediction has another size", remedy)
        return image, truth, prediction

    def begin_evaluation(self, split: str) -> None:
        """Removes an earlier evaluation of the split.

        The summary goes first: interrupted from here on, the split counts as not evaluated,
        and no old figure stands beside a new picture.
        """
        (self._split(split) / "summary.json").unlink(missing_ok=True)
        for kind in _PICTURES:
            remove_directory(self._split(split) / kind)

    def _split(self, split: str) -> Path:
        return self.path / "evaluation" / id_to_name(split)

    def _picture(self, split: str, kind: str, image_id: str) -> Path:
        return self._split(split) / kind / id_to_name(image_id)

    def _evaluate(self, split: str) -> str:
        return f"make it with: workbench evaluate {self.path} --split {split}"

    def _read_table(self, split: str, name: str, columns: tuple[str, ...]) -> pd.DataFrame:
        path = self._split(split) / f"{name}.parquet"
        frame = readers.read_parquet(path, remedy=self._evaluate(split))
        absent = [column for column in columns if column not in frame]
        if absent:
            reason = f"it lacks the column {absent[0]}"
            raise RunError(str(readers.broken(path, reason, self._evaluate(split))))
        return frame


def _stems(folder: Path, suffixes: tuple[str, ...]) -> set[str]:
    """Names without suffix of a folder's files; empty where there is no folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return set()
    found = (name.rpartition(".") for name in names if not name.startswith("."))
    return {stem for stem, dot, suffix in found if dot + suffix in suffixes}
