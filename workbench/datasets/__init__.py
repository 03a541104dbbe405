"""Datasets: images with a mask of train ids, one file per dataset.

``DATASETS`` is the registry. Modules are imported only when asked for, so that workers
which build masks need not load torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from workbench.errors import ConfigError
from workbench.plugins import check_own_name

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.datasets.base import SegmentationDataset

DATASETS: Final[dict[str, str]] = {
    "ade20k": "workbench.datasets.ade20k:Ade20k",
    "cityscapes": "workbench.datasets.cityscapes:Cityscapes",
    "coco-panoptic": "workbench.datasets.coco_panoptic:CocoPanoptic",
    "coco-stuff10k": "workbench.datasets.coco_stuff10k:CocoStuff10k",
    "folder": "workbench.datasets.folder:Folder",
    "lvis-coco": "workbench.datasets.lvis_coco:LvisCoco",
    "shapeworld": "workbench.datasets.lvis_coco:ShapeWorld",
    "voc": "workbench.datasets.voc:Voc",
}
"""Registry key -> "module:class"; what was registered stands behind ours."""

_OURS: Final = frozenset(DATASETS)

__all__ = [
    "DATASETS",
    "PREPARED",
    "get_dataset",
    "open_dataset",
    "prepare",
    "register_dataset",
    "write_sample",
]

PREPARED: Final = ("lvis-coco", "shapeworld")
"""Keys of datasets that come as annotations, from which ``prepare`` builds the masks."""


def register_dataset(kind: type[SegmentationDataset]) -> None:
    """Makes a dataset of your own one of those that ``data.dataset`` names, in this process.

    Args:
        kind: A class at the top level of an importable module, so that processes that load
            images find it; registering its ``key`` again replaces it.

    Raises:
        ConfigError: The key is one of ours, or cannot be a name.
    """
    check_own_name("register_dataset", kind.key, _OURS)
    DATASETS[kind.key] = f"{kind.__module__}:{kind.__qualname__}"


def get_dataset(key: str) -> type[SegmentationDataset]:
    """The dataset class of a key.

    Raises:
        ConfigError: The key is not in the registry; the message lists those that are.
    """
    if key not in DATASETS:
        known = ", ".join(sorted(DATASETS))
        raise ConfigError(
            f"data.dataset: no dataset is called {key!r}; known: {known}, or add yours with "
            "register_dataset"
        )
    module, name = DATASETS[key].split(":")
    found: type[SegmentationDataset] = getattr(import_module(module), name)
    return found


def open_dataset(
    key: str,
    root: Path | str,
    split: str,
    transform: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
    *,
    variant: str = "",
) -> SegmentationDataset:
    """Opens one split of a dataset.

    Args:
        key: Registry key, for instance "ade20k".
        root: The dataset's own folder or its parent.
        split: One of the dataset's splits.
        transform: Applied to (image uint8 (3, H, W), mask int64 (H, W)).
        variant: One of the dataset's variants, "" for the usual one.

    Raises:
        ConfigError: Unknown key, split or variant.
        DataError: The folder does not hold the dataset.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as root:
        ...     written = write_sample("voc", root, images=2)
        ...     dataset = open_dataset("voc", root, "train")
        ...     sample = dataset[0]
        >>> len(dataset.vocabulary), sample["image"].dtype, sample["mask"].dtype
        (21, torch.uint8, torch.int64)
    """
    return get_dataset(key)(root, split, transform, variant=variant)


def prepare(
    key: str,
    root: Path | str,
    *,
    out: Path | str | None = None,
    workers: int | None = None,
    legacy_remap: bool = False,
) -> dict[str, Any]:
    """Builds the masks, vocabulary and counts of a dataset that comes as annotations.

    Args:
        key: "lvis-coco" or "shapeworld".
        root: The data root.
        out: Where the results go; default is a folder in the root.
        workers: Processes; None takes one per core for more than 500 masks.
        legacy_remap: Reproduce the mislabelled classes of the published masks.

    Returns:
        The report of ``lvis_prepare.prepare`` as plain values.

    Raises:
        ConfigError: The dataset needs no preparation.
        DataError: Files are missing or malformed.
    """
    if key not in PREPARED:
        get_dataset(key)  # an unknown name gets the list of all
        raise ConfigError(f"{key} needs no preparation; only {' and '.join(PREPARED)} do")
    from workbench.datasets.lvis_prepare import prepare as prepare_masks

    report = prepare_masks(root, out=out, workers=workers, legacy_remap=legacy_remap)
    return _plain({"dataset": key} | asdict(report))


def write_sample(key: str, out: Path | str, *, seed: int = 0, **options: int) -> dict[str, Any]:
    """Writes a small generated dataset: ShapeWorld, or a twin of a real dataset's layout.

    Args:
        key: "shapeworld", or a key of ``twins.TWINS``.
        out: Folder to write into.
        seed: The same seed gives the same pixels.
        options: ``images`` and ``size``; for ShapeWorld also ``val_images`` and ``classes``.

    Returns:
        What was written, as plain values.

    Raises:
        ConfigError: Nothing of this name can be generated, or an option does not apply.
    """
    if key == "shapeworld":
        from workbench.datasets.shapeworld import write_shapeworld

        return _plain({"dataset": key} | asdict(write_shapeworld(out, seed=seed, **options)))
    from workbench.datasets.twins import TWINS, write_twin

    if key not in TWINS:
        known = ", ".join(["shapeworld", *sorted(TWINS)])
        raise ConfigError(f"nothing to generate for {key!r}; known: {known}")
    foreign = sorted(set(options) - {"images", "size"})
    if foreign:
        raise ConfigError(f"--{foreign[0].replace('_', '-')} does not apply to {key}; leave it out")
    chosen: dict[str, Any] = dict(options)
    if "size" in chosen:
        chosen["size"] = (chosen["size"], chosen["size"])
    return _plain({"dataset": key, "root": write_twin(key, out, seed=seed, **chosen)})


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """With paths as text, for JSON."""
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in values.items()
    }
