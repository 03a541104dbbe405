"""The section about ``workbench prepare`` on the page about performance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from workbench.benchmarks.report_text import IDLE, host, mib
from workbench.benchmarks.rows import Row
from workbench.errors import DataError

_SECTION = """\
## Making masks from annotations

`workbench prepare lvis-coco` as `workbench bench prepare` measures it, on {data}. The command \
is killed (SIGKILL) when half of the masks are there, and called again.

Machine: {place}; {workers} processes make masks.

{table}

"Per core" divides by the CPU time of all processes: what a core makes that does nothing else. \
"Cores at work" is how many it had on average{busy}. Memory is resident memory; of all \
processes, it is the sum, in which shared libraries count once for each. A mask that is there \
is read, checked and counted, not made again.

{facts}
To repeat it on your machine:

```sh
workbench bench prepare --images {images}{stuff} --json benchmarks/prepare.json
```
"""


def render_prepare(rows: Sequence[Row]) -> str:
    """The section as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.prepare.run_prepare`.

    Raises:
        DataError: A row is missing.
    """
    by = {row["what"]: row for row in rows}
    missing = {"load", "until the kill", "resumed", "reference"} - by.keys()
    if missing:
        raise DataError(f"no row about {min(missing)!r}: run workbench bench prepare --json FILE")
    killed = by["until the kill"]
    data, machine = killed["data"], killed["machine"]
    return _SECTION.format(
        data=_data(data),
        place=host(machine),
        workers=killed["workers"],
        table=render_table(killed, by["resumed"]),
        busy=_busy(machine["load"]),
        facts="".join(f"- {fact}\n" for fact in facts(by)),
        images=data["images"],
        stuff=" --stuff" if data["stuff_annotations"] else "",
    )


def _data(data: Mapping[str, int]) -> str:
    stuff = data["stuff_annotations"]
    return (
        f"generated files in the official layout: {data['images']:,} images of {data['width']} x "
        f"{data['height']} pixels, {data['annotations']:,} LVIS annotations"
        + (f", {stuff:,} stuff annotations" if stuff else "")
        + f", {data['json_bytes'] / 1e9:.2f} GB of json"
    )


def _busy(load: float) -> str:
    return (
        f"; other work went on beside it (load {load} before the first line)" if load > IDLE else ""
    )


def render_table(killed: Row, resumed: Row) -> str:
    """What the call that was killed and the one after it took, side by side.

    Args:
        killed: A row of :func:`~workbench.benchmarks.prepare.run_command`.
        resumed: Another; rates may be None.
    """
    cells: dict[str, Callable[[Row], str]] = {
        "masks made": lambda row: f"{row['new_masks']:,}",
        "masks that were there already": lambda row: f"{row['reused_masks'] or 0:,}",
        "seconds in all": lambda row: _number(row["seconds"], 0),
        "seconds to the first new mask": lambda row: _number(row["seconds_to_first"], 0),
        "images/s from then on": lambda row: _number(row["images_per_second"], 0),
        "images/s per core": lambda row: _number(row["images_per_cpu_second"], 0),
        "cores at work": lambda row: _number(_cores(row), 1),
        "peak memory of the main process, MiB": lambda row: mib(row["main_peak_bytes"]),
        "peak memory of all processes, MiB": lambda row: mib(row["peak_bytes"]),
    }
    lines = [f"| {name} | {cell(killed)} | {cell(resumed)} |" for name, cell in cells.items()]
    return "\n".join(("| | until the kill | resumed |", "|---|---:|---:|", *lines))


def facts(by: Mapping[str, Row]) -> list[str]:
    """What else the rows say, in a sentence each.

    Args:
        by: "what" -> row.
    """
    load, reference, killed = by["load"], by["reference"], by["until the kill"]
    same = "the same pixels" if reference["same_pixels"] else "other pixels (a defect)"
    found = [
        f"reading the LVIS json ({load['json_bytes'] / 1e9:.2f} GB) takes "
        f"{load['cpu_seconds']:.0f} s of one core and {mib(load['peak_bytes'])} MiB at most",
        f"against the reference's way (a full-size mask and full-size arithmetic for each "
        f"annotation; {reference['images']} of the same images, one core, {same}): "
        f"**{reference['times_reference']:.1f}** times the images/s, files included "
        f"({reference['images_per_cpu_second']:.0f} against "
        f"{reference['reference_images_per_cpu_second']:.0f}); "
        f"**{reference['paint_times_reference']:.1f}** times without writing the files",
    ]
    if killed["main_cpu_per_image"]:
        cores = 1 / (killed["main_cpu_per_image"] * killed["images_per_cpu_second"])
        found.append(
            f"the process that hands out the work spends "
            f"{1000 * killed['main_cpu_per_image']:.2f} ms on an image: it could keep "
            f"{cores:.0f} cores busy"
        )
    return found


def _cores(row: Row) -> float | None:
    rate, per_core = row["images_per_second"], row["images_per_cpu_second"]
    return rate / per_core if rate and per_core else None


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:,.{places}f}"
