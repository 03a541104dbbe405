"""``workbench bench``: measure what training and preparing cost."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from workbench.command import Commands, Outcome, command

Row = dict[str, Any]


def add_bench(commands: Commands) -> None:
    """Adds ``bench`` with its actions."""
    text = "measure what training and preparing cost, each number in a fresh process"
    parser = commands.add_parser("bench", help=text, description=text, allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", required=True, metavar="WHAT")
    _add_step(actions, "memory", "peak memory (and time) of a training step", steps=3)
    _add_step(actions, "step", "time (and peak memory) of a training step", steps=5)
    _add_models(actions)
    _add_loss(actions)
    _add_predict(actions)
    _add_export(actions)
    _add_predict_files(actions)
    _add_prepare(actions)
    _add_loading(actions)
    _add_app(actions)
    _add_throughput(actions)


def _action(
    actions: Commands,
    name: str,
    handler: Callable[[argparse.Namespace], Outcome],
    text: str,
    *,
    takes_settings: bool = False,
) -> argparse.ArgumentParser:
    """An action whose result is a list of rows, written to a file or printed."""
    parser = command(actions, name, handler, text, takes_settings=takes_settings, json_flag=False)
    parser.add_argument(
        "--json",
        dest="json_file",
        metavar="FILE",
        type=Path,
        nargs="?",
        const=Path("-"),
        help="write the rows to FILE, or print them as JSON",
    )
    parser.set_defaults(json=False)  # the rows are a list, which main's --json does not print
    return parser


def _outcome(
    rows: Sequence[Row], options: argparse.Namespace, name: str, shown: Sequence[str]
) -> Outcome:
    """Writes the rows where ``--json`` says; else shows some columns of each.

    A wrong row makes the command fail.

    Args:
        rows: The result.
        options: With ``json_file``.
        name: What a row is called, a format string over its columns.
        shown: The columns for people.
    """
    from workbench.benchmarks.harness import WRONG
    from workbench.runs import to_json, write_json

    code = int(any(str(row.get("note", "")).startswith(WRONG) for row in rows))
    if options.json_file == Path("-"):
        return Outcome({}, text=to_json(rows, indent=2), exit_code=code)
    if options.json_file is not None:
        write_json(options.json_file, rows)
    table = {
        name.format(**row): {key: row[key] for key in shown if row.get(key) not in (None, "")}
        for row in rows
    }
    return Outcome(table, exit_code=code)


def _add_costs(
    parser: argparse.ArgumentParser, classes: str, methods: str, *, plot: bool = True
) -> None:
    """What all measurements against the number of classes take."""
    parser.add_argument("--classes", default=classes, help="class counts, comma separated")
    parser.add_argument("--methods", default=methods, help="comma separated")
    parser.add_argument(
        "--rounds", type=int, default=1, help="times all rows are measured, taking turns"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument(
        "--same-process",
        action="store_true",
        help="all rows in this process, quicker, on CUDA alone: there torch counts memory exactly",
    )
    if plot:
        parser.add_argument(
            "--plot",
            metavar="FILE",
            type=Path,
            help="draw memory and time against classes, as a PNG",
        )


def _measuring(options: argparse.Namespace) -> dict[str, Any]:
    """What :func:`_add_costs` asked for, but for the numbers of classes and the methods."""
    return {
        "rounds": options.rounds,
        "device": options.device,
        "isolated": not options.same_process,
    }


def _costs(
    rows: Sequence[Row], options: argparse.Namespace, name: str, shown: Sequence[str]
) -> Outcome:
    """As :func:`_outcome`, with the picture."""
    if options.plot is not None:
        from workbench.benchmarks.plot import draw_costs
        from workbench.runs import write_bytes

        write_bytes(options.plot, draw_costs(rows))
    return _outcome(rows, options, name, shown)


def _add_step(actions: Commands, name: str, text: str, *, steps: int) -> None:
    parser = _action(actions, name, _step, text, takes_settings=True)
    parser.set_defaults(bench=name)
    _add_costs(parser, "21,1284", "dense,nearest,streaming")
    parser.add_argument("--crop", type=int, default=512, help="side of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--network", default="deeplabv3plus", help="deeplabv3plus or small")
    parser.add_argument(
        "--steps", type=int, default=steps, help="steps timed, after one that is not"
    )


def _step(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import memory, step

    run_config = step.step_config(
        network=options.network,
        crop=options.crop,
        batch_size=options.batch_size,
        overrides=options.overrides,
    )
    # With --loss.pixels that is what is measured.
    both = options.bench == "step" and "loss.pixels" not in options.overrides
    rows = memory.run_memory(
        memory.parse_counts(options.classes),
        options.methods.split(","),
        run_config=run_config,
        pixels=memory.STEP_PIXELS if both else None,
        steps=options.steps,
        **_measuring(options),
        bench=options.bench,
    )
    shown = ("peak_bytes", "baseline_bytes", "seconds", "note")
    return _costs(rows, options, "{method} {classes}, {pixels} pixels", shown)


def _add_models(actions: Commands) -> None:
    text = "time and peak memory of a training step of architectures over backbones"
    parser = _action(actions, "models", _models, text, takes_settings=True)
    parser.add_argument(
        "--pairs",
        help="network:backbone, comma separated, with :stride if it is not 16 (default: a list)",
    )
    parser.add_argument("--classes", type=int, default=1284)
    parser.add_argument("--dim", type=int, default=64, help="dimensions of the embedding")
    parser.add_argument("--crop", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--steps", type=int, default=1, help="steps timed, after one that is not")
    parser.add_argument(
        "--rounds", type=int, default=1, help="times all rows are measured, taking turns"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _models(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import models

    rows = models.run_models(
        None if options.pairs is None else models.parse_pairs(options.pairs),
        classes=options.classes,
        crop=options.crop,
        batch_size=options.batch_size,
        dim=options.dim,
        steps=options.steps,
        rounds=options.rounds,
        device=options.device,
        overrides=options.overrides,
    )
    return _outcome(rows, options, "{network} {backbone}", models.SHOWN)


def _add_loss(actions: Commands) -> None:
    text = "memory and time of the loss and its gradients alone, beside other implementations"
    parser = _action(actions, "loss", _loss, text)
    methods = "dense,torch,cut-cross-entropy,liger,reference,nearest,streaming"
    _add_costs(parser, "21,150,1284,10000", methods)
    parser.add_argument(
        "--distances",
        default="euclidean,cosine,linear",
        help="what logits are; a method that does not know one is left out there",
    )
    parser.add_argument("--pixels", type=int, default=65_536, help="pixel embeddings")
    parser.add_argument("--dim", type=int, default=12, help="their dimensions")
    parser.add_argument("--k", type=int, default=7, help="neighbours, for nearest and reference")
    parser.add_argument("--dtype", default="fp32", help="fp32 or bf16")


def _loss(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import loss, memory

    rows = loss.run_loss(
        memory.parse_counts(options.classes),
        options.methods.split(","),
        options.distances.split(","),
        pixels=options.pixels,
        dim=options.dim,
        k=options.k,
        dtype=options.dtype,
        **_measuring(options),
    )
    shown = ("peak_bytes", "seconds", "loss_error", "grad_error", "note")
    return _costs(rows, options, "{method} {classes}, {distance}", shown)


def _add_predict(actions: Commands) -> None:
    text = "memory and time of predicting an image, above the backbone"
    parser = _action(actions, "predict", _predict, text)
    _add_costs(parser, "21,150,1284,10000", "dense,embedding")
    parser.add_argument("--size", type=int, default=512, help="side of the image in pixels")
    parser.add_argument("--dim", type=int, default=12, help="dimensions of the embedding")
    parser.add_argument("--distance", default="euclidean")


def _predict(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import memory, predict

    rows = predict.run_predict(
        memory.parse_counts(options.classes),
        options.methods.split(","),
        size=options.size,
        dim=options.dim,
        distance=options.distance,
        **_measuring(options),
    )
    shown = ("peak_bytes", "seconds", "loss_error", "note")
    return _costs(rows, options, "{method} {classes}", shown)


def _add_predict_files(actions: Commands) -> None:
    text = "pictures a second of predicting files, beside a plain loop over a dense model"
    parser = _action(actions, "predict-files", _predict_files, text)
    parser.add_argument("--sizes", default="512,1024", help="sides of the pictures in pixels")
    parser.add_argument("--methods", default="embedding,dense,torch", help="comma separated")
    parser.add_argument("--classes", type=int, default=1284)
    parser.add_argument("--dim", type=int, default=12, help="dimensions of the embedding")
    parser.add_argument("--backbone", default="mobilenetv2_100", help="a timm model")
    parser.add_argument("--pictures", type=int, default=8, help="timed, after one that is not")
    parser.add_argument(
        "--rounds", type=int, default=1, help="times all rows are measured, taking turns"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _predict_files(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import memory, predict_files

    rows = predict_files.run_predict_files(
        memory.parse_counts(options.sizes, flag="--sizes"),
        options.methods.split(","),
        classes=options.classes,
        dim=options.dim,
        backbone=options.backbone,
        pictures=options.pictures,
        rounds=options.rounds,
        device=options.device,
    )
    return _outcome(rows, options, "{method}, {size} pixels a side", predict_files.SHOWN)


def _add_export(actions: Commands) -> None:
    text = "memory and time of exported graphs in onnxruntime, beside PyTorch"
    parser = _action(actions, "export", _export, text)
    parser.add_argument("--networks", default="small,deeplabv3plus", help="comma separated")
    parser.add_argument("--size", type=int, default=512, help="side of the picture in pixels")
    parser.add_argument("--run", type=Path, help="a trained run, compared on its pictures")


def _export(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import export

    rows = export.run_export(options.networks.split(","), size=options.size, run=options.run)
    return _outcome(rows, options, "{network} {method}", export.SHOWN)


def _add_prepare(actions: Commands) -> None:
    text = "building masks: images a second, memory, and going on after a kill"
    parser = _action(actions, "prepare", _prepare, text)
    parser.add_argument("--images", type=int, default=2000, help="100170 is LVIS's train split")
    parser.add_argument(
        "--annotations-per-image", type=float, default=12.7, help="LVIS has 12.7 on average"
    )
    parser.add_argument("--stuff", action="store_true", help="with stuff annotations too")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")


def _prepare(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import prepare

    rows = prepare.run_prepare(
        options.images,
        options.annotations_per_image,
        stuff=options.stuff,
        workers=options.workers,
    )
    return _outcome(rows, options, "{what}", prepare.SHOWN)


def _add_loading(actions: Commands) -> None:
    text = "images a second that a loading process delivers, beside plain torchvision"
    parser = _action(actions, "loading", _loading, text)
    parser.add_argument("--root", type=Path, help="a dataset, measured after generated photos")
    parser.add_argument("--dataset", default="folder", help="key of the dataset in --root")
    parser.add_argument("--crop", type=int, default=512, help="side of the crops in pixels")
    parser.add_argument(
        "--repetitions", type=int, default=9, help="passes that are timed, of 24 images each"
    )


def _loading(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import loading

    rows = loading.run_loading(
        options.root, options.dataset, crop=options.crop, repetitions=options.repetitions
    )
    return _outcome(rows, options, "{data}, jitter {color_jitter}, {pipeline}", loading.SHOWN)


def _add_app(actions: Commands) -> None:
    text = "how quickly the app draws and answers, in a headless browser, on LVIS val's size"
    parser = _action(actions, "app", _app, text)
    parser.add_argument("--images", type=int, help="images of the evaluation (default: 19809)")
    parser.add_argument(
        "--runs", type=Path, help="folder to make the runs in, or to find them (default: neither)"
    )
    parser.add_argument("--pages", default="", help="comma separated (default: all)")
    parser.add_argument("--cold", type=int, default=3, help="first paints of each page")
    parser.add_argument("--repeats", type=int, default=5, help="times everything else is done")


def _app(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import app, app_data

    rows = app.run_app(
        images=options.images or app_data.IMAGES,
        runs=options.runs,
        pages=[name for name in options.pages.split(",") if name],
        cold=options.cold,
        repeats=options.repeats,
    )
    return _outcome(rows, options, "{page}, {action}, {condition}", app.SHOWN)


def _add_throughput(actions: Commands) -> None:
    text = "images a second of whole trainings, beside segmentation-models-pytorch's plain loop"
    parser = _action(actions, "throughput", _throughput, text)
    _add_costs(parser, "19,150", "plain,streaming", plot=False)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--crop", type=int, default=512, help="side of the pictures in pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", default="bf16", help="fp32, bf16 or fp16")
    parser.add_argument("--workers", type=int, default=8, help="loading processes")
    parser.add_argument("--steps", type=int, default=40, help="timed, after six that are not")


def _throughput(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import memory, throughput

    rows = throughput.run_throughput(
        memory.parse_counts(options.classes),
        options.methods.split(","),
        backbone=options.backbone,
        crop=options.crop,
        batch_size=options.batch_size,
        precision=options.precision,
        workers=options.workers,
        steps=options.steps,
        **_measuring(options),
    )
    return _outcome(rows, options, "{method} {classes}", throughput.SHOWN)
