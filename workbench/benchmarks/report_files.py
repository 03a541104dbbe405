"""The section about predicting files on the page about performance."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.report_text import MIB, busy, mib, pick, place, seconds, significant
from workbench.benchmarks.rows import Row

_FILES = """\
## Predicting files, pictures a second

From JPEG files to 16-bit masks, {classes:,} classes, DeepLabV3+ over {backbone} with random \
weights, as `workbench bench predict-files` measures it. `embedding` and `dense` are \
`workbench predict` with both kinds of model; `torch` is a plain loop over pictures with the \
dense model: all logits at full size, then the largest. Memory is what is taken beyond the \
loaded model.

Machine: {place}.
{busy}
| side, pixels | method | pictures/s | speed / `torch` | cores' seconds a picture | peak, MiB |
|---:|---|---:|---:|---:|---:|
{table}

```sh
workbench bench predict-files --sizes {sizes} --json benchmarks/predict_files.json
```
"""


def render_files(rows: Sequence[Row]) -> str:
    """The section about ``benchmarks/predict_files.json`` as Markdown."""
    first = rows[0]
    table = []
    for row in rows:
        head = f"| {row['size']:,} | {row['method']} |"
        if row["peak_bytes"] is None:
            table.append(f"{head} {row['note']} | | | |")
            continue
        plain = pick(rows, size=row["size"], method="torch")
        times = significant(plain["seconds"] / row["seconds"]) if plain else ""
        note = f" ({row['note']})" if row["note"] else ""
        table.append(
            f"{head} {row['images_per_second']:.3g}{note} | {times} "
            f"| {seconds(row['cpu_seconds'])} | {mib(row['peak_bytes'])} |"
        )
    return _FILES.format(
        classes=first["classes"],
        backbone=first["backbone"],
        place=place(first),
        busy=busy(rows),
        table="\n".join(table),
        sizes=",".join(str(size) for size in sorted({row["size"] for row in rows})),
    )


_LARGE = """\
### Large pictures

One picture of {largest:.0f} megapixels is cut into tiles, whose embeddings are blended and given \
out as rows of tiles are done: features of the whole picture, {features:,.0f} MiB, are never \
there. The last column is memory beyond the picture and its mask; it still grows a \
little, as the mask's file is put together in memory.

Machine: {place}.
{busy}
| side, pixels | megapixels | cores' seconds | peak, MiB | picture and mask | beyond them |
|---:|---:|---:|---:|---:|---:|
{table}

```sh
workbench bench predict-files --sizes {sizes} --methods embedding --pictures 1 {json}
```
"""
_PICTURE_AND_MASK = 3 + 2  # bytes of a pixel


def render_large(rows: Sequence[Row]) -> str:
    """The section about ``benchmarks/predict_large.json`` as Markdown."""
    table = []
    for row in rows:
        own = _PICTURE_AND_MASK * row["size"] ** 2
        table.append(
            f"| {row['size']:,} | {row['size'] ** 2 / 1e6:.1f} | {seconds(row['cpu_seconds'])} "
            f"| {mib(row['peak_bytes'])} | {mib(own)} | {mib(row['peak_bytes'] - own)} |"
        )
    return _LARGE.format(
        largest=max(row["size"] for row in rows) ** 2 / 1e6,
        features=max(row["size"] for row in rows) ** 2 / 16 * 4 * rows[0]["dim"] / MIB,
        place=place(rows[0]),
        busy=busy(rows),
        table="\n".join(table),
        sizes=",".join(str(row["size"]) for row in rows),
        json="--json benchmarks/predict_large.json",
    )
