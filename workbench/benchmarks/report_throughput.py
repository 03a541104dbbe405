"""The sections about whole trainings and about GPU kernels on the page about performance."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.report_text import counts, mib, place
from workbench.benchmarks.rows import Row

_THROUGHPUT = """\
## Whole trainings, images a second

DeepLabV3+ over {backbone} at {crop} x {crop} pixels, {batch} pictures a step, {precision}, as \
`workbench bench throughput` measures it: reading by {workers} processes, augmenting, network, \
loss over all pixels and optimiser. `plain` is the loop users of segmentation-models-pytorch \
write, with its DeepLabV3+ and a dense softmax, on the same pictures with the same loading \
processes; the others are ours. The two networks differ: its convolutions after the backbone are \
separable.

Machine: {place}.

| method | classes | images/s | share of time waiting for pictures | peak, MiB |
|---|---:|---:|---:|---:|
{table}

{verdict}
```sh
workbench bench throughput --classes {classes} --device cuda --same-process \\
  --json benchmarks/throughput_gpu.json
```
"""

_ROOFLINE = """\
## The kernels of the exact loss against what the GPU could do

Loss and gradients of {pixels:,} pixels and {classes:,} classes, against the time that the \
slowest resource of a Hopper GPU alone asks for (special functions, matrix products or memory). \
The aim is 1.5.

Machine: {place}.

| logits | D | ms | times the least |
|---|---:|---:|---:|
{table}

```sh
pytest -m slow -o junit_family=xunit1 --junit-xml FILE tests/kernels/test_gpu_cuda.py
```
"""


def render_throughput(rows: Sequence[Row], _: str) -> str:
    """The section about ``benchmarks/throughput_gpu.json`` as Markdown."""
    first = rows[0]
    table = [
        f"| {row['method']} | {row['classes']:,} | {row['note']} | | |"
        if row["peak_bytes"] is None
        else f"| {row['method']} | {row['classes']:,} | {row['images_per_second']:,.0f} "
        f"| {row['loading_share']:.1%} | {mib(row['peak_bytes'])} |"
        for row in rows
    ]
    return _THROUGHPUT.format(
        backbone=first["backbone"],
        crop=first["crop"],
        batch=first["batch_size"],
        precision=first["precision"],
        workers=first["workers"],
        place=place(first),
        table="\n".join(table),
        verdict=_verdict(rows),
        classes=counts(rows),
    )


def _verdict(rows: Sequence[Row]) -> str:
    """Where ours is slower than the plain loop, said; nothing where it was not measured."""
    speed = {(row["method"], row["classes"]): row["images_per_second"] for row in rows}
    lines = []
    for (method, classes), images in speed.items():
        plain = speed.get(("plain", classes))
        if method == "plain" or not plain or not images:
            continue
        word = "faster" if images > plain else "slower: the aim is missed"
        lines.append(f"`{method}` / `plain` at {classes:,} classes: {images / plain:.2f}, {word}.")
    return "".join(f"- {line}\n" for line in lines)


def render_roofline(rows: Sequence[Row], _: str) -> str:
    """The section about ``benchmarks/roofline_gpu.json`` as Markdown."""
    table = [
        f"| {row['distance']} | {row['dim']} | {1e3 * row['seconds']:.1f} "
        f"| {row['roofline_ratio']:.1f} |"
        for row in rows
    ]
    first = rows[0]
    return _ROOFLINE.format(
        pixels=first["pixels"], classes=first["classes"], place=place(first), table="\n".join(table)
    )
