"""What a number of classes costs in memory, as sums that can be done by hand.

One training step is the network, which no class touches, and what is made above it. Only the
second is counted here: the class scores and the loss, with their gradients, in bytes, fp32.
Free of torch, so that a page opens quickly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

NUMBER: Final = 4
"""Bytes of an fp32 number."""

STRIDE: Final = 4
"""Pixels of the picture per pixel of the network's output, along a side."""

DENSE: Final = "dense"
EMBEDDING: Final = "embedding"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is trained.

    Attributes:
        batch: B, images in a step.
        crop: Side of an image in pixels.
        dim: D, dimensions of an embedding.
        pixels: Labelled pixels drawn for the loss; 0 takes all.
        budget: Bytes the loss of an embedding works in (``loss.budget_mb``).
        optimizer: Numbers the optimiser keeps for each weight: 1 for momentum, 2 for Adam.
        normalized: Whether the distance scales class embeddings to unit length, in a copy.
    """

    batch: int = 2
    crop: int = 512
    dim: int = 12
    pixels: int = 0
    budget: int = 64 * 2**20
    optimizer: int = 1
    normalized: bool = True

    @property
    def side(self) -> int:
        """Side of the network's output, h = w."""
        return -(-self.crop // STRIDE)

    @property
    def output(self) -> int:
        """Pixels of the network's output in a batch: B h w."""
        return self.batch * self.side**2

    @property
    def scored(self) -> int:
        """Pixels that go through the loss."""
        return self.pixels or self.batch * self.crop**2


class Part(NamedTuple):
    """One thing that takes memory.

    Attributes:
        name: What it is.
        formula: Its size in letters.
        numbers: The same in numbers.
        bytes: Its size.
    """

    name: str
    formula: str
    numbers: str
    bytes: int


def dense_parts(classes: int, setting: Setting) -> list[Part]:
    """A dense head: C logits for every pixel.

    The loss holds three tensors of one size at once: the logits in full resolution, their
    log-probabilities, which the way back needs, and the gradient. What of the way back is not
    yet there while these three are is not counted again.

    Args:
        classes: C.
        setting: What is trained.
    """
    full = NUMBER * classes * setting.scored
    low = NUMBER * classes * setting.output
    crop, side = setting.crop, setting.side
    # Drawn pixels: the gradient of the low-resolution logits is as large as they are, and the
    # largest tensor of all. Otherwise it comes when the three large ones are gone.
    copies = 1 if setting.pixels == 0 else 2
    if setting.pixels == 0:
        words = "B · C · H · W · 4 bytes"
        numbers = f"{setting.batch} · {classes:,} · {crop:,} · {crop:,} · 4"
    else:
        words, numbers = "pixels · C · 4 bytes", f"{setting.pixels:,} · {classes:,} · 4"
    several = " · 2" if copies == 2 else ""
    return [
        Part("Logits", words, numbers, full),
        Part("Log-probabilities, kept for the way back", words, numbers, full),
        Part("Gradient of the logits", words, numbers, full),
        Part(
            "Logits in low resolution" + (", and their gradient" if copies == 2 else ""),
            "B · C · h · w · 4 bytes" + several,
            f"{setting.batch} · {classes:,} · {side:,} · {side:,} · 4" + several,
            copies * low,
        ),
    ]


def embedding_parts(classes: int, setting: Setting) -> list[Part]:
    """An embedding head: D numbers for every pixel and a table of the classes.

    Args:
        classes: C.
        setting: What is trained.
    """
    dim, side = setting.dim, setting.side
    copies = 2 + setting.optimizer + (2 if setting.normalized else 0)
    kept = f"1 + 1 gradient + {setting.optimizer} optimiser"
    kept += " + 2 unit length" if setting.normalized else ""
    # The loss works through the scored pixels in chunks: on a CPU never beyond its budget.
    needed = NUMBER * setting.scored * (classes + 2 * dim)
    return [
        Part(
            "Embeddings of the pixels, and their gradient",
            "B · D · h · w · 4 bytes · 2",
            f"{setting.batch} · {dim} · {side:,} · {side:,} · 4 · 2",
            2 * NUMBER * dim * setting.output,
        ),
        Part(
            "Working memory of the loss",
            "loss.budget_mb, or pixels · (C + 2 D) · 4 bytes if less",
            f"at most {setting.budget / 2**20:g} MiB",
            min(setting.budget, needed),
        ),
        Part(
            "Class table",
            f"C · D · 4 bytes · ({kept})",
            f"{classes:,} · {dim} · 4 · {copies}",
            copies * NUMBER * dim * classes,
        ),
    ]


def parts(head: str, classes: int, setting: Setting) -> list[Part]:
    """The parts of a head, "dense" or "embedding".

    Raises:
        ValueError: Another head.
    """
    if head not in HEADS:
        raise ValueError(f"no head {head!r}; choose one of {', '.join(HEADS)}")
    return HEADS[head](classes, setting)


def total(head: str, classes: int, setting: Setting) -> int:
    """Bytes above the network."""
    return sum(part.bytes for part in parts(head, classes, setting))


def class_counts(most: int = 1_000_000, *, extra: int | None = None) -> list[int]:
    """Class counts for a curve on a log scale, ten a decade, and one more."""
    counts = {round(10 ** (tenth / 10)) for tenth in range(10, 61)}
    return sorted({count for count in counts if count <= most} | ({extra} if extra else set()))


HEADS: Final = {DENSE: dense_parts, EMBEDDING: embedding_parts}
