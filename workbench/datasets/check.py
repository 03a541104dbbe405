"""What of a dataset is on disk, whether it can be used, and what to do next.

Usable means that training can start: the train split and an evaluation split open, all
their files are there, and the pairs that were read have no fault.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from workbench.constants import IGNORE_INDEX
from workbench.datasets import PREPARED, get_dataset, open_dataset
from workbench.datasets.archives import SOURCES
from workbench.datasets.base import SegmentationDataset
from workbench.datasets.check_report import CheckReport, PartFound, SplitFound, Step
from workbench.datasets.layout import Part
from workbench.errors import DataError
from workbench.progress import progress

TRAIN: Final = "train"
EVALUATION: Final = ("val", "test")
SAMPLE: Final = 8
"""Pairs read of each split unless all are asked for."""
LISTED: Final = 5
"""Faults of a split that are quoted; all are counted."""

_ARCHIVES: Final = (".zip", ".tar", ".gz", ".tgz")


def check_dataset(
    key: str, root: Path | str, *, variant: str = "", every_file: bool = False
) -> CheckReport:
    """Looks at what a folder holds of a dataset; changes nothing.

    Training needs the split "train", and "val" or "test" to evaluate on; a fault in another
    split is reported but does not make the dataset unusable.

    Args:
        key: Registry key, for instance "ade20k".
        root: The dataset's own folder or its parent.
        variant: One of the dataset's variants.
        every_file: Read every pair of every split, not 8 of each.

    Raises:
        ConfigError: Unknown key or variant. Whatever is wrong with the files is reported.
    """
    root = Path(root).expanduser()
    kind = get_dataset(key)
    folder = _own_folder(kind, root)
    if folder is None:
        near = _nearby(kind, root)
        steps = _steps_elsewhere(key, root, near)
        return CheckReport(key, variant, root, None, _what_is_there(kind, root), steps=steps)
    parts = tuple(_part_found(folder, part) for part in kind.parts)
    splits = []
    notes: list[str] = []
    classes = 0
    for name in kind.splits:
        try:
            dataset = open_dataset(key, root, name, variant=variant)
        except (DataError, OSError) as error:
            splits.append(SplitFound(name, error=str(error)))
            continue
        classes = len(dataset.vocabulary)
        notes += [note for note in dataset.notes() if note not in notes]
        splits.append(_split_found(dataset, every_file))
    problem = _problem(splits)
    return CheckReport(
        key=key,
        variant=variant,
        root=root,
        folder=folder,
        problem=problem,
        classes=classes,
        parts=parts,
        splits=tuple(splits),
        notes=tuple(notes),
        steps=_steps(key, root, variant, parts, splits, problem),
    )


def _own_folder(kind: type[SegmentationDataset], place: Path) -> Path | None:
    try:
        return kind.find_root(place)
    except (DataError, OSError):
        return None


def _nearby(kind: type[SegmentationDataset], root: Path) -> Path | None:
    """The dataset's own folder, up to three levels above or two below."""
    below = [place for level in (1, 2) for place in _folders_below(root, level)]
    for place in [*below, *root.absolute().parents[:3]]:
        if (found := _own_folder(kind, place)) is not None:
            return found
    return None


def _folders_below(root: Path, level: int) -> Iterator[Path]:
    if level == 0:
        yield root
        return
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return
    for name in folders:
        yield from _folders_below(root / name, level - 1)


def _what_is_there(kind: type[SegmentationDataset], root: Path) -> str:
    """Why a folder is not the dataset's."""
    belongs = f"it must hold {kind.layout}"
    if not root.exists():
        return f"the folder does not exist; {belongs}"
    if not root.is_dir():
        return f"this is a file, not a folder; give the folder: {belongs}"
    names = sorted(path.name for path in root.iterdir())
    if not names:
        return f"the folder is empty; {belongs}"
    packed = [name for name in names if name.endswith(_ARCHIVES)]
    if packed:
        named = ", ".join(packed[:3])
        return f"the folder holds archives that are not unpacked ({named}); {belongs}"
    return f"the folder holds no {kind.key}; {belongs}"


def _part_found(folder: Path, part: Part) -> PartFound:
    files = {path for pattern in _without_braces(part.pattern) for path in folder.glob(pattern)}
    found = sum(not path.name.startswith(".") for path in files)
    return PartFound(part.what, part.pattern, part.split, found, part.full, part.optional)


def _without_braces(pattern: str) -> list[str]:
    """The globs that a pattern with alternatives "{a,b}" stands for."""
    braces = re.search(r"\{([^{}]*)\}", pattern)
    if braces is None:
        return [pattern]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    options = braces[1].split(",")
    return [glob for option in options for glob in _without_braces(before + option + after)]


