"""Exported files put to use: labels of pictures, and other classes than those that were trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workbench.errors import ConfigError, DataError, RunError, first_line
from workbench.export.facts import KEY, Table, fitting_table, from_text
from workbench.runs.class_file import ClassSet
from workbench.vocabulary import Vocabulary

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], tuple[NDArray[np.int64], NDArray[np.float32]]]


class ExportedModel:
    """What an exported file does.

    Attributes:
        vocabulary: Names of the labels: those of the file, or of the classes given instead.
        facts: The metadata beside it: "classes", "embedding_dim", "distance", "size", ...
    """

    def __init__(
        self, run: Run, facts: Mapping[str, Any], vocabulary: Vocabulary, table: Table
    ) -> None:
        """Puts the parts together; use ``load_exported``."""
        self._run = run
        self._table = {name: tensor.numpy() for name, tensor in table.items()}
        self.facts = dict(facts)
        self.vocabulary = vocabulary

    def __call__(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Segments a batch.

        Args:
            images: (B, 3, H, W) uint8 RGB.

        Returns:
            (labels, distances), both (B, H, W): the nearest class and how far it is; for the
            linear distance and for dense models the negated logit.

        Raises:
            RunError: The model does not take such pictures, or what it gives cannot be right.
        """
        labels, distances = self._run({"images": images, **self._table})
        count, _, *size = images.shape
        right = labels.shape == distances.shape == (count, *size)
        if right and labels.size:
            right = labels.min() >= 0 and labels.max() < len(self.vocabulary)
        if not right:
            raise RunError(
                f"the exported model gives labels of shape {labels.shape} and distances of shape "
                f"{distances.shape}, or ids outside of its {len(self.vocabulary)} classes: "
                "its file is damaged; export it again"
            )
        return labels, distances


def load_exported(
    path: Path | str, *, classes: ClassSet | None = None, trusted: bool = False
) -> ExportedModel:
    """Opens a file that ``workbench export`` wrote.

    Args:
        path: ``.onnx``, run by onnxruntime, or ``.pt2``, run by torch.
        classes: Take the place of those in the file.
        trusted: That you know who made the file. ``.pt2`` is refused without: torch reads parts
            of it by pickle, which can run anything. ONNX files hold no code.

    Raises:
        DataError: The file is absent, damaged, of another kind or not trusted, or the classes
            do not fit.
        ConfigError: onnxruntime is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a file that workbench export wrote")
    if path.suffix == ".onnx":
        run, text = _open_onnx(path)
    elif path.suffix == ".pt2":
        if not trusted:
            raise DataError(
                f"{path}: torch reads .pt2 by pickle, which can run anything; "
                "say trusted=True if you know who made it, or export to .onnx"
            )
        run, text = _open_pt2(path)
    else:
        raise DataError(f"{path}: neither .onnx nor .pt2")
    facts, vocabulary = from_text(text, str(path))
    if classes is None:
        return ExportedModel(run, facts, vocabulary, {})
    table = fitting_table(classes, facts, str(path))
    return ExportedModel(run, facts, classes.vocabulary, table)


def _open_onnx(path: Path) -> tuple[Run, str]:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{path}: onnxruntime, which reads it, is not installed: "
            "pip install 'segmentation-workbench[export]'"
        ) from error

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone: warnings are for who writes graphs
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        text = session.get_modelmeta().custom_metadata_map.get(KEY, "")
    except Exception as error:  # onnxruntime has its own classes, by reason
        raise DataError(f"{path} is no sound ONNX file ({first_line(error)[:200]})") from error

    def run(inputs: Arrays) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        try:
            labels, distances = session.run(["labels", "distances"], dict(inputs))
        except Exception as error:
            raise _unusable(inputs, error) from error
        return labels, distances

    return run, text


def _open_pt2(path: Path) -> tuple[Run, str]:
    extra = {KEY: ""}
    try:
        program = torch.export.load(path, extra_files=extra)
        module = program.module()
    except Exception as error:
        raise DataError(f"{path} is no sound pt2 file ({first_line(error)[:200]})") from error
    state = program.state_dict
    own = {
        name: state[name].numpy() for name in ("class_embeddings", "class_bias") if name in state
    }

    @torch.inference_mode()
    def run(inputs: Arrays) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        given = {name: torch.from_numpy(array) for name, array in ({**own, **inputs}).items()}
        try:
            labels, distances = module(**given)
        except Exception as error:
            raise _unusable(inputs, error) from error
        return labels.numpy(), distances.numpy()

    return run, str(extra[KEY])


def _unusable(inputs: Arrays, error: Exception) -> RunError:
    shape = " x ".join(map(str, inputs["images"].shape))
    return RunError(
        f"the exported model does not take pictures {shape} of {inputs['images'].dtype} "
        f"({first_line(error)[:200]})"
    )


def as_array(images: Tensor) -> NDArray[np.uint8]:
    """Pictures for an exported model."""
    array: NDArray[np.uint8] = np.ascontiguousarray(images.numpy())
    return array
