"""Draws docs/images/method.png: what the paper's loss looks at, and what that leaves out.

python docs/method_figure.py
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from workbench.distances import ClassEmbeddings, get_distance, logits
from workbench.figure_style import style_axes

PICTURE = Path(__file__).parent / "images" / "method.png"
INK, FAINT, OWN, NEAR = "#24303c", "#9aa7b2", "#1f6f8b", "#b7791f"

# On the circle, degrees; the first is the true class.
CLASSES = (62, 20, 108, 150, 185, 215, 250, 290, 330)
PIXEL, NEIGHBOURS = 48, 3

# As a training finds them at its start: pixels and classes anywhere, the paper's T and k.
COUNT, K, TEMPERATURE, PIXELS = 1284, 7, 20.0, 400
DIMENSIONS = {12: NEAR, 64: OWN}


def draw_idea(axes: Axes) -> None:
    """A pixel, its class and the nearest others, on the unit circle."""
    axes.add_patch(plt.Circle((0, 0), 1, fill=False, color=FAINT, linewidth=1))
    points = [(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in CLASSES]
    pixel = (math.cos(math.radians(PIXEL)), math.sin(math.radians(PIXEL)))
    others = sorted(points[1:], key=lambda point: math.dist(point, pixel))
    for point in others:
        near = others.index(point) < NEIGHBOURS
        axes.plot(*point, "o", color=NEAR if near else FAINT, markersize=11 if near else 8)
        if near:
            ends = zip(pixel, point, strict=True)
            axes.plot(*ends, color=NEAR, linewidth=1.4, linestyle="--")
    axes.plot(*zip(pixel, points[0], strict=True), color=OWN, linewidth=2)
    axes.plot(*points[0], "o", color=OWN, markersize=13)
    axes.plot(*pixel, "*", color=INK, markersize=17)
    for text, place, color in (
        ("its class $e_y$", (0.5, 1.06), OWN),
        ("a pixel $x$", (0.78, 0.80), INK),
        (f"the {NEIGHBOURS} nearest others", (-1.02, 1.16), NEAR),
        ("not looked at", (-0.42, -0.78), FAINT),
    ):
        axes.annotate(text, place, color=color, fontsize=12)
    axes.set(xlim=(-1.25, 1.5), ylim=(-1.2, 1.3), aspect="equal")
    axes.axis("off")
    axes.set_title("What is compared", loc="left", color=INK, fontsize=14)


def draw_share(axes: Axes) -> None:
    """What the k nearest classes hold of the softmax over all, before anything is learned."""
    axes.axvline(K, color=FAINT, linewidth=1)
    axes.annotate(f" k = {K}", (K, 0.03), color=FAINT, fontsize=12)
    for dim, color in DIMENSIONS.items():
        generator = torch.Generator().manual_seed(0)
        pixels, weight = (
            torch.randn(rows, dim, generator=generator, dtype=torch.float64)
            for rows in (PIXELS, COUNT)
        )
        table = ClassEmbeddings(weight, None, torch.tensor(TEMPERATURE, dtype=torch.float64))
        shares = logits(pixels, table, get_distance("euclidean")).softmax(dim=1)
        held = shares.sort(dim=1, descending=True).values.cumsum(dim=1).mean(dim=0).tolist()
        axes.plot(range(1, COUNT + 1), held, color=color, linewidth=2)
        axes.annotate(f"D = {dim}", (40, held[39] - 0.07), color=color, fontsize=12)
    axes.set(xscale="log", xlim=(1, COUNT), ylim=(0, 1.02), xlabel="k nearest classes")
    axes.set_title(
        f"Share of the probability they hold, of {COUNT:,}", loc="left", color=INK, fontsize=14
    )
    axes.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    style_axes(axes, size=10, grid="both")


def main() -> None:
    """Draws the picture."""
    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    draw_idea(left)
    draw_share(right)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
