"""A dataset's folder, or its generated twin where there is none."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Final, NamedTuple

from workbench import datasets
from workbench.errors import DataError
from workbench.runs.atomic import write_json

_MARKER: Final = "twin.json"
_RECIPE: Final = 1
"""Raised when what a twin holds changes, so that older ones are written anew."""


class TwinWarning(UserWarning):
    """Generated pictures take the place of a dataset that is not there."""


class Place(NamedTuple):
    """Where pictures are.

    Attributes:
        root: What `open_dataset` takes.
        twin: Whether they are generated.
        key: The dataset.
    """

    root: Path
    twin: bool
    key: str

    def _repr_html_(self) -> str:
        """A banner, so that nobody takes generated pictures for the dataset."""
        if not self.twin:
            return f"<b>{self.key}</b>: the real dataset."
        return (
            '<div style="border-left: 6px solid #e8833a; padding: 8px 12px; '
            'background: rgba(232, 131, 58, 0.15)"><b>Generated twin.</b> These are not '
            f"pictures of {self.key}: its folder is not there. Folders, file names and formats "
            "are the official ones, the content is drawn by a program. Every number below is "
            "about drawings.</div>"
        )


def get_or_twin(
    key: str,
    root: Path | str,
    twin_folder: Path | str,
    *,
    images: int,
    size: int | tuple[int, int],
    seed: int = 0,
    **options: int,
) -> Place:
    """Finds a dataset; where its folder is absent or empty, writes the twin and says so loudly.

    A twin written before with the same arguments is used again; one with others is replaced.
    The twin holds scenes where there are any for this dataset (``twins.SCENES``), and is
    prepared where the dataset needs that.

    Args:
        key: Registry key, for instance "ade20k".
        root: Where the dataset should be: its own folder or the parent.
        twin_folder: Where its twin goes: into a folder of the dataset's name in it.
        images: Images of the twin in each of train and val.
        size: Pixels of the twin's pictures: height and width, or one number for both.
        seed: Of the twin.
        options: ``val_images`` and ``classes`` for ShapeWorld.

    Returns:
        The place.

    Raises:
        DataError: The root holds something else than the dataset, which is more likely a
            mistake than a wish for a twin; or the twin's folder holds other files.
    """
    root = Path(root).expanduser()
    if root.exists() and not (root.is_dir() and not any(root.iterdir())):
        datasets.get_dataset(key).find_root(root)
        return Place(root, False, key)
    wanted = {"dataset": key, "recipe": _RECIPE, "images": images, "size": size, "seed": seed}
    wanted = json.loads(json.dumps(wanted | options))  # a tuple comes back as a list
    folder = Path(twin_folder).expanduser()
    if _known(folder) != wanted:
        _write(key, _emptied(folder) / key, images=images, size=size, seed=seed, options=options)
        write_json(folder / _MARKER, wanted)
    warnings.warn(
        f"{root}: no {key} there, so a GENERATED TWIN is used ({folder}): its layout is real, "
        "its pictures are drawings, and no number says anything about the dataset",
        TwinWarning,
        stacklevel=2,
    )
    return Place(folder / key, True, key)


def _known(folder: Path) -> dict[str, object]:
    """What an earlier twin was asked for; nothing where there is none."""
    try:
        known = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _emptied(folder: Path) -> Path:
    """The folder, without an older twin."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARKER).is_file():
            raise DataError(f"{folder}: the folder for the twin holds other files; choose another")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # From now on it is ours, also if writing is interrupted.
    write_json(folder / _MARKER, {})
    return folder


def _write(
    key: str,
    folder: Path,
    *,
    images: int,
    size: int | tuple[int, int],
    seed: int,
    options: dict[str, int],
) -> None:
    from workbench.datasets.twins import SCENES, TWINS, write_twin

    if key in TWINS:
        shape = (size, size) if isinstance(size, int) else size
        write_twin(key, folder, seed=seed, images=images, size=shape, scenes=key in SCENES)
    else:
        side = size if isinstance(size, int) else max(size)
        datasets.write_sample(key, folder, seed=seed, images=images, size=side, **options)
    if key in datasets.PREPARED:
        datasets.prepare(key, folder, workers=1)
