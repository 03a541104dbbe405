"""``python -m helpers.precision --json FILE``: what a network in bf16 does to losses and gradients.

The losses compute in fp32 whatever the network's precision: what differs is that pixel embeddings
(for the dense loss: logits) were rounded to bf16's eight bits on the way. Two situations: classes
and pixels anywhere, as before training, and pixels close to their classes, as after it, where the
difference of nearly equal numbers magnifies what was rounded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from helpers import golden
from workbench import config
from workbench.distances import ClassEmbeddings
from workbench.losses import build_loss

CLASSES: Final = 1284
DIMS: Final = (12, 64)
PIXELS: Final = (2, 32, 32)
LOSSES: Final = (
    ("dense", "linear", 1.0),
    ("nearest", "euclidean", 20.0),
    ("published", "euclidean", 20.0),
    ("streaming", "euclidean", 20.0),
    ("streaming", "cosine", 20.0),
    ("streaming", "linear", 1.0),
)
SITUATIONS: Final = {"before training": 1.0, "after training": 0.0}
"""Name -> share of noise that is not scaled down; see `problem`."""

STEPS: Final = 200
CURVES: Final = (
    "dense",
    "nearest",
    "published",
    "streaming",
    "streaming, cosine",
    "streaming, linear",
)


def problem(dim: int, situation: str) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels (B, D, H, W) of length 3 or so, the classes' table (C, D) and the mask."""
    generator = torch.Generator().manual_seed(dim)
    table = torch.randn(CLASSES, dim, generator=generator) * dim**-0.5
    batch, height, width = PIXELS
    mask = torch.randint(0, CLASSES, PIXELS, generator=generator)
    noise = torch.randn(batch, dim, height, width, generator=generator) * dim**-0.5
    own = table[mask].permute(0, 3, 1, 2)
    pixels = 3.0 * (noise if SITUATIONS[situation] else own + 0.7 * noise)
    mask[:, ::7] = -100
    return pixels, table, mask


def gradients(
    name: str, distance: str, temperature: float, case: tuple[Tensor, Tensor, Tensor], bf16: bool
) -> tuple[float, Tensor, Tensor]:
    """Mean loss, and its gradients by the network's output and by the table."""
    pixels, table, mask = case
    weight = table.clone().requires_grad_()
    settings = config.Loss(name=name, separation_weight=0.0)
    loss = build_loss(settings, distance)
    if loss.uses_class_table:
        output = (pixels.bfloat16() if bf16 else pixels.clone()).requires_grad_()
        classes = ClassEmbeddings(weight, None, torch.tensor(temperature))
    else:  # the last layer is the table
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = torch.nn.functional.conv2d(pixels, weight[:, :, None, None])
        classes = None
        output.retain_grad()
    mean = loss(output.float(), classes, mask).mean()
    mean.backward()
    assert output.grad is not None and weight.grad is not None
    return float(mean.detach()), output.grad.float(), weight.grad


def differences(found: Tensor, right: Tensor) -> dict[str, float]:
    """Mean and largest absolute difference, relative to mean and largest absolute value."""
    apart = (found - right).abs().double()
    size = right.abs().double()
    return {"mean": float(apart.mean() / size.mean()), "max": float(apart.max() / size.max())}


def loss_rows() -> list[dict[str, Any]]:
    """One row per loss, dimension and situation."""
    rows = []
    for name, distance, temperature in LOSSES:
        for dim in DIMS:
            for situation in SITUATIONS:
                case = problem(dim, situation)
                right = gradients(name, distance, temperature, case, bf16=False)
                found = gradients(name, distance, temperature, case, bf16=True)
                rows.append(
                    {
                        "kind": "loss",
                        "loss": name,
                        "distance": distance if name != "dense" else "",
                        "classes": CLASSES,
                        "dim": dim,
                        "situation": situation,
                        "value": right[0],
                        "loss_difference": abs(found[0] - right[0]) / right[0],
                        "by_pixels": differences(found[1], right[1]),
                        "by_classes": differences(found[2], right[2]),
                    }
                )
    return rows


def curve_rows(steps: int) -> list[dict[str, Any]]:
    """One row per loss: the same training in both precisions."""
    rows = []
    for case in CURVES:
        right, found = (
            torch.tensor(golden.curves(case, steps=steps, precision=precision)["loss"]).double()
            for precision in ("fp32", "bf16")
        )
        apart, last = (found - right).abs() / right, max(1, steps // 10)
        rows.append(
            {
                "kind": "curve",
                "case": case,
                "classes": golden.CLASSES,
                "steps": steps,
                "mean": float(apart.mean()),
                "max": float(apart.max()),
                "last": last,
                "end_fp32": float(right[-last:].mean()),
                "end_bf16": float(found[-last:].mean()),
            }
        )
    return rows


def main() -> int:
    """Measures and writes the rows."""
    parser = argparse.ArgumentParser(prog="helpers.precision", description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each curve")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)

    from workbench.benchmarks.machine import describe_machine
    from workbench.runs import write_json

    machine = describe_machine()
    rows = [*loss_rows(), *curve_rows(options.steps)]
    write_json(options.json, [{**row, "machine": machine} for row in rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
