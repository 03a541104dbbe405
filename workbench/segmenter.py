"""A trained model in a few names: load it, give it a picture, look at what it says."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Final, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image

from workbench.datasets.pictures import read_picture, to_pixels, upright_rgb
from workbench.distances import ClassEmbeddings
from workbench.errors import ConfigError, DataError
from workbench.inference import Tiling, Views, at_scales
from workbench.inference.bands import segment_features
from workbench.inference.class_sets import class_set, fitted
from workbench.inference.inspect import PixelFeatures, nearest_at
from workbench.inference.legend import with_legend
from workbench.inference.results import blend
from workbench.inference.tiles import picture_features
from workbench.models import SegmentationModel
from workbench.runs.class_file import ClassSet, read_class_file
from workbench.sharing.source import load_source
from workbench.vocabulary import Vocabulary

Picture: TypeAlias = str | Path | Image.Image | npt.NDArray[np.uint8]
"""A file, a Pillow image, or (H, W, 3) or (H, W) uint8 pixels."""

_ONE_VIEW: Final = Views()
_SHOWN: Final = 1024  # pixels a side of what a notebook shows
_READABLE: Final = 512  # what smaller pictures are enlarged to, at most
_NAMED: Final = 12  # classes in its legend


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What a model says about one picture.

    Attributes:
        labels: (H, W) int64 class ids.
        picture: (H, W, 3) uint8, upright.
        vocabulary: Row = class id.
        features: Of the picture's pixels; a large picture's are padded at the right and below.
        classes: What pixels were compared with; None for a dense model.
        distance: Key of ``workbench.distances.DISTANCES``.
    """

    labels: npt.NDArray[np.int64]
    picture: npt.NDArray[np.uint8]
    vocabulary: Vocabulary
    features: PixelFeatures
    classes: ClassEmbeddings | None
    distance: str

    @cached_property
    def table(self) -> pd.DataFrame:
        """The classes found: class_id, name, pixels, share (0..1); the largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.vocabulary))
        found = np.flatnonzero(counts)
        order = found[np.argsort(-counts[found], kind="stable")]
        return pd.DataFrame(
            {
                "class_id": order,
                "name": [self.vocabulary.names[class_id] for class_id in order],
                "pixels": counts[order],
                "share": counts[order] / self.labels.size,
            }
        )

    @property
    def names(self) -> list[str]:
        """Names of the classes found, the largest first."""
        return [str(name) for name in self.table["name"]]

    def mask(self, of: str | int) -> npt.NDArray[np.bool_]:
        """Where a class is, (H, W).

        Args:
            of: Its name or its id.

        Raises:
            DataError: The model has no such class.
        """
        if isinstance(of, str):
            if of not in self.vocabulary.names:
                raise DataError(f"{of!r}: none of the {len(self.vocabulary)} classes")
            # Names may occur twice, as "bat" the animal and "bat" of baseball.
            ids = [i for i, name in enumerate(self.vocabulary.names) if name == of]
        else:
            ids = [of]
            if not 0 <= of < len(self.vocabulary):
                raise DataError(f"class {of}: there are only 0..{len(self.vocabulary) - 1}")
        return np.isin(self.labels, ids)

    def top_k(self, x: int, y: int, k: int = 5) -> pd.DataFrame:
        """The most probable classes of a pixel.

        Args:
            x: Column from the left.
            y: Row from the top.
            k: How many.

        Returns:
            Columns class_id, name, probability (among all classes), distance (Euclidean between
            unit vectors; minus the logit for a linear table; NaN for a dense model).

        Raises:
            DataError: The pixel lies outside of the picture.
            TypeError: A coordinate is no whole number.
        """
        x, y, k = index(x), index(y), index(k)
        height, width = self.labels.shape
        if not (0 <= x < width and 0 <= y < height):
            raise DataError(f"pixel {x}, {y} lies outside of the picture of {width} x {height}")
        found = nearest_at(self.features, self.classes, self.distance, x=x, y=y, k=k)
        found["name"] = [self.vocabulary.names[class_id] for class_id in found["class_id"]]
        return found[["class_id", "name", "probability", "distance"]]

    def overlay(self) -> Image.Image:
        """The picture with its classes' colours half over it."""
        painted = self.picture.copy()
        blend(painted, self.labels, self.vocabulary.colors)
        return Image.fromarray(painted)

    def _repr_png_(self) -> bytes:
        """For notebooks: the overlay, with the names of the largest classes below."""
        shown = self.overlay()
        shown.thumbnail((_SHOWN, _SHOWN))
        enlarged = max(1, _READABLE // max(shown.size))
        shown = shown.resize(
            (shown.width * enlarged, shown.height * enlarged), Image.Resampling.BOX
        )
        largest = self.table.head(_NAMED)
        colors = self.vocabulary.colors
        entries = [
            (f"{name} {_percent(share)}", colors[class_id])
            for class_id, name, share in zip(
                largest["class_id"], largest["name"], largest["share"], strict=True
            )
        ]
        more = len(self.table) - len(largest)
        buffer = io.BytesIO()
        with_legend(shown, entries, more=more).save(buffer, format="PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        """Size and the largest classes."""
        height, width = self.labels.shape
        return f"Segmentation({width} x {height}: {', '.join(self.names[:5])})"


class Segmenter:
    """A model that is ready for pictures.

    Attributes:
        model: In evaluation mode.
        vocabulary: Of the classes that are predicted; row = class id.

    Examples:
        >>> segmenter = Segmenter.load("runs/demo", device="cpu")
        >>> segmenter
        Segmenter(1284 classes, cosine)
        >>> found = segmenter.segment(np.full((64, 96, 3), 128, dtype=np.uint8))
        >>> found.labels.shape, found.labels.dtype
        ((64, 96), dtype('int64'))
        >>> list(found.top_k(60, 40, k=3).columns)
        ['class_id', 'name', 'probability', 'distance']
    """

    def __init__(
        self,
        model: SegmentationModel,
        vocabulary: Vocabulary,
        classes: ClassSet | None = None,
        *,
        label: str = "the classes",
    ) -> None:
        """Puts the parts together; ``load`` is the usual way.

        Args:
            model: In evaluation mode.
            vocabulary: Row = class id of the model's own classes.
            classes: Take their place.
            label: How an error calls ``classes``.

        Raises:
            DataError: The classes do not fit the model.
        """
        self.model = model
        self.vocabulary = vocabulary if classes is None else classes.vocabulary
        self._classes = None if model.table is None else model.table()
        if classes is not None:
            self._classes = fitted(classes, model, label=label)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        checkpoint: Literal["last", "best"] | int = "last",
        device: str | None = None,
    ) -> Self:
        """Loads a model.

        Args:
            path: Folder of a run or of a shared model, or NAME/MODEL on the hub.
            checkpoint: Which one of a run.
            device: "cpu", "cuda"; None takes the GPU if there is one.

        Raises:
            ConfigError: There is no such device.
            RunError: There is no such model, or it is damaged.
        """
        chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if chosen.partition(":")[0] not in ("cpu", "cuda") or (
            chosen != "cpu" and not torch.cuda.is_available()
        ):
            raise ConfigError(f"device: {chosen!r} is not here; choose cpu or, with a GPU, cuda")
        source = load_source(str(path), checkpoint)
        return cls(source.model.to(chosen), source.vocabulary)

    @torch.no_grad()
    def segment(self, image: Picture, *, views: Views = _ONE_VIEW) -> Segmentation:
        """Segments a picture of any size.

        Args:
            image: File, Pillow image or pixels. Files and Pillow images are turned upright.
            views: Several scales, mirrored, other tiles. Large pictures are cut into tiles
                anyway.

        Returns:
            Labels and more. What it keeps to answer questions about single pixels takes D
            numbers for every cell of the network: 64 bytes a pixel or less at D = 256.

        Raises:
            DataError: The picture cannot be read.
        """
        picture = _pixels(image)
        seeing = at_scales(self.model, views.scales, flip=views.flip)
        features = picture_features(seeing, picture, views.tiling or Tiling())
        size = (picture.shape[0], picture.shape[1])
        classes = None if self._classes is None else _on_cpu(self._classes)
        bands = segment_features(features, size, classes, self.model.distance)
        return Segmentation(
            labels=np.concatenate([band.labels for band in bands]),
            picture=picture,
            vocabulary=self.vocabulary,
            features=features,
            classes=classes,
            distance=self.model.distance,
        )

    def with_classes(self, classes: ClassSet | str | Path) -> Segmenter:
        """The same network with other classes, without training.

        Args:
            classes: From ``workbench vocabulary``, as a value or a file.

        Raises:
            DataError: They do not fit the model, or the file is damaged.
        """
        if not isinstance(classes, ClassSet):
            label = str(classes)
            return Segmenter(self.model, self.vocabulary, read_class_file(classes), label=label)
        return Segmenter(self.model, self.vocabulary, classes)

    @property
    def classes(self) -> ClassSet:
        """The classes as a value, for ``workbench.inference.vocabulary_edits``.

        Raises:
            ConfigError: The model is dense: its classes are no points.
        """
        if self._classes is None:
            raise ConfigError(
                "this model is dense, its classes are no points; load one that was trained with "
                "the loss nearest or streaming"
            )
        return class_set(self._classes, self.model.distance, self.vocabulary)

    def __repr__(self) -> str:
        """Class count and distance."""
        return f"Segmenter({len(self.vocabulary)} classes, {self.model.distance})"


def _pixels(image: Picture) -> npt.NDArray[np.uint8]:
    """(H, W, 3) RGB."""
    if isinstance(image, str | Path):
        return to_pixels(read_picture(Path(image)))
    if isinstance(image, Image.Image):
        return to_pixels(upright_rgb(image))
    given: object = image  # whatever its type is said to be
    if not isinstance(given, np.ndarray):
        kind = type(image).__name__
        raise DataError(f"a picture is a file, a Pillow image or an array, got a {kind}")
    if image.dtype != np.uint8 or image.size == 0 or image.ndim not in (2, 3):
        raise DataError(
            "a picture's pixels are (H, W, 3) or (H, W) of uint8, got "
            f"{image.shape} of {image.dtype}"
        )
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    if image.shape[2] != 3:
        raise DataError(f"a picture's pixels are (H, W, 3) or (H, W), got {image.shape}")
    return image.copy()  # the caller's may change later


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _on_cpu(classes: ClassEmbeddings) -> ClassEmbeddings:
    bias = None if classes.bias is None else classes.bias.detach().cpu()
    return ClassEmbeddings(classes.weight.detach().cpu(), bias, classes.temperature.detach().cpu())
