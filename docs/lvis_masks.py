"""Draws real LVIS masks, and how LVIS lies over stuff on generated data.

    python docs/lvis_masks.py FOLDER

FOLDER holds ``lvis/annotations/lvis_v1_val.json`` and ``lvis/val2017/`` with some photos.
Result: docs/images/lvis_masks.png, which shows masks only: the photos are not ours to publish.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import patheffects
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from scipy import ndimage

from workbench.datasets.base import SegmentationDataset
from workbench.datasets.lvis_coco import LvisCoco, prepare
from workbench.datasets.twins import write_twin

PICTURE = Path(__file__).parent / "images" / "lvis_masks.png"
# Image id -> window top, bottom, left, right: what is labelled, and not much around it.
REAL = {11813: (40, 500, 0, 333), 373353: (205, 428, 205, 575), 196141: (62, 385, 150, 640)}
TWIN_SIZE = (144, 192)
TWIN_IMAGE = 1  # has a curtain both as stuff and as a thing
PAPER = "#f3f1ec"
INK = "#22211f"
FAINT = "#7a766e"

NAME: dict[str, Any] = {
    "fontsize": 9.5,
    "color": INK,
    "ha": "center",
    "va": "center",
    "zorder": 3,
    "path_effects": [patheffects.withStroke(linewidth=2.6, foreground="white")],
}

Mask = npt.NDArray[np.int64]


def real_masks(folder: Path, work: Path) -> tuple[LvisCoco, dict[int, Mask]]:
    """The windows of ``REAL``, by image id."""
    root = folder / "lvis"
    prepare(root, out=work / "prepared")
    dataset = LvisCoco(root, "val", prepared=work / "prepared")
    masks = {}
    for image_id, (top, bottom, left, right) in REAL.items():
        mask = dataset.read_mask(dataset.ids.index(f"{image_id:012d}"))
        masks[image_id] = mask[top:bottom, left:right]
    return dataset, masks


def twin_masks(work: Path) -> tuple[npt.NDArray[np.uint8], list[Mask]]:
    """A generated photo; its mask from stuff alone, from LVIS alone, and from both."""
    masks = []
    for name in ("stuff", "lvis", "both"):
        root = write_twin("lvis-coco", work / name, seed=3, images=2, size=TWIN_SIZE)
        left_out = {"stuff": "lvis_v1_*.json", "lvis": "annotations/stuff_*.json"}.get(name)
        for path in root.glob(left_out) if left_out else ():
            content = json.loads(path.read_text(encoding="utf-8"))
            path.write_text(json.dumps(content | {"annotations": []}), encoding="utf-8")
        prepare(root)
        photo, mask = LvisCoco(root, "train").read(TWIN_IMAGE)
        masks.append(mask)
    return np.asarray(photo), masks


def areas(mask: Mask, dataset: SegmentationDataset) -> npt.NDArray[np.uint8]:
    """A mask in its classes' colours with thin outlines, (2 H, 2 W, 3)."""
    large = mask.repeat(2, axis=0).repeat(2, axis=1)
    tinted = 0.8 * dataset.vocabulary.colors / 255 + 0.2
    colors = np.concatenate([tinted, [mpl.colors.to_rgb(PAPER)]])
    picture: npt.NDArray[np.float64] = colors[np.where(large < 0, len(colors) - 1, large)]
    outline = np.zeros(large.shape, dtype=bool)
    outline[:, 1:] |= large[:, 1:] != large[:, :-1]
    outline[1:] |= large[1:] != large[:-1]
    picture[outline] = picture[outline] * 0.35
    return (255 * picture).round().astype(np.uint8)


def heart(inside: npt.NDArray[np.bool_]) -> tuple[float, float, float]:
    """x, y and radius of the largest circle in an area."""
    distance = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return float(x), float(y), float(distance[y, x])


def write_names(axes: Axes, mask: Mask, dataset: SegmentationDataset) -> None:
    """Each class's name on its area, or beside it with a line where the area is small."""
    found = np.unique(mask[mask >= 0]).tolist()
    hearts = {value: heart(mask == value) for value in found}
    taken: list[Bbox] = []
    for value in sorted(found, key=lambda value: -hearts[value][2]):
        text = dataset.vocabulary.names[value].replace("_", " ")
        x, y, radius = hearts[value]
        spot = free_spot(axes, mask, text, (2 * x, 2 * y, 2 * radius), taken)
        if spot != (2 * x, 2 * y):
            axes.plot([2 * x, spot[0]], [2 * y, spot[1]], color=INK, linewidth=0.7, zorder=2)
        taken.append(extent(axes.text(*spot, text, **NAME)).padded(6))


