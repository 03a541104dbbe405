"""The graph for onnxruntime: torch's of the network, and behind it a search in ONNX itself.

The search is two loops. The outer one takes strips of the picture, the inner one chunks of the
class table with a running maximum: what is alive at a time is one small tile of scores, whatever
the picture and the number of classes. Torch's own exporter would make it another way, and with
it the memory that onnxruntime takes.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

from workbench.distances import Distance, get_distance
from workbench.errors import ConfigError, RunError
from workbench.export.facts import KEY, Table
from workbench.export.trace import Embeddings, trace
from workbench.models import SegmentationModel

if TYPE_CHECKING:
    import onnx

OPSET: Final = 18  # the first that torch's exporter writes

# A tile of scores has 4 MB: it stays in a processor's cache.
_STRIP = 2048  # pixels
_CHUNK = 512  # classes

_MOST_BYTES = 2**31 - 1  # of one file; beyond, weights would lie beside it

_OUTPUTS = "int64[batch, height, width] labels, float[batch, height, width] distances"

# The rows of the class table are counted by adding up ones: of what has a default, onnxruntime
# takes Shape for a constant, and would go on with the number of classes that were exported.
_SEARCH: Final = """
<ir_version: 10, opset_import: ["" : {opset}]>
search (float[batch, dim, height, width] embeddings, {inputs}) => ({outputs}) {{
  s_chunk = Constant <value = int64[1] {{{chunk}}}> ()
  s_pixels = Constant <value = int64[1] {{{strip}}}> ()
  s_zero = Constant <value = int64[1] {{0}}> ()
  s_first = Constant <value = int64 {{0}}> ()
  s_one = Constant <value = int64[1] {{1}}> ()
  s_step = Constant <value = int64 {{1}}> ()
  s_last = Constant <value = int64[1] {{-1}}> ()
  s_go = Constant <value = bool {{1}}> ()
  {table}
  s_sizes = ReduceMax <keepdims = 0> (s_table, s_one)
  s_none = Sub (s_sizes, s_sizes)
  s_each = Exp (s_none)
  s_sum = ReduceSum <keepdims = 1> (s_each, s_zero)
  s_classes = Cast <to = 7> (s_sum)
  s_class_end = Add (s_classes, s_chunk)
  s_class_top = Sub (s_class_end, s_one)
  s_chunks = Div (s_class_top, s_chunk)
  s_turns = Squeeze (s_chunks)
  s_batch = Shape <start = 0, end = 1> (embeddings)
  s_height = Shape <start = 2, end = 3> (embeddings)
  s_width = Shape <start = 3, end = 4> (embeddings)
  s_across = Mul (s_batch, s_width)
  s_fit = Div (s_pixels, s_across)
  s_some = Min (s_fit, s_height)
  s_rows = Max (s_some, s_one)
  s_bottom = Sub (s_height, s_one)
  s_end = Add (s_bottom, s_rows)
  s_count = Div (s_end, s_rows)
  s_strips = Squeeze (s_count)
  s_rows_scalar = Squeeze (s_rows)
  s_offsets = Range (s_first, s_rows_scalar, s_step)
  s_labels, s_scores = Loop <body = strip (int64 s_index, bool s_in)
      => (bool s_out, int64[batch, rows, width] s_strip_labels,
          float[batch, rows, width] s_strip_scores) {{
    s_out = Identity (s_in)
    s_top = Mul (s_index, s_rows)
    s_wanted = Add (s_offsets, s_top)
    s_there = Min (s_wanted, s_bottom)
    s_channels = Gather <axis = 2> (embeddings, s_there)
    s_raw = Transpose <perm = [0, 2, 3, 1]> (s_channels)
    {points}
    s_shape = Shape <start = 0, end = 3> (s_points)
    s_worst = ConstantOfShape <value = float[1] {{-3.4e38}}> (s_shape)
    s_nobody = ConstantOfShape <value = int64[1] {{0}}> (s_shape)
    s_strip_scores, s_strip_labels = Loop <body = chunk (int64 s_turn, bool s_in2,
        float[batch, rows, width] s_best, int64[batch, rows, width] s_who)
        => (bool s_out2, float[batch, rows, width] s_best2, int64[batch, rows, width] s_who2) {{
      s_out2 = Identity (s_in2)
      s_low = Mul (s_turn, s_chunk)
      s_high = Add (s_low, s_chunk)
      s_part = Slice (s_table, s_low, s_high, s_zero)
      s_columns = Transpose <perm = [1, 0]> (s_part)
      s_products = MatMul (s_points, s_columns)
      {sums}
      s_here = ReduceMax <keepdims = 0> (s_sums, s_last)
      s_place = ArgMax <axis = -1, keepdims = 0> (s_sums)
      s_id = Add (s_place, s_low)
      s_better = Greater (s_here, s_best)
      s_best2 = Where (s_better, s_here, s_best)
      s_who2 = Where (s_better, s_id, s_who)
    }}> (s_turns, s_go, s_worst, s_nobody)
  }}> (s_strips, s_go)
  s_picture = Concat <axis = 0> (s_batch, s_last, s_width)
  s_labels_in_order = Transpose <perm = [1, 0, 2, 3]> (s_labels)
  s_labels_flat = Reshape (s_labels_in_order, s_picture)
  labels = Slice (s_labels_flat, s_zero, s_height, s_one)
  s_scores_in_order = Transpose <perm = [1, 0, 2, 3]> (s_scores)
  s_scores_flat = Reshape (s_scores_in_order, s_picture)
  s_score = Slice (s_scores_flat, s_zero, s_height, s_one)
  {distances}
}}
"""

_UNIT: Final = {
    "inputs": "float[classes, dim] class_embeddings",
    "table": "s_table = LpNormalization <axis = 1, p = 2> (class_embeddings)",
    "points": "s_points = LpNormalization <axis = 3, p = 2> (s_raw)",
    "sums": "s_sums = Identity (s_products)",
    # ||x - e||^2 = 2 - 2s; where the points coincide, rounding would make it negative.
    "distances": """
  s_two = Constant <value = float {{2.0}}> ()
  s_nearest = Constant <value = float {{{nearest}}}> ()
  s_least = Mul (s_nearest, s_nearest)
  s_twice = Mul (s_two, s_score)
  s_square = Sub (s_two, s_twice)
  s_sound = Max (s_square, s_least)
  distances = Sqrt (s_sound)""",
}

_LINEAR: Final = {
    "inputs": "float[classes, dim] class_embeddings, float[classes] class_bias",
    "table": "s_table = Identity (class_embeddings)",
    "points": "s_points = Identity (s_raw)",
    "sums": """s_offset = Slice (class_bias, s_low, s_high, s_zero)
      s_sums = Add (s_products, s_offset)""",
    "distances": "distances = Neg (s_score)",
}

_DENSE: Final = """
<ir_version: 10, opset_import: ["" : {opset}]>
search (float[batch, classes, height, width] embeddings) => ({outputs}) {{
  s_axis = Constant <value = int64[1] {{1}}> ()
  labels = ArgMax <axis = 1, keepdims = 0> (embeddings)
  s_best = ReduceMax <keepdims = 0> (embeddings, s_axis)
  distances = Neg (s_best)
}}
"""


def search_text(distance: Distance | None) -> str:
    """The search in ONNX's own notation, from "embeddings" on; None for dense logits."""
    shared = {"opset": OPSET, "outputs": _OUTPUTS}
    if distance is None:
        return _DENSE.format(**shared)
    # The smallest distance that ours gives, not a number of its own.
    nearest = float(distance.distance(torch.ones(())))
    parts = dict(_UNIT if distance.normalized else _LINEAR)
    parts["distances"] = parts["distances"].format(nearest=f"{nearest:.9f}")
    return _SEARCH.format(**shared, **parts, chunk=_CHUNK, strip=_STRIP)


