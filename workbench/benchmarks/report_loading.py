"""The section about loading images on the page about performance."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.report_text import IDLE
from workbench.benchmarks.rows import Row
from workbench.errors import DataError

_SECTION = """\
## Loading images

What one loading process delivers, as `workbench bench loading` measures it: image and mask are \
read, scaled by 0.5 to 2, cut to {crop} x {crop} with padding, mirrored, and jittered in \
brightness, contrast and saturation, at a strength of 0 or more. Beside ours, the same from \
torchvision's building blocks: images of Pillow until the end, turned into tensors first, or read \
by torchvision's own decoders too. These do not check the ids in a mask.

{data}
Machine: {place}, torch {torch}; one thread.

| images | jitter | pipeline | images/s | images/s per core | CPU time over ours |
|---|---:|---|---:|---:|---:|
{table}

All pipelines take turns in one process, on the same files with the same scales; figures are \
medians of {repetitions} passes. "Per core" divides by CPU time instead of the clock's{busy}. The \
last column compares the CPU times of one pass, with the smallest and the largest ratio.

To repeat it on your machine:

```sh
workbench bench loading{options} --json benchmarks/loading.json
```
"""


def render_loading(rows: Sequence[Row]) -> str:
    """The section as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.loading.run_loading`.

    Raises:
        DataError: There are no rows.
    """
    if not rows:
        raise DataError("no rows to report: run workbench bench loading --json FILE")
    first, machine = rows[0], rows[0]["machine"]
    sources = {row["data"]: row for row in rows}
    other = [name for name in sources if name != first["data"]]
    return _SECTION.format(
        crop=first["crop"],
        data="".join(f"- {_data(row)}\n" for row in sources.values()),
        place=f"{machine['cpu']}, {machine['cpu_count']} cores",
        torch=machine["torch"],
        table="\n".join(_line(row) for row in rows),
        repetitions=first["repetitions"],
        busy=_busy(machine["load"]),
        options="".join(f" --root ROOT --dataset {name}" for name in other),
    )


def _data(row: Row) -> str:
    return (
        f"{row['data']}: {row['images']} images of {row['mean_pixels'] / 1000:,.0f} thousand "
        f"pixels and {row['mean_bytes'] / 1000:,.0f} kB on average"
    )


def _busy(load: float) -> str:
    return (
        f"; other work went on beside it (load {load} before the first line), which slows all "
        "pipelines down"
        if load > IDLE
        else ""
    )


def _line(row: Row) -> str:
    ratio = f"{row['cpu_ratio']:.2f} ({row['cpu_ratio_low']:.2f} to {row['cpu_ratio_high']:.2f})"
    return (
        f"| {row['data']} | {row['color_jitter']:g} | {row['pipeline']} "
        f"| {row['images_per_second']:.0f} | {row['images_per_cpu_second']:.0f} "
        f"| {'' if row['pipeline'] == 'workbench' else ratio} |"
    )
