"""Images a second that one loading process delivers, beside plain torchvision pipelines.

All pipelines read the same files with the same random scales, in one process and thread, and
take turns: whatever else the machine does meanwhile, it does to all of them.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from workbench import config
from workbench.benchmarks.harness import Row, Spec, run_isolated
from workbench.benchmarks.machine import describe_machine
from workbench.constants import IGNORE_INDEX
from workbench.datasets.base import SegmentationDataset
from workbench.datasets.images import write_mask
from workbench.errors import ConfigError, WorkbenchError
from workbench.progress import progress
from workbench.runs import write_text
from workbench.trainers.sampling import Draw, SeededDataset, step_seed
from workbench.trainers.train import open_training_set

Load = Callable[[int], tuple[Tensor, Tensor]]

OURS: Final = "workbench"
JITTERS: Final = (0.0, 0.5)
"""Settings of ``data.color_jitter`` that are measured: off, the default, and a usual one."""

SHOWN: Final = ("images_per_second", "images_per_cpu_second", "cpu_ratio")
PHOTOS: Final = 24
"""Draws in a pass, from as many images: generated ones, or the first of a dataset."""

_CLASSES: Final = 1284
_BATCH: Final = 8


def run_loading(
    root: Path | None = None, dataset: str = "folder", *, crop: int = 512, repetitions: int = 9
) -> list[Row]:
    """Measures all pipelines on generated photos and, if there is one, on a dataset.

    Args:
        root: Folder of a dataset whose masks are image files.
        dataset: Its key.
        crop: Side of the crops in pixels.
        repetitions: Passes, after one that is not timed.

    Returns:
        One row a source of images, strength of the colour jitter and pipeline:
        "images_per_second" and "images_per_cpu_second", "wall_ratio" and "cpu_ratio" (its time
        over ours in the same pass), all medians over the passes, "cpu_ratio_low" and
        "cpu_ratio_high" (the extremes), what describes the images, and the machine.

    Raises:
        ConfigError: An argument is out of range, or the masks are no image files.
        DataError: The dataset cannot be read.
    """
    if repetitions < 1:
        raise ConfigError(f"--repetitions: at least 1, got {repetitions}")
    # Before the first measurement: afterwards the load is our own.
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), PHOTOS)
        photos = config.Data(dataset="folder", root=folder, train_split="all", crop=crop)
        sources = {"generated photos": photos}
        if root is not None:
            sources[dataset] = config.Data(dataset=dataset, root=str(root), crop=crop)
        jobs = [(name, data, jitter) for name, data in sources.items() for jitter in JITTERS]
        rows: list[Row] = []
        for name, data, jitter in progress(jobs, description="bench loading", unit="set"):
            settings = dataclasses.replace(data, color_jitter=jitter)
            spec = {
                "bench": "loading",
                "device": "cpu",
                "data": name,
                "config": config.to_dict(config.Run(data=settings)),
                "repetitions": repetitions,
            }
            rows += run_isolated(spec)["rows"]
    return [row | {"machine": machine} for row in rows]


def measure_loading(spec: Spec) -> Row:
    """The rows of one source of images and one colour jitter, under "rows".

    Args:
        spec: "data" (its name), "config" (a nested :class:`~workbench.config.Run`) and
            "repetitions".
    """
    torch.set_num_threads(1)
    settings = config.from_dict(spec["config"]).data
    dataset = open_training_set(settings)
    times = time_pipelines(pipelines(dataset, settings), PHOTOS, spec["repetitions"])
    common = {
        "bench": "loading",
        "data": spec["data"],
        "color_jitter": settings.color_jitter,
        "crop": settings.crop,
        "repetitions": spec["repetitions"],
        **describe_images(dataset),
    }
    rows = [
        {**common, "pipeline": name, **summarise(passes, times[OURS], PHOTOS)}
        for name, passes in times.items()
    ]
    return {"rows": rows}


def pipelines(dataset: SegmentationDataset, settings: config.Data) -> dict[str, Load]:
    """What is compared: functions from the number of a draw to image and mask.

    Args:
        dataset: With the training's transform.
        settings: Which that transform was made from.

    Returns:
        "workbench", the training's own loading; "torchvision, PIL", images of Pillow until
        the end; "torchvision, tensors", converted first; "torchvision, io", read by
        torchvision's own decoders as well.

    Raises:
        ConfigError: The masks are not image files.
    """
    if dataset.mask_path(0).suffix.lower() != ".png":
        raise ConfigError(
            f"--dataset: the masks of {dataset.key} are no PNG files, which plain pipelines need"
        )
    ours, images = SeededDataset(dataset, seed=0), _measured(dataset)

    def workbench(draw: int) -> tuple[Tensor, Tensor]:
        sample = ours[Draw(draw, draw % images)]
        if isinstance(sample, WorkbenchError):
            raise sample
        return sample["image"], sample["mask"]

    def plain(read: Callable[[SegmentationDataset, int], Any], *, early: bool) -> Load:
        transform = plain_transform(settings, dataset.mean_color, early=early)

        def load(draw: int) -> tuple[Tensor, Tensor]:
            # As ours does it, so that all draw the same scale.
            torch.default_generator.manual_seed(step_seed(0, draw))
            pair: tuple[Tensor, Tensor] = transform(*read(dataset, draw % images))
            return pair

        return load

    return {
        OURS: workbench,
        "torchvision, PIL": plain(_read_by_pillow, early=False),
        "torchvision, tensors": plain(_read_by_pillow, early=True),
        "torchvision, io": plain(_read_by_torchvision, early=True),
    }


def _read_by_pillow(
    dataset: SegmentationDataset, index: int
) -> tuple[Image.Image, tv_tensors.Mask]:
    image = Image.open(dataset.image_path(index)).convert("RGB")
    mask = dataset.lookup[np.asarray(Image.open(dataset.mask_path(index)))]
    return image, tv_tensors.Mask(mask)


def _read_by_torchvision(
    dataset: SegmentationDataset, index: int
) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    with warnings.catch_warnings():  # torchvision 0.29 began to deprecate its decoders
        warnings.simplefilter("ignore", DeprecationWarning)
        image = decode_image(str(dataset.image_path(index)), ImageReadMode.RGB)
        raw = decode_image(str(dataset.mask_path(index)), ImageReadMode.UNCHANGED)[0]
    mask = torch.from_numpy(dataset.lookup)[raw.long()]
    return tv_tensors.Image(image), tv_tensors.Mask(mask)


def plain_transform(
    settings: config.Data, fill: tuple[int, int, int], *, early: bool
) -> v2.Transform:
    """The augmentation as torchvision's building blocks give it.

    Args:
        settings: Crop, scale, flip and colour jitter.
        fill: RGB beyond the image's edge.
        early: Convert the image to a tensor first, not last.
    """
    color = [float(value) for value in fill]
    beyond = {Image.Image: tuple(fill), tv_tensors.Image: color, tv_tensors.Mask: IGNORE_INDEX}
    steps: list[v2.Transform] = [v2.ToImage()] if early else []
    steps.append(RandomScale(settings.scale))
    steps.append(v2.RandomCrop(settings.crop, pad_if_needed=True, fill=beyond))
    if settings.flip:
        steps.append(v2.RandomHorizontalFlip())
    if settings.color_jitter:
        steps.append(v2.ColorJitter(*[settings.color_jitter] * 3))
    steps += [v2.ToImage(), v2.ToDtype({tv_tensors.Image: torch.uint8, "others": None})]
    return v2.Compose(steps)


class RandomScale(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Resizes by a factor drawn uniformly, whatever the image's size.

    ``v2.ScaleJitter`` does so only for images of one size.
    """

    def __init__(self, scale: tuple[float, float]) -> None:
        """Takes the smallest and the largest factor."""
        super().__init__()
        self.scale = scale

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draws the new size."""
        low, high = self.scale
        factor = low + (high - low) * torch.rand(()).item()
        return {
            "size": [max(1, round(side * factor)) for side in functional.get_size(flat_inputs[0])]
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ANN401 - torchvision's
        """Resizes an image (bilinear, antialiased) or mask (nearest)."""
        return functional.resize(inpt, params["size"], antialias=True)


def time_pipelines(
    loads: Mapping[str, Load], draws: int, repetitions: int
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each pass, batching included.

    Args:
        loads: What to time.
        draws: In a pass.
        repetitions: Passes, after one that is not timed; in each the order changes.

    Returns:
        For each pipeline, (wall seconds, CPU seconds) of each pass.
    """
    names = list(loads)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for repetition in range(repetitions + 1):
        shift = repetition % len(names)
        for name in names[shift:] + names[:shift]:
            wall, cpu = time.perf_counter(), time.process_time()
            for first in range(0, draws, _BATCH):
                pairs = [
                    loads[name](repetition * draws + number)
                    for number in range(first, min(first + _BATCH, draws))
                ]
                torch.stack([image for image, _ in pairs])
                torch.stack([mask for _, mask in pairs])
            if repetition:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return times


