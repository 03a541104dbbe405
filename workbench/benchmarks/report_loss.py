"""The sections about the loss alone and about prediction on the page about performance."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.report_text import busy, counts, mib, place, remarks, seconds
from workbench.benchmarks.rows import Row
from workbench.benchmarks.truth import TOLERANCES

_LOSS = """\
## The loss alone: {title}

Loss and gradients from {pixels} random pixel embeddings of {dim} numbers ({dtype}) and a random \
class table, as `workbench bench loss` measures them, {isolation}. Beside ours: \
`dense`, all logits and `cross_entropy`; `torch`, its `linear_cross_entropy` in chunks; \
`cut-cross-entropy` ({form}; without the bias, which it does not know); `liger`, the fused kernels \
for GPUs; `reference`, the paper's loss as its authors' code states it, with the neighbours' \
embeddings gathered. `nearest` and `reference` take the {k} nearest classes.
{picture}
Machine: {place}.

{table}

"Peak" is what is taken beyond the pixels, the table and warmed-up libraries, gradients included. \
Times are medians of up to {repetitions} calls{rounds}. Errors are those against float64: of the \
loss, relative to it, and the largest of a gradient, relative to its largest element, on \
{checked} pixels. {loss_tolerance:.0e} and {grad_tolerance:.0e} are tolerated; a line beyond them \
is called wrong, and the command fails. {index}\

{busy}
```sh
workbench bench loss --classes {classes}{options} --json benchmarks/{name}.json
```
"""

_PICTURE = "\n![Memory and time of the loss against the number of classes]({picture})\n"

_ONE_PROCESS = "all in one process, where torch counts the GPU's memory exactly"

_INDEX = """\
`nearest-index` looks for the nearest classes in an approximate index, built beforehand: its \
memory is part of the peak, its time to build is not part of the time. Its errors are those of \
the softmax over the neighbours it found; "recall" says how many of the {k} it finds."""

_PREDICT = """\
## Predicting an image

From the decoder's {channels} channels at a quarter of the resolution to a class id for each of \
{pixels} pixels, as `workbench bench predict` measures it. `embedding` projects them to {dim} \
numbers, upsamples those and looks for the nearest class embedding; `dense` projects them to C \
logits, upsamples these and takes the largest.

![Memory and time of prediction against the number of classes]({picture})

Machine: {place}.

| method | classes | peak, MiB | s | CPU s |
|---|---:|---:|---:|---:|
{table}

