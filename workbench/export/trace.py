"""A model as a graph of torch: pictures to embeddings at full size, or on to class ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops import while_loop
from torch.export import Dim, ExportedProgram

from workbench.distances import get_distance
from workbench.errors import RunError, first_line
from workbench.export.facts import LEAST_SIDE, Table
from workbench.inference.predict import at_full_size
from workbench.models import SegmentationModel

_EXAMPLE_SIZE = (97, 131)  # no multiples of anything, and different
_EXAMPLE_BATCH = 2  # 1 would be taken for a constant
_CHUNK = 32  # classes that are compared at once with all pixels


class Embeddings(nn.Module):
    """Pictures (B, 3, H, W) uint8 to embeddings (B, D, H, W) fp32, not normalised.

    For a dense model the numbers are the logits.
    """

    def __init__(self, model: SegmentationModel) -> None:
        """Takes a model without its table, which is an input of what is exported."""
        super().__init__()
        self.model = SegmentationModel(
            model.network, None, distance=model.distance, mean=[0.0] * 3, std=[1.0] * 3
        )
        self.model.mean, self.model.std = model.mean, model.std

    def forward(self, images: Tensor) -> Tensor:
        """Embeds a batch."""
        output = self.model(images)
        return at_full_size(output.pixels, output.size)


class Labels(nn.Module):
    """Pictures and a class table to class ids and distances, both (B, H, W).

    The table that was trained is in the buffers, for who loads the file without this library.
    """

    def __init__(self, model: SegmentationModel, table: Table) -> None:
        """Takes a model and its classes."""
        super().__init__()
        self.embeddings = Embeddings(model)
        self.distance = model.distance
        for name, tensor in table.items():
            self.register_buffer(name, tensor)

    def forward(
        self, images: Tensor, class_embeddings: Tensor, class_bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Segments a batch with any number of classes."""
        full = self.embeddings(images)
        distance = get_distance(self.distance)
        pixels = distance.embed(full.permute(0, 2, 3, 1).flatten(0, 2))
        weight = distance.embed(class_embeddings)
        labels, products = _nearest(pixels, weight, class_bias)
        shape = (full.shape[0], full.shape[2], full.shape[3])
        return labels.reshape(shape), distance.distance(products).reshape(shape)


class DenseLabels(nn.Module):
    """Pictures to class ids and negated logits of a dense model."""

    def __init__(self, model: SegmentationModel) -> None:
        """Takes a model without a table."""
        super().__init__()
        self.embeddings = Embeddings(model)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Segments a batch."""
        best, labels = self.embeddings(images).max(dim=1)
        return labels, -best


def _nearest(pixels: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Largest product of (N, D) with (C, D), and whose it is: a running maximum over chunks.

    A loop of the graph, for C is not known to it.
    """
    last = torch.full((), weight.shape[0] - 1, dtype=torch.int64)
    steps = torch.arange(_CHUNK)

    def more(low: Tensor, _best: Tensor, _labels: Tensor) -> Tensor:
        return low <= last

    def compare(low: Tensor, best: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ids = torch.minimum(low + steps, last)  # the last class again where a chunk is not full
        products = pixels @ weight.index_select(0, ids).T
        if bias is not None:
            products = products + bias.index_select(0, ids)
        here, place = products.max(dim=1)
        better = here > best
        return low + _CHUNK, here.where(better, best), ids[place].where(better, labels)

    start = (
        torch.zeros((), dtype=torch.int64),
        torch.full_like(pixels[:, 0], -torch.inf),
        torch.zeros_like(pixels[:, 0], dtype=torch.int64),
    )
    loop: Any = while_loop  # it has no types
    _, best, labels = loop(more, compare, start)
    return labels, best


def trace(
    module: nn.Module, table: Mapping[str, Tensor], size: tuple[int, int] | None
) -> ExportedProgram:
    """Follows one batch through a module.

    Args:
        module: One of those above, in evaluation mode.
        table: Further arguments, with any number of rows.
        size: (H, W) of all pictures; None leaves them open, from ``LEAST_SIDE`` pixels on.

    Raises:
        RunError: The network cannot be exported for pictures of any size, or at all.
    """
    images = torch.zeros((_EXAMPLE_BATCH, 3, *(size or _EXAMPLE_SIZE)), dtype=torch.uint8)
    axes: dict[int, Any] = {0: Dim("batch", min=1)}
    if size is None:
        axes |= {2: Dim("height", min=LEAST_SIDE), 3: Dim("width", min=LEAST_SIDE)}
    any_number = Dim("classes", min=2)
    shapes: dict[str, Any] = {"images": axes} | {name: {0: any_number} for name in table}
    # Copies: torch would take an argument that is a buffer, too, for the buffer, of fixed size.
    inputs = {"images": images, **{name: rows.clone() for name, rows in table.items()}}
    try:
        with torch.no_grad():
            return _without_places(_export(module, inputs, shapes))
    except Exception as error:  # torch has dozens, of what networks do with sizes
        remedy = "fix the size of the pictures with --size HEIGHT WIDTH" if size is None else ""
        raise RunError(
            "the network cannot be exported"
            + (f" for pictures of any size; {remedy}" if remedy else "")
            + f" ({first_line(error)[:200]})"
        ) from error


def _export(
    module: nn.Module, inputs: Mapping[str, Tensor], shapes: Mapping[str, Any]
) -> ExportedProgram:
    """First with all comparisons of sizes proved; what torch cannot prove is checked at use."""
    try:
        return torch.export.export(module, (), dict(inputs), dynamic_shapes=dict(shapes))
    except (torch._dynamo.exc.UserError, ValueError):
        return torch.export.export(
            module,
            (),
            dict(inputs),
            dynamic_shapes=dict(shapes),
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _without_places(program: ExportedProgram) -> ExportedProgram:
    """Takes out where on this machine each line of code lies; files are for others."""
    for part in program.graph_module.modules():
        for node in getattr(getattr(part, "graph", None), "nodes", ()):
            node.meta.pop("stack_trace", None)
    return program
