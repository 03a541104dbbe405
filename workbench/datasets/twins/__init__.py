"""Small generated copies of dataset layouts, for tests and for trying things out.

A twin has the official folder names and file formats, traps included (palette masks, border
values, ignored ids), but generated content: textured rectangles whose colour says their class,
so that a model can learn it. One module per dataset, each with a function ``write``. Where
``SCENES`` names a painter, the twin can hold scenes instead, which a lesson can be shown on.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Final

import numpy as np

from workbench.errors import ConfigError

TWINS: Final[dict[str, str]] = {
    "ade20k": "workbench.datasets.twins.ade20k",
    "cityscapes": "workbench.datasets.twins.cityscapes",
    "coco-panoptic": "workbench.datasets.twins.coco_panoptic",
    "coco-stuff10k": "workbench.datasets.twins.coco_stuff10k",
    "folder": "workbench.datasets.twins.folder",
    "lvis-coco": "workbench.datasets.twins.lvis_coco",
    "voc": "workbench.datasets.twins.voc",
}
"""Registry key -> module with ``write(out, rng, images, size)``."""

SCENES: Final[dict[str, str]] = {
    "ade20k": "workbench.datasets.twins.rooms",
    "cityscapes": "workbench.datasets.twins.street",
    "coco-stuff10k": "workbench.datasets.twins.landscapes",
    "lvis-coco": "workbench.datasets.twins.bedrooms",
    "voc": "workbench.datasets.twins.objects",
}
"""Registry key -> module with a function ``paint`` (a ``scene.Painter``), for ``write``."""


def write_twin(
    key: str,
    out: Path | str,
    *,
    seed: int = 0,
    images: int = 6,
    size: tuple[int, int] = (48, 64),
    scenes: bool = False,
) -> Path:
    """Writes a small generated dataset in an official layout.

    Args:
        key: One of ``TWINS``.
        out: Folder to write into; the dataset's official top folder is made inside.
        seed: The same seed gives the same pixels.
        images: Images in each of train and val.
        size: Height and width in pixels.
        scenes: Scenes instead of rectangles; one of ``SCENES`` only.

    Returns:
        ``out``, which ``open_dataset`` accepts as the root.

    Raises:
        ConfigError: The key has no twin or no scenes here, or too few images or pixels are
            asked for.
    """
    if key not in TWINS:
        raise ConfigError(f"no generated twin for {key!r}; known: {', '.join(sorted(TWINS))}")
    if images < 1 or min(size) < 32:
        raise ConfigError(f"a twin needs 1 image of 32 x 32 pixels or more, not {images} of {size}")
    if scenes and key not in SCENES:
        raise ConfigError(f"no scenes for the twin of {key}; only for {', '.join(sorted(SCENES))}")
    out = Path(out)
    options = {"paint": import_module(SCENES[key]).paint} if scenes else {}
    import_module(TWINS[key]).write(out, np.random.default_rng(seed), images, size, **options)
    return out
