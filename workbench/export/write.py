"""Writing an exported file, and comparing it with PyTorch before anybody sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from workbench.distances import get_distance
from workbench.errors import ConfigError, RunError
from workbench.export.facts import KEY, LEAST_SIDE, Table, table_of, to_text
from workbench.export.loading import ExportedModel, as_array, load_exported
from workbench.export.onnx_graph import OPSET, embedding_graph, full_graph, write_onnx
from workbench.export.trace import DenseLabels, Labels, trace
from workbench.inference.class_sets import class_set
from workbench.inference.predict import at_full_size, labels_of
from workbench.models import SegmentationModel
from workbench.runs import atomic_file
from workbench.runs.atomic import abandoned
from workbench.vocabulary import Vocabulary

FORMATS: Final = ("onnx", "pt2")

LEAST_AGREEMENT: Final = 0.999

_TRIED_SIZES = ((1, 96, 128), (2, 117, 75))  # B, H, W: what networks halve, and odd


class Report(NamedTuple):
    """What was written, and how it compares with PyTorch.

    Attributes:
        file: Its path.
        format: One of ``FORMATS``.
        classes: C.
        embedding_dim: D; None for a dense model.
        size: "any from 64 x 64" or the fixed one.
        bytes: Of the file.
        opset: Of ONNX; None for pt2.
        pictures: How many were compared.
        agreement: Share of their pixels that get the same label.
        largest_error: Of the distances of those pixels.
    """

    file: str
    format: str
    classes: int
    embedding_dim: int | None
    size: str
    bytes: int
    opset: int | None
    pictures: int
    agreement: float
    largest_error: float


def export_model(
    model: SegmentationModel,
    vocabulary: Vocabulary,
    out: Path | str,
    format: str,
    *,
    size: tuple[int, int] | None = None,
    source: str = "",
    step: int | None = None,
    pictures: Sequence[Tensor] = (),
) -> Report:
    """Writes a model as one file, or nothing where it does not do what PyTorch does.

    Args:
        model: In evaluation mode, on the CPU, in fp32.
        vocabulary: Row = class id.
        out: The file to create or replace, with the format's suffix.
        format: One of ``FORMATS``.
        size: (H, W) of all pictures; None for any.
        source: Name of the run and, with ``step``, its training step, for the metadata.
        step: See there.
        pictures: (3, H, W) uint8, compared beside random ones.

    Raises:
        ConfigError: Format and suffix do not go together, or packages are missing.
        RunError: The network cannot be exported, or the result differs.
    """
    out = Path(out)
    _check(out, format, size)
    classes = None
    if model.table is not None:
        classes = class_set(model.table(), model.distance, vocabulary)
    table = {} if classes is None else table_of(classes)
    facts = to_text(
        classes, vocabulary, distance=model.distance, size=size, source=source, step=step
    )
    for leftover in abandoned(out):  # of a call that was killed
        leftover.unlink(missing_ok=True)
    with atomic_file(out) as temporary:
        if format == "onnx":
            graph = full_graph(embedding_graph(model, size), model, table, facts)
            write_onnx(graph, temporary)
        else:
            _write_pt2(model, table, size, facts, temporary)
        tried, agreement, error = _tried(temporary, out, model, size, pictures)
        length = temporary.stat().st_size
    return Report(
        file=str(out),
        format=format,
        classes=len(vocabulary),
        embedding_dim=None if classes is None else classes.dim,
        size=f"any from {LEAST_SIDE} x {LEAST_SIDE}" if size is None else f"{size[0]} x {size[1]}",
        bytes=length,
        opset=OPSET if format == "onnx" else None,
        pictures=tried,
        agreement=agreement,
        largest_error=error,
    )


def _check(out: Path, format: str, size: tuple[int, int] | None) -> None:
    if format not in FORMATS:
        raise ConfigError(f"--format: choose one of {', '.join(FORMATS)}, got {format!r}")
    if out.suffix != f".{format}":
        raise ConfigError(f"--out: the name of a {format} file ends in .{format}, got {out.name}")
    if size is not None and min(size) < 1:
        raise ConfigError(f"--size: height and width of at least 1, got {size[0]} {size[1]}")


def _tried(
    temporary: Path,
    out: Path,
    model: SegmentationModel,
    size: tuple[int, int] | None,
    pictures: Sequence[Tensor],
) -> tuple[int, float, float]:
    """Number of pictures compared, agreement and largest error; an error where they differ."""
    batches = list(_batches(size, pictures))
    agreement, error = compare(load_exported(temporary, trusted=True), model, batches)
    if not agreement >= LEAST_AGREEMENT:
        raise RunError(
            f"{out}: only {agreement:.2%} of the pixels get the label that PyTorch gives, "
            f"less than {LEAST_AGREEMENT:.1%}; nothing was written"
        )
    return sum(len(batch) for batch in batches), agreement, error


def _write_pt2(
    model: SegmentationModel, table: Table, size: tuple[int, int] | None, facts: str, path: Path
) -> None:
    module = Labels(model, table) if table else DenseLabels(model)
    program = trace(module.eval(), table, size)
    torch.export.save(program, path, extra_files={KEY: facts})


def compare(
    written: ExportedModel, model: SegmentationModel, batches: Sequence[Tensor]
) -> tuple[float, float]:
    """How far an exported model is from the prediction of the library.

    Args:
        written: The exported one.
        model: In evaluation mode.
        batches: (B, 3, H, W) uint8 each.

    Returns:
        (share of pixels with the same label, largest error of the distances of those).
    """
    same, pixels, error = 0, 0, 0.0
    for images in batches:
        labels, distances = written(as_array(images))
        wanted, how_far = reference(model, images)
        equal = labels == wanted.numpy()
        same += int(equal.sum())
        pixels += equal.size
        if equal.any():
            error = max(error, float(np.abs(distances - how_far.numpy())[equal].max()))
    return same / pixels, error


@torch.inference_mode()
def reference(model: SegmentationModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Labels of the library and how far each pixel is from its class, both (B, H, W)."""
    output = model(images)
    labels = labels_of(output, model.distance)
    full = at_full_size(output.pixels, output.size)
    if output.classes is None:
        return labels, -full.gather(1, labels[:, None])[:, 0]
    distance = get_distance(model.distance)
    pixels = distance.embed(full.permute(0, 2, 3, 1))
    rows = functional.embedding(labels, distance.embed(output.classes.weight))
    products = (pixels * rows).sum(dim=-1)
    if output.classes.bias is None:
        return labels, distance.distance(products)
    logits = output.classes.temperature * products + output.classes.bias[labels]
    return labels, distance.distance(logits)


def _batches(size: tuple[int, int] | None, pictures: Sequence[Tensor]) -> Iterator[Tensor]:
    """Random pictures of two sizes, and those that are at hand."""
    generator = torch.Generator().manual_seed(0)
    for batch, height, width in _TRIED_SIZES:
        sides = size or (height, width)
        yield torch.randint(0, 256, (batch, 3, *sides), generator=generator, dtype=torch.uint8)
    for picture in pictures:
        if size is not None:
            shown = functional.interpolate(picture[None].float(), size, mode="bilinear")
            yield shown.to(torch.uint8)
        elif min(picture.shape[-2:]) >= LEAST_SIDE:
            yield picture[None]
