"""A dataset's folder, or its generated twin where there is none."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

from workbench import datasets
from workbench.datasets.twins import SCENES, write_twin
from workbench.errors import DataError


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
) -> Place:
    """Finds a dataset; where its folder is absent or empty, writes a twin and says so loudly.

    The twin holds scenes where there are any for this dataset (``twins.SCENES``), and is
    prepared where the dataset needs that.

    Args:
        key: Registry key, one of ``twins.TWINS``.
        root: Where the dataset should be: its own folder or the parent.
        twin_folder: A new folder, in which the twin has a folder of the dataset's name.
        images: Images of the twin in each of train and val.
        size: Pixels of the twin's pictures: height and width, or one number for both.

    Returns:
        The place.

    Raises:
        DataError: The root holds something else than the dataset, which is more likely a
            mistake than a wish for a twin; or the twin's folder is none or not empty.
    """
    root = Path(root).expanduser()
    if not _is_vacant(root):
        datasets.get_dataset(key).find_root(root)
        return Place(root, False, key)
    folder = Path(twin_folder).expanduser()
    if not _is_vacant(folder):
        raise DataError(f"{folder}: the place for the twin is taken; choose another")
    shape = (size, size) if isinstance(size, int) else size
    twin = write_twin(key, folder / key, images=images, size=shape, scenes=key in SCENES)
    if key in datasets.PREPARED:
        datasets.prepare(key, twin, workers=1)
    warnings.warn(
        f"{root}: no {key} there, so a GENERATED TWIN is used: its layout is real, "
        "its pictures are drawings, and no number says anything about the dataset",
        TwinWarning,
        stacklevel=2,
    )
    return Place(twin, True, key)


def _is_vacant(path: Path) -> bool:
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))