def _split_found(dataset: SegmentationDataset, every_file: bool) -> SplitFound:
    """Looks for all files of an open split and reads some of them."""
    absent = _absent_files(dataset)
    count = len(dataset)
    sample = np.linspace(0, count - 1, count if every_file else min(SAMPLE, count))
    chosen = sample.round().astype(int).tolist()
    # What is absent is counted already; reading it would only say so again.
    chosen = [index for index in chosen if index not in absent]
    faults, labelled = _read(dataset, chosen, show_progress=every_file)
    nothing = chosen and not faults and not labelled
    return SplitFound(
        name=dataset.split,
        images=count,
        absent=len(absent),
        read=len(chosen),
        faulty=len(faults),
        faults=tuple([*absent.values(), *faults][:LISTED]),
        error="no pixel of the masks that were read has a class" if nothing else "",
    )


def _absent_files(dataset: SegmentationDataset) -> dict[int, str]:
    """Index -> message of the images whose picture or mask file is not there."""
    listings: dict[Path, frozenset[str]] = {}  # 118,000 stat calls are slow on a network
    absent = {}
    for index in range(len(dataset)):
        for path in (dataset.image_path(index), dataset.mask_path(index)):
            if path.parent not in listings:
                names = os.listdir(path.parent) if path.parent.is_dir() else ()
                listings[path.parent] = frozenset(names)
            if path.name not in listings[path.parent]:
                absent[index] = f"{path}: the file is missing; restore it"
    return absent


def _read(
    dataset: SegmentationDataset, indices: list[int], *, show_progress: bool
) -> tuple[list[str], bool]:
    """Reads pairs; returns their faults and whether any pixel has a class."""

    def read(index: int) -> tuple[str, bool]:
        try:
            _, mask = dataset.read(index)
        except (DataError, OSError) as error:
            return str(error), False
        return "", bool((mask != IGNORE_INDEX).any())

    # Threads suffice: decoding, most of the work, runs outside the interpreter's lock.
    with ThreadPoolExecutor() as pool:
        results = pool.map(read, indices)
        if show_progress:
            description = f"read {dataset.split}"
            results = iter(
                progress(results, description=description, total=len(indices), unit="img")
            )
        read_all = list(results)
    return [fault for fault, _ in read_all if fault], any(labelled for _, labelled in read_all)


def _problem(splits: list[SplitFound]) -> str:
    """Why these splits do not suffice; "" where they do."""
    errors = {split.error for split in splits}
    if len(errors) == 1 and not any(split.images for split in splits):
        return errors.pop()
    usable = {split.name for split in splits if split.usable}
    if TRAIN not in usable:
        return f"the split {TRAIN!r} is not usable, so there is nothing to learn from"
    evaluation = [split.name for split in splits if split.name in EVALUATION]
    if usable.isdisjoint(evaluation):
        names = " or ".join(repr(name) for name in evaluation)
        return f"no split to evaluate on is usable ({names})"
    return ""


def _steps(
    key: str,
    root: Path,
    variant: str,
    parts: tuple[PartFound, ...],
    splits: list[SplitFound],
    problem: str,
) -> tuple[Step, ...]:
    """What to do with a folder that is the dataset's."""
    place = shlex.quote(str(root))
    if not problem:
        usable = {split.name for split in splits if split.usable}
        settings = f"--data.dataset {key} --data.root {place}"
        settings += f" --data.variant {variant}" if variant else ""
        reading = f" --variant {variant}" if variant else ""
        evaluation = next(split for split in EVALUATION if split in usable)
        settings += f" --data.val_split {evaluation}" if evaluation != "val" else ""
        return (
            Step("train a model on it", f"workbench train --run runs/{key} {settings}"),
            Step("count its classes", f"workbench data stats {key} {place}{reading}"),
        )
    unusable = {split.name for split in splits if not split.usable}
    needed = [part for part in parts if not part.optional]
    lacking = {part.split for part in needed if not part.found}
    download, prepare = [], []
    if key in SOURCES and any(part.found < max(part.full, 1) for part in needed):
        download = [Step("get what is missing", f"workbench data download {key} {place}")]
    if key in PREPARED and not unusable <= lacking and "" not in lacking:
        legacy = " --legacy-remap" if variant == "legacy" else ""
        prepare = [Step("build the masks", f"workbench prepare {key} {place}{legacy}")]
    steps = [*download, *prepare] if lacking else [*prepare, *download]
    return (*steps, _stand_in(key, root)) if lacking or key != "shapeworld" else tuple(steps)


def _steps_elsewhere(key: str, root: Path, near: Path | None) -> tuple[Step, ...]:
    """What to do with a folder that is not the dataset's."""
    place = shlex.quote(str(root))
    if near is not None:
        return (Step("did you mean", f"workbench data check {key} {shlex.quote(str(near))}"),)
    if key in SOURCES and not root.is_file():
        get = Step("get and unpack the official files", f"workbench data download {key} {place}")
        return (get, _stand_in(key, root))
    return (_stand_in(key, root),)


def _stand_in(key: str, root: Path) -> Step:
    """Generated files, in a folder of their own: never among a user's real ones."""
    out = root if not root.exists() else Path("data") / f"{key}-sample"
    return Step("try a small generated one", f"workbench sample {key} {shlex.quote(str(out))}")