def summarise(
    times: Sequence[tuple[float, float]], ours: Sequence[tuple[float, float]], draws: int
) -> Row:
    """Medians over the passes, and how many times as long as ours they took.

    Args:
        times: (wall seconds, CPU seconds) of each pass.
        ours: The same of our own pipeline.
        draws: In a pass.
    """
    wall, cpu = zip(*times, strict=True)
    wall_ratios, cpu_ratios = zip(
        *((a[0] / b[0], a[1] / b[1]) for a, b in zip(times, ours, strict=True)), strict=True
    )
    return {
        "images_per_second": round(draws / statistics.median(wall), 1),
        "images_per_cpu_second": round(draws / statistics.median(cpu), 1),
        "wall_ratio": round(statistics.median(wall_ratios), 3),
        "cpu_ratio": round(statistics.median(cpu_ratios), 3),
        "cpu_ratio_low": round(min(cpu_ratios), 3),
        "cpu_ratio_high": round(max(cpu_ratios), 3),
    }


def _measured(dataset: SegmentationDataset) -> int:
    return min(len(dataset), PHOTOS)


def describe_images(dataset: SegmentationDataset) -> Row:
    """How many images are measured, and their mean size in bytes and pixels."""
    paths = [dataset.image_path(index) for index in range(_measured(dataset))]
    pixels = []
    for path in paths:
        with Image.open(path) as image:
            pixels.append(image.width * image.height)
    return {
        "images": len(paths),
        "mean_bytes": round(statistics.mean(path.stat().st_size for path in paths)),
        "mean_pixels": round(statistics.mean(pixels)),
    }


