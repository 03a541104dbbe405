"""What an exported graph takes of onnxruntime: ``bench export``.

Its memory stands beside that of the same graph without the search, whose output are the
embeddings at full size; its time beside PyTorch's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from workbench import config
from workbench.benchmarks.harness import Row, Spec, measure_rows
from workbench.benchmarks.meter import PeakMeter, repeat
from workbench.errors import ConfigError
from workbench.export import export_model
from workbench.export.facts import LEAST_SIDE
from workbench.export.onnx_graph import embedding_graph, full_graph, write_onnx
from workbench.inference import load_model, predict_labels
from workbench.models import SegmentationModel, build_model
from workbench.runs import RunDirectory

CLASSES = 1284
SHOWN = ("peak_bytes", "memory_ratio", "seconds", "agreement", "largest_error", "note")
"""What ``workbench bench export`` prints of a row."""

_METHODS = ("embeddings", "onnxruntime", "torch")
_WITHIN = 10.0  # seconds of repetitions


def run_export(
    networks: Sequence[str] = ("small", "deeplabv3plus"),
    *,
    classes: int = CLASSES,
    dim: int = 64,
    size: int = 512,
    repetitions: int = 5,
    rounds: int = 1,
    run: Path | None = None,
    available: int | None = None,
) -> list[Row]:
    """Measures every network with random weights, each number in a fresh process.

    Args:
        networks: For ``model.network``.
        classes: C.
        dim: D.
        size: Side of the picture in pixels.
        repetitions: Calls that are timed, fewer where they take long.
        rounds: See :func:`~workbench.benchmarks.harness.measure_rows`.
        run: A trained one, whose kept pictures are compared; None compares none.
        available: Bytes a process may take; None measures what is free.

    Returns:
        A row a network and method, with "memory_ratio" (peak beside that of "embeddings"),
        and one, "agreement", of the run.

    Raises:
        ConfigError: An argument is out of range, or packages are missing.
        RunError: A network cannot be exported.
    """
    if min(classes, dim, repetitions) < 1 or size < LEAST_SIDE:
        raise ConfigError(
            f"--classes, --dim and --repetitions: at least 1; --size: {LEAST_SIDE} or more"
        )
    shared = {"bench": "export", "device": "cpu", "classes": classes, "dim": dim, "size": size}
    with tempfile.TemporaryDirectory() as folder:
        specs: list[Spec] = []
        for network in networks:
            spec = {**shared, "network": network, "repetitions": repetitions}
            specs += [
                {**spec, "method": method, "file": str(Path(folder) / f"{network}-{method}.onnx")}
                for method in _METHODS
            ]
            _write(make_model(spec), specs[-3]["file"], specs[-2]["file"])
        rows = measure_rows(specs, describe, needs=lambda _: 0, rounds=rounds, available=available)
    alone = {row["network"]: row["peak_bytes"] for row in rows if row["method"] == "embeddings"}
    for row in rows:
        ratio = row["peak_bytes"] and alone[row["network"]] and row["method"] == "onnxruntime"
        row["memory_ratio"] = row["peak_bytes"] / alone[row["network"]] if ratio else None
    return rows if run is None else [*rows, _agreement(run, rows[0]["machine"])]


def make_model(spec: Spec) -> SegmentationModel:
    """The same random weights in every process."""
    settings = {"network": spec["network"], "embedding_dim": spec["dim"], "pretrained": False}
    torch.manual_seed(0)
    return build_model(config.from_dict({"model": settings}).model, int(spec["classes"])).eval()


def _write(model: SegmentationModel, alone: str, full: str) -> None:
    graph = embedding_graph(model, None)
    write_onnx(graph, Path(alone))
    assert model.table is not None  # as it is built here
    table = {"class_embeddings": model.table.weight.detach()}
    write_onnx(full_graph(graph, model, table, "{}"), Path(full))


def describe(spec: Spec) -> Row:
    """What identifies a measurement."""
    kept = ("bench", "method", "device", "network", "classes", "dim")
    return {**{column: spec[column] for column in kept}, "pixels": int(spec["size"]) ** 2}


def measure_export(spec: Spec) -> Row:
    """Runs one graph, or PyTorch, on one picture; in a process that did nothing else.

    Args:
        spec: "method", "file", "network", "classes", "dim", "size", "repetitions".

    Returns:
        :func:`describe`, "peak_bytes" (beyond what is there when the graph is loaded),
        "start_bytes", "seconds", "cpu_seconds", "repetitions" and "pid".
    """
    side = int(spec["size"])
    images = np.random.default_rng(0).integers(0, 256, (1, 3, side, side), dtype=np.uint8)
    if spec["method"] == "torch":
        model, tensor = make_model(spec), torch.from_numpy(images)

        def work() -> None:
            predict_labels(model, tensor)
    else:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(
            spec["file"], options, providers=["CPUExecutionProvider"]
        )

        def work() -> None:
            session.run(None, {"images": images})

    meter = PeakMeter("cpu")
    timing = repeat(work, "cpu", at_most=int(spec["repetitions"]), within=_WITHIN)
    memory = {"peak_bytes": meter.above(), "start_bytes": meter.start}
    return {**describe(spec), **memory, **timing._asdict(), "pid": os.getpid()}


def _agreement(path: Path, machine: object) -> Row:
    """A trained model on random pictures and on those that its run keeps."""
    run = RunDirectory.open(path)
    model, _ = load_model(run)
    kept = [(split, name) for split in run.evaluations() for name in run.samples(split)]
    arrays = [np.array(run.read_picture(*place)) for place in kept]
    pictures = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "model.onnx"
        report = export_model(model, run.vocabulary(), out, "onnx", pictures=pictures)
    return {
        "bench": "export",
        "method": "agreement",
        "device": "cpu",
        "network": run.name,
        "classes": len(run.vocabulary()),
        "pictures": report.pictures,
        "agreement": report.agreement,
        "largest_error": report.largest_error,
        "bytes": report.bytes,
        "note": "",
        "machine": machine,
    }
