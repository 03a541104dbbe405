"""The page about models, its table made from the committed rows: no number is typed in.

``python -m workbench.benchmarks.report_models benchmarks/models.json docs/models.md``, or
``make performance``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from workbench.benchmarks.models import CLASSES, CROP, DIM
from workbench.benchmarks.report_text import busy, mib, place, seconds
from workbench.benchmarks.rows import Row, read_rows
from workbench.errors import DataError
from workbench.runs import write_text

_PAGE = """\
# Architectures and backbones

<!-- Made by `make performance` from `benchmarks/models.json`; edit \
workbench/benchmarks/report_models.py. -->

A model here is any network that gives D numbers to each pixel, and a table of C class embeddings. \
`--model.network` names the network, `--model.backbone` what it is built over; `workbench models` \
lists both.

- `deeplabv3plus`, over any timm model with features at stride 4 and at `--model.output_stride`; \
plain vision transformers (DINOv2, DeiT, ...) get what they lack from two convolutions.
- `small`, a plain conv net that is quick on a CPU, without a backbone.
- `smp-unet`, `smp-upernet`, `smp-segformer`, `smp-dpt` and all other architectures of \
[segmentation-models-pytorch](https://github.com/qubvel-org/segmentation_models.pytorch): \
`pip install 'segmentation-workbench[smp]'`. The backbone is one of its own encoders (`resnet50`, \
`mit_b0`, `efficientnet-b0`, ...) or a timm model, with or without its prefix `tu-`.

Images may have any size: where a network wants multiples of something, they are padded inside it \
and the output is cut, and resampled, to cover the image exactly. The heads of \
segmentation-models-pytorch would upsample their output to the size of the image; here they do \
not, losses and predictions do it in strips.

## What a training step costs at {classes} classes

{pairs} pairs of an architecture and a backbone, one training step each, every line in a fresh \
process: {batch_size} images of {crop} x {crop} pixels, D = {dim}, the exact (streaming) loss over \
all {pixels} pixels, {dtype}, weights random; times are {steps}{threads}.

Machine: {place}.

{table}

"Embeddings at" says how many pixels of the image, along each side, share one embedding before \
upsampling. "CPU" is the time processors worked on a step, which other work hardly lengthens: \
compare lines by it where the machine was busy. "Parameters" are the network's; the table of \
classes has {table_parameters} more. "Peak" is the largest memory of the whole process{of}; \
{fewest} to {most} MiB of it are reached before the first step, with the network built. Loss and \
gradients of each line agree with float64 on a corner of the network's output.
{busy}
```sh
{command} --json benchmarks/models.json
```

## Weights to start from

Without more, weights are random. `--model.pretrained true` downloads a backbone's published ones, \
once; `--model.weights FILE` takes a local file (safetensors or a state dict), of a backbone or of \
another run; `--model.weights offline` those of the extra `offline-backbone`, for \
`tf_efficientnet_lite0`, which need no network at all. Without network and file, one line names \
these three. DPT's decoder doubles and halves its features, which patches of 14 pixels do not \
allow: it takes such transformers (DINOv2) with patches of 16. Weights for patches of another \
size, or for pictures of another size, are resampled as timm does, those of a file too.

## Your own network

Any `nn.Module` from images (B, 3, H, W), normalised, to (B, D, h, w) will do:

```python
{own}
```

From here on a configuration may name it: `config.Model(network="tiny")`, or `network: tiny` in a \
YAML file. `settings` is the model section of the configuration, `out_channels` is D (the number \
of classes for the dense baseline). A child named `backbone` learns at `train.backbone_lr_factor` \
times the rate, and takes `--model.weights`. Names last as long as the process, and a \
configuration never names code to import. For commands and the app, put these lines into a file \
and name it in the environment:

```sh
export WORKBENCH_PLUGINS=my_networks.py
workbench train --model.network tiny --preset smoke --data.root data/small --run runs/tiny
```

[architecture.md](architecture.md#something-of-your-own) adds a backbone, a dataset, a loss and a \
page of the app in the same way. Without any name, a module becomes a model by itself:

```python
{directly}
```
"""

OWN = """\
from torch import nn
from workbench.models import register_network


def tiny(settings, out_channels):
    return nn.Sequential(nn.Conv2d(3, 32, 9, 4, 4), nn.ReLU(), nn.Conv2d(32, out_channels, 1))


register_network("tiny", tiny)"""

DIRECTLY = """\
from workbench import config
from workbench.models import ClassTable, SegmentationModel

table = ClassTable(1284, 64, distance="cosine", temperature=20.0, learn_temperature=False)
model = SegmentationModel(
    tiny(config.Model(), 64),
    table,
    distance="cosine",
    mean=config.IMAGENET_MEAN,
    std=config.IMAGENET_STD,
)"""


def render_models(rows: Sequence[Row]) -> str:
    """The page as Markdown.

    Args:
        rows: Of one call of :func:`~workbench.benchmarks.models.run_models`.

    Raises:
        DataError: A row has no figures, or a wrong loss: the page is of what ran.
    """
    for row in rows:
        if row["peak_bytes"] is None or row["note"]:
            raise DataError(f"{_name(row)} did not run: {row['note']}; measure again")
    first = rows[0]
    if len({(row["classes"], row["crop"], row["dim"], row["batch_size"]) for row in rows}) > 1:
        raise DataError("the rows are of several settings; measure all pairs in one call")
    times = "of one step" if first["steps"] == 1 else f"medians of {first['steps']} steps"
    cuda = first["device"] == "cuda"
    threads = f", on {first['threads']} of the cores"
    return _PAGE.format(
        classes=f"{first['classes']:,}",
        pairs=len(rows),
        batch_size=first["batch_size"],
        crop=first["crop"],
        dim=first["dim"],
        pixels=f"{first['pixels']:,}",
        dtype=first["dtype"],
        steps=f"{times} after one more",
        threads="" if cuda else threads,
        place=place(first),
        table=_table(rows),
        table_parameters=f"{first['classes'] * first['dim']:,}",
        of=" that torch allocated on the GPU" if cuda else "",
        fewest=mib(min(row["start_bytes"] for row in rows)),
        most=mib(max(row["start_bytes"] for row in rows)),
        busy=busy(rows),
        command=_command(first),
        own=OWN,
        directly=DIRECTLY,
    )


def _command(row: Row) -> str:
    """What to type to measure again; defaults are left out."""
    usual = {"classes": CLASSES, "dim": DIM, "crop": CROP, "batch_size": 2, "steps": 1, "rounds": 1}
    flags = [
        f" --{name.replace('_', '-')} {row[name]}"
        for name, value in usual.items()
        if row[name] != value
    ]
    return "workbench bench models" + "".join(flags)


def _name(row: Row) -> str:
    return f"{row['network']} over {row['backbone']}" if row["backbone"] else str(row["network"])


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| architecture | backbone | parameters, M | embeddings at | s per step | CPU s per step "
        "| peak, MiB |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        backbone = f"`{row['backbone']}`" if row["backbone"] else ""
        lines.append(
            f"| `{row['network']}` | {backbone} | {row['parameters'] / 1e6:.1f} "
            f"| 1/{row['cell']:g} | {seconds(row['seconds'])} | {seconds(row['cpu_seconds'])} "
            f"| {mib(row['peak_bytes'])} |"
        )
    return "\n".join(lines)


def main(source: Path, target: Path) -> None:
    """Writes the page.

    Raises:
        DataError: The file of rows is missing or holds something else, or a row did not run.
    """
    write_text(target, render_models(read_rows(source)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
