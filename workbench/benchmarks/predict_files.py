"""Pictures a second of predicting files: decoding, network, search and writing masks.

``embedding`` and ``dense`` are ``workbench predict`` with both kinds of model over the same
backbone; ``torch`` is the loop that people write for a dense model, one picture after another:
all logits at full size, then the largest.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional

from workbench import config
from workbench.benchmarks.harness import WRONG, Row, Spec, measure_rows, resolve_device
from workbench.benchmarks.meter import PeakMeter
from workbench.errors import ConfigError
from workbench.inference import predict_labels
from workbench.inference.files import Predictor, predict_files
from workbench.inference.picture_paths import find_pictures
from workbench.inference.tiles import Tiling
from workbench.models import SegmentationModel, build_model
from workbench.vocabulary import Vocabulary

METHODS: Final = ("embedding", "dense", "torch")
SHOWN: Final = ("images_per_second", "seconds", "peak_bytes", "note")

_AGREE: Final = 0.999
"""Share of pixels that must have the class that the model gives the whole picture at once:
near ties have no order in fp32."""
_WARM: Final = 1024  # pixels a side of the picture before

Loop = Callable[[list[Path], Path], list[Path]]


def run_predict_files(
    sizes: Sequence[int] = (512, 1024),
    methods: Sequence[str] = METHODS,
    *,
    classes: int = 1284,
    dim: int = 12,
    backbone: str = "mobilenetv2_100",
    pictures: int = 8,
    rounds: int = 1,
    device: str = "auto",
    available: int | None = None,
) -> list[Row]:
    """Measures every method at every size, each in a fresh process.

    Args:
        sizes: Sides of the pictures in pixels.
        methods: Of :data:`METHODS`.
        classes: Number of classes C.
        dim: Dimensions D of the embedding.
        backbone: A timm model below DeepLabV3+, with random weights.
        pictures: JPEG files that are timed, after one of 1024 pixels or less that is not.
        rounds: See :func:`~workbench.benchmarks.harness.measure_rows`.
        device: "cpu", "cuda" or "auto".
        available: Bytes a process on the CPU may take; None measures what is free.

    Returns:
        The rows of :func:`measure_predict_files`, with "images_per_second", "note", "rounds"
        and "machine".

    Raises:
        ConfigError: An argument is not among what there is.
    """
    device = resolve_device(device)
    if not methods or set(methods) - set(METHODS):
        raise ConfigError(f"--methods: choose from {', '.join(METHODS)}, got {list(methods)}")
    if not sizes or min(sizes) < 32:
        raise ConfigError(f"--sizes: whole numbers from 32, got {list(sizes)}")
    for name, value, least in (("classes", classes, 2), ("dim", dim, 1), ("pictures", pictures, 1)):
        if value < least:
            raise ConfigError(f"--{name}: at least {least}, got {value}")
    shared = {"bench": "predict-files", "device": device, "classes": classes, "dim": dim}
    specs = [
        {**shared, "method": method, "size": size, "backbone": backbone, "pictures": pictures}
        for size in sizes
        for method in methods
    ]
    rows = measure_rows(specs, describe, needs=_least, rounds=rounds, available=available)
    for row in rows:
        speed = None if row["seconds"] is None else round(1 / row["seconds"], 3)
        row["images_per_second"] = speed
    return rows


def describe(spec: Spec) -> Row:
    """What identifies a measurement."""
    columns = ("bench", "method", "device", "classes", "size", "backbone", "pictures")
    embedding = spec["method"] == "embedding"
    return {column: spec[column] for column in columns} | {
        "dim": spec["dim"] if embedding else None
    }


def _least(spec: Spec) -> int:
    return 4 * int(spec["classes"]) * int(spec["size"]) ** 2 if spec["method"] == "torch" else 0


def measure_predict_files(spec: Spec) -> Row:
    """Predicts a folder of generated photos; to be called in a process that did nothing else.

    Args:
        spec: "method", "classes", "size", "dim", "backbone", "pictures", "device".

    Returns:
        :func:`describe`, "seconds" and "cpu_seconds" (of a picture, mean), "peak_bytes" (beyond
        what is there when the model is made and warm), "start_bytes" (what is there then),
        "threads", and a "note" where a mask is not what the model says.
    """
    device, number = str(spec["device"]), int(spec["pictures"])
    model = make_model(spec).to(device)
    loop = _plain(model) if spec["method"] == "torch" else _ours(model, int(spec["classes"]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = int(spec["size"])
        loop(draw_photos(folder / "small", 1, min(size, _WARM)), folder / "warm")
        paths = draw_photos(folder / "photos", number, size)
        meter = PeakMeter(device)
        start, cpu = time.perf_counter(), time.process_time()
        masks = loop(paths, folder / "masks")
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
        memory = {"peak_bytes": meter.above(), "start_bytes": meter.start}
        # A picture that is cut into tiles gets another answer than in one piece.
        whole = Tiling().in_one_piece(size, size)
        agreed = agreement(model, paths[-1], masks[-1]) if whole else 1.0
    row = {
        **describe(spec),
        **memory,
        "seconds": round(seconds / number, 5),
        "cpu_seconds": round(cpu_seconds / number, 5),
        "threads": torch.get_num_threads(),
    }
    if agreed < _AGREE:
        row["note"] = f"{WRONG}only {agreed:.2%} of a mask's pixels are what the model says"
    return row


def make_model(spec: Spec) -> SegmentationModel:
    """A network with random weights, the same below its last layer for all methods."""
    torch.manual_seed(0)
    settings = config.Model(backbone=str(spec["backbone"]), embedding_dim=int(spec["dim"]))
    table = spec["method"] == "embedding"
    return build_model(settings, int(spec["classes"]), class_table=table).eval()


def draw_photos(folder: Path, number: int, size: int) -> list[Path]:
    """JPEG files of soft shapes with grain, which decode and compress about as photos do."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = []
    for index in range(number):
        side = max(2, size // 64)
        shapes = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
        pixels = np.asarray(shapes.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = rng.normal(0, 6, (size, size, 1)).astype(np.float32)
        paths.append(folder / f"{index:04d}.jpg")
        Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def agreement(model: SegmentationModel, picture: Path, mask: Path) -> float:
    """The share of a mask's pixels with the class that the model gives the picture at once."""
    with Image.open(picture) as image, Image.open(mask) as file:
        batch = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(model.mean.device)
        written = np.asarray(file).astype(np.int64)
    return float((predict_labels(model, batch)[0].cpu().numpy() == written).mean())


def _ours(model: SegmentationModel, classes: int) -> Loop:
    rows = {"raw_id": range(classes), "train_id": range(classes)}
    names = [f"class {class_id}" for class_id in range(classes)]
    predictor = Predictor(
        model, Vocabulary.from_table(pd.DataFrame({**rows, "name": names})), None, {}
    )

    def loop(paths: list[Path], out: Path) -> list[Path]:
        found = find_pictures([str(path) for path in paths], out)
        return predict_files(predictor, found, out).masks

    return loop


def _plain(model: SegmentationModel) -> Loop:
    @torch.inference_mode()
    def loop(paths: list[Path], out: Path) -> list[Path]:
        out.mkdir(parents=True)
        masks = []
        for path in paths:
            pixels = np.array(Image.open(path).convert("RGB"))
            batch = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(model.mean.device)
            logits = model(batch).pixels
            full = functional.interpolate(logits, pixels.shape[:2], mode="bilinear")
            labels = full.argmax(dim=1)[0].cpu().numpy()
            masks.append(out / f"{path.stem}.png")
            Image.fromarray(labels.astype(np.uint16)).save(masks[-1])
        return masks

    return loop