def embedding_graph(model: SegmentationModel, size: tuple[int, int] | None) -> onnx.ModelProto:
    """Pictures to embeddings at full size, or to a dense model's logits.

    Raises:
        ConfigError: The packages are missing.
        RunError: The network cannot be exported.
    """
    check_installed()
    program = trace(Embeddings(model).eval(), {}, size)
    with redirect_stdout(sys.stderr):  # torch 2.11 reports there, where a command's result goes
        made = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["embeddings"],
            verbose=False,
        )
    if made is None or made.model_proto.ByteSize() > _MOST_BYTES:
        raise RunError("the weights take more than 2 GB, which one ONNX file does not hold")
    graph: onnx.ModelProto = made.model_proto
    _without_places(graph.graph.node)
    for function in graph.functions:
        _without_places(function.node)
    graph.graph.doc_string = graph.doc_string = ""
    return graph


def full_graph(
    embeddings: onnx.ModelProto, model: SegmentationModel, table: Table, facts: str
) -> onnx.ModelProto:
    """Adds the search, the class table and the metadata to a graph of embeddings.

    Args:
        embeddings: Changed in place.
        model: What it was made of.
        table: The inputs of the search, empty for a dense model.
        facts: The metadata.
    """
    import onnx.checker
    import onnx.parser
    from onnx import numpy_helper

    search = onnx.parser.parse_model(search_text(get_distance(model.distance) if table else None))
    graph = embeddings.graph
    graph.node.extend(search.graph.node)
    # An initializer that is an input, too, is a default: who gives other classes overrides it.
    graph.input.extend(search.graph.input[1:])
    graph.initializer.extend(
        numpy_helper.from_array(tensor.numpy(), name) for name, tensor in table.items()
    )
    del graph.output[:]
    graph.output.extend(search.graph.output)
    del embeddings.metadata_props[:]
    embeddings.metadata_props.add(key=KEY, value=facts)
    if embeddings.ByteSize() > _MOST_BYTES:
        raise RunError("weights and classes take over 2 GB, which one ONNX file does not hold")
    onnx.checker.check_model(embeddings)
    return embeddings


def check_installed() -> None:
    """Makes sure that what writes and runs ONNX is there.

    Raises:
        ConfigError: With what to type.
    """
    for name in ("onnx", "onnxruntime", "onnxscript"):  # the last is what torch's exporter needs
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"--format onnx: {name} is not installed: "
                "pip install 'segmentation-workbench[export]', or choose --format pt2"
            )


def _without_places(nodes: Iterable[onnx.NodeProto]) -> None:
    """Takes out where on this machine each line of code lies; files are for others."""
    for node in nodes:
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            _without_places(attribute.g.node)


def write_onnx(graph: onnx.ModelProto, path: Path) -> None:
    """Writes the graph; atomically is the caller's business."""
    path.write_bytes(graph.SerializeToString())