"Peak" is what is taken beyond features and weights. Times are medians of up to {repetitions} \
calls{rounds}. The classes chosen are \
compared with float64, near ties aside.
{busy}
```sh
workbench bench predict --classes {classes} --json benchmarks/predict.json
```
"""


def render_loss(rows: Sequence[Row], picture: str) -> str:
    """The section about ``benchmarks/loss.json`` as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.loss.run_loss`.
        picture: Address of the picture of these rows.
    """
    return _render_loss(rows, picture, "loss")


def render_loss_million(rows: Sequence[Row], picture: str) -> str:
    """The same about ``benchmarks/loss_million.json``, with fewer pixels and more classes."""
    return _render_loss(rows, picture, "loss_million")


def render_loss_wide(rows: Sequence[Row], _: str) -> str:
    """The same about ``benchmarks/loss_wide.json``, with embeddings of more numbers."""
    return _render_loss(rows, "", "loss_wide")


def render_loss_bf16(rows: Sequence[Row], _: str) -> str:
    """The same about ``benchmarks/loss_bf16.json``, with inputs of 16 bits."""
    return _render_loss(rows, "", "loss_bf16")


def render_loss_gpu(rows: Sequence[Row], _: str) -> str:
    """The same about ``benchmarks/loss_gpu.json``, on CUDA."""
    return _render_loss(rows, "", "loss_gpu")


def _title(first: Row, classes: Sequence[int]) -> str:
    span = " to ".join(f"{count:,}" for count in dict.fromkeys((classes[0], classes[-1])))
    parts = [f"{first['pixels']:,} pixels", f"{span} classes", f"D = {first['dim']}"]
    place = ["on a GPU"] if first["device"] == "cuda" else []
    return ", ".join([*parts, *([first["dtype"]] if first["dtype"] != "fp32" else []), *place])


def _render_loss(rows: Sequence[Row], picture: str, name: str) -> str:
    first = rows[0]
    measured = [row for row in rows if row["peak_bytes"] is not None]
    classes = sorted({row["classes"] for row in rows})
    checked = sorted({row["checked"] for row in measured}) or [0]
    neighbours = [row["k"] for row in rows if row["k"] is not None]
    indexed = any(row["method"] == "nearest-index" for row in rows)
    loss_tolerance, grad_tolerance = TOLERANCES[first["dtype"]]
    return _LOSS.format(
        pixels=f"{first['pixels']:,}",
        title=_title(first, classes),
        dim=first["dim"],
        dtype=first["dtype"],
        isolation="every line in a fresh process" if first["device"] == "cpu" else _ONE_PROCESS,
        form="in Triton" if first["device"] == "cuda" else "its form for `torch.compile`",
        k=max(neighbours, default=0),
        picture=_PICTURE.format(picture=picture) if picture else "",
        place=place(first),
        table=_loss_table(rows),
        repetitions=max((row["repetitions"] for row in measured), default=0),
        rounds=_rounds(first),
        checked=f"{checked[0]:,} to {checked[-1]:,}",
        loss_tolerance=loss_tolerance,
        grad_tolerance=grad_tolerance,
        index=_INDEX.format(k=max(neighbours, default=0)) if indexed else "",
        busy=busy(rows),
        classes=counts(rows),
        options=_options(rows),
        name=name,
    )


def _options(rows: Sequence[Row]) -> str:
    """The options that were not the defaults."""
    options = ""
    for column, default in (("pixels", 65_536), ("dim", 12), ("dtype", "fp32"), ("rounds", 1)):
        if rows[0][column] != default:
            options += f" --{column} {rows[0][column]}"
    if rows[0]["device"] == "cuda":
        options += " --device cuda --same-process"
    for flag, column in (("methods", "method"), ("distances", "distance")):
        values = dict.fromkeys(row[column] for row in rows)
        options += f" \\\n  --{flag} {','.join(values)}"
    return options


def _rounds(row: Row) -> str:
    return f", and of {row['rounds']} processes that took turns" if row["rounds"] > 1 else ""


def _loss_table(rows: Sequence[Row]) -> str:
    recall = any("recall" in row for row in rows)
    lines = [
        "| classes | logits | method | peak, MiB | s | CPU s | error of the loss "
        f"| error of a gradient |{' recall |' if recall else ''}",
        f"|---:|---|---|---:|---:|---:|---:|---:|{'---:|' if recall else ''}",
    ]
    absent = {row["method"]: row["note"] for row in rows if _never(row, rows)}
    for row in rows:
        if row["method"] in absent:
            continue
        name = f"| {row['classes']:,} | {row['distance']} | {row['method']} |"
        end = f" {row['recall']:.3f} |" if "recall" in row else " |" if recall else ""
        if row["peak_bytes"] is None:
            lines.append(f"{name} {row['note']} | | | | |{end}")
            continue
        lines.append(
            f"{name} {mib(row['peak_bytes'])} | {seconds(row['seconds'])} "
            f"| {seconds(row['cpu_seconds'])} | {row['loss_error']:.0e} | {row['grad_error']:.0e} "
            f"|{end}"
        )
    lines += remarks(rows)
    if absent:
        lines += ["", *(f"- `{method}`: {note}" for method, note in absent.items())]
    return "\n".join(lines)


def _never(row: Row, rows: Sequence[Row]) -> bool:
    """Whether a method could not run at all here: said once, not in every line."""
    return not any(
        other["method"] == row["method"] and other["peak_bytes"] is not None for other in rows
    ) and str(row["note"]).startswith("not run")


def render_predict(rows: Sequence[Row], picture: str) -> str:
    """The section about ``benchmarks/predict.json`` as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.predict.run_predict`.
        picture: Address of the picture of these rows.
    """
    first = rows[0]
    lines = []
    for row in rows:
        name = f"| {row['method']} | {row['classes']:,} |"
        figures = f"{mib(row['peak_bytes'])} | {seconds(row['seconds'])} "
        figures += f"| {seconds(row['cpu_seconds'])} |"
        lines.append(
            f"{name} {row['note']} | | |" if row["seconds"] is None else f"{name} {figures}"
        )
    return _PREDICT.format(
        channels=first["channels"],
        pixels=f"{first['pixels']:,}",
        dim=max((row["dim"] for row in rows if row["dim"] is not None), default=0),
        picture=picture,
        place=place(first),
        table="\n".join([*lines, *remarks(rows)]),
        repetitions=max((row.get("repetitions", 0) for row in rows), default=0),
        rounds=_rounds(first),
        busy=busy(rows),
        classes=counts(rows) + (f" --rounds {first['rounds']}" if first["rounds"] > 1 else ""),
    )