def write_photos(root: Path, images: int, size: tuple[int, int] = (480, 640)) -> None:
    """Writes JPEGs as large as photos, with 16-bit masks, in the layout of "folder".

    Natural images have amplitudes that fall with the spatial frequency; noise with that
    spectrum compresses, and so decodes, much like them.

    Args:
        root: An empty folder.
        images: How many.
        size: (H, W) in pixels.
    """
    for name in ("images", "masks"):
        (root / name).mkdir()
    names = "".join(f"class {number}\n" for number in range(_CLASSES))
    write_text(root / "classes.csv", f"name\n{names}")
    for number in range(images):
        rng = np.random.default_rng((0, number))
        light, red, blue = (_smooth_noise(rng, size) for _ in range(3))
        channels = [light + 0.3 * red, light, light + 0.3 * blue]
        picture = np.stack([128 + 50 * channel for channel in channels], axis=-1)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(
            root / "images" / f"{number}.jpg", quality=90
        )
        # Level lines of two other noises: areas with ragged edges, as annotations have.
        levels = [np.digitize(_smooth_noise(rng, size, 2.0), [-1, 0, 1]) for _ in range(2)]
        ids = rng.choice(_CLASSES, 16, replace=False)
        write_mask(root / "masks" / f"{number}.png", ids[levels[0] * 4 + levels[1]])


def _smooth_noise(
    rng: np.random.Generator, size: tuple[int, int], fall: float = 1.2
) -> npt.NDArray[np.float64]:
    """Noise (H, W) of mean 0 and deviation 1, amplitude ~ frequency ** -fall."""
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.rfftfreq(size[1])
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(size)) * frequency**-fall, s=size)
    scaled: npt.NDArray[np.float64] = noise / noise.std()
    return scaled