def free_spot(
    axes: Axes, mask: Mask, text: str, circle: tuple[float, float, float], taken: list[Bbox]
) -> tuple[float, float]:
    """Where a name goes: near its area, over no other name and little of other areas."""
    x, y, radius = circle
    frame = axes.get_window_extent()
    best, lowest = (x, y), np.inf
    for reach in (0, *range(26, 131, 13)):
        for angle in np.arange(16) * np.pi / 8 if reach else (0.0,):
            spot = (x + reach * 1.6 * np.cos(angle), y + reach * np.sin(angle))
            label = axes.text(*spot, text, **NAME)
            box = extent(label)
            label.remove()
            corners = axes.transData.inverted().transform(box.get_points())
            left, right = sorted(np.maximum(corners[:, 0], 0) / 2)
            top, bottom = sorted(np.maximum(corners[:, 1], 0) / 2)
            inside = np.all(frame.min < box.min) and np.all(box.max < frame.max)
            if not inside or any(box.overlaps(other) for other in taken):
                continue
            if reach == 0 and radius < 0.9 * (bottom - top):
                continue
            under = mask[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
            cost = reach / 26 + (7 * float((under >= 0).mean()) if reach else 0)
            if cost < lowest:
                best, lowest = spot, cost
    return best


def extent(label: Text) -> Bbox:
    """A name's box in pixels of the figure."""
    return label.get_window_extent()


def show(axes: Axes, mask: Mask, dataset: SegmentationDataset) -> None:
    """One mask with names."""
    axes.imshow(areas(mask, dataset), interpolation="antialiased")
    axes.set_anchor("N")
    frame(axes)
    write_names(axes, mask, dataset)


def frame(axes: Axes) -> None:
    """A thin line round a picture, no ticks."""
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set(color="#c9c4ba", linewidth=0.8)


def main() -> None:
    """Draws the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    with tempfile.TemporaryDirectory() as work:
        dataset, real = real_masks(parser.parse_args().folder, Path(work))
        photo, (stuff, things, both) = twin_masks(Path(work))
    plt.rcParams.update({"font.family": "DejaVu Sans", "figure.dpi": 150})
    figure = plt.figure(figsize=(14, 8.2), facecolor="white")
    widths = [mask.shape[1] / mask.shape[0] for mask in real.values()]
    sides = {"left": 0.025, "right": 0.975, "wspace": 0.035}
    upper = figure.add_gridspec(1, 3, top=0.878, bottom=0.462, width_ratios=widths, **sides)
    lower = figure.add_gridspec(1, 4, top=0.316, bottom=0.016, **sides)
    for column, (image_id, mask) in enumerate(real.items()):
        axes = figure.add_subplot(upper[column])
        axes.set_title(f"image {image_id}", fontsize=10.5, color=INK, loc="left")
        show(axes, mask, dataset)
    titles = ("generated picture", "COCO-Stuff alone", "LVIS alone", "LVIS over stuff")
    for column, title in enumerate(titles):
        axes = figure.add_subplot(lower[column])
        axes.set_title(title, fontsize=10.5, color=INK, loc="left")
        if column == 0:
            axes.imshow(photo, interpolation="nearest")
            axes.set_anchor("N")
            frame(axes)
        else:
            show(axes, (stuff, things, both)[column - 1], dataset)
    for y, head, line in (
        (
            0.955,
            "Real annotations",
            "LVIS annotations (CC BY 4.0) of three COCO val2017 photos, cut to what is labelled. "
            "Pale: not labelled, ignored. The photos themselves are not shown.",
        ),
        (
            0.403,
            "Generated annotations",
            "No real photo at hand has both LVIS and stuff annotations, so their merge is shown on "
            "`workbench sample lvis-coco`. Curtain is one class from both. Pale: ignored.",
        ),
    ):
        figure.text(0.025, y, head, fontsize=15, color=INK, weight="bold")
        figure.text(0.025, y - 0.026, line, fontsize=10.5, color=FAINT)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
