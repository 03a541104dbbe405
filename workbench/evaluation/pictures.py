"""Pictures a run kept, as the network sees them: features beside the truth, and pixels drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.errors import DataError
from workbench.inference.inspect import PixelFeatures, embeddings_in, extract_features
from workbench.models import SegmentationModel
from workbench.progress import progress
from workbench.runs import RunDirectory


class Picture(NamedTuple):
    """One picture.

    Attributes:
        id: Its name in the dataset.
        features: What the network says about it.
        truth: (H, W) int64 class ids, negative = ignored.
    """

    id: str
    features: PixelFeatures
    truth: npt.NDArray[np.int64]

    def pixels_of(self, class_id: int) -> Tensor:
        """The embeddings (n, D) of the pixels of a class, row by row from the top left."""
        return embeddings_in(self.features, self.truth == class_id)


def read_pictures(
    model: SegmentationModel, run: RunDirectory, split: str, ids: Iterable[str] | None = None
) -> list[Picture]:
    """Runs a network on pictures that an evaluation kept.

    Args:
        model: In evaluation mode; of the run, or another one with its classes.
        run: With an evaluation.
        split: The part of the dataset.
        ids: Which of `RunDirectory.samples`; None takes all.

    Raises:
        RunError: A picture is not there, or damaged.
    """
    found = []
    for name in progress(list(run.samples(split) if ids is None else ids), description="features"):
        image, truth, _ = run.read_sample(split, name)
        found.append(Picture(name, extract_features(model, np.asarray(image)), truth))
    return found


def draw_pixels(
    pictures: Sequence[Picture], each: int, *, seed: int = 0
) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Draws labelled pixels, the same number from every picture as far as it has them.

    Args:
        pictures: At least one.
        each: Pixels a picture.
        seed: The same seed draws the same pixels.

    Returns:
        Embeddings (n, D), not normalised, and their classes (n,).

    Raises:
        DataError: No picture has a labelled pixel.
    """
    draws = np.random.default_rng(seed)
    embeddings, classes = [], []
    for picture in pictures:
        labelled = np.flatnonzero(picture.truth >= 0)
        chosen = np.sort(draws.permutation(labelled)[:each])
        where = np.zeros(picture.truth.shape, dtype=np.bool_)
        where.flat[chosen] = True
        embeddings.append(embeddings_in(picture.features, where))
        classes.append(picture.truth.flat[chosen])
    if sum(map(len, classes)) == 0:
        raise DataError("none of the pictures has a labelled pixel; take others")
    return torch.cat(embeddings), np.concatenate(classes)
