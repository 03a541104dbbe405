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
    _add_memory(actions)
    _add_prepare(actions)
    _add_loading(actions)


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

    Args:
        rows: The result.
        options: With ``json_file``.
        name: What a row is called, a format string over its columns.
        shown: The columns for people.
    """
    from workbench.runs import to_json, write_json

    if options.json_file == Path("-"):
        return Outcome({}, text=to_json(rows, indent=2))
    if options.json_file is not None:
        write_json(options.json_file, rows)
    return Outcome(
        {
            name.format(**row): {key: row[key] for key in shown if row.get(key) not in (None, "")}
            for row in rows
        }
    )


def _add_memory(actions: Commands) -> None:
    text = "peak memory (and time) of a training step"
    parser = _action(actions, "memory", _memory, text, takes_settings=True)
    parser.add_argument("--classes", default="21,1284", help="class counts, comma separated")
    parser.add_argument("--methods", default="dense,nearest,streaming")
    parser.add_argument("--crop", type=int, default=256, help="side of the images in pixels")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--network", default="deeplabv3plus", help="deeplabv3plus or small")
    parser.add_argument("--steps", type=int, default=3, help="steps timed, after one that is not")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")


def _memory(options: argparse.Namespace) -> Outcome:
    from workbench.benchmarks import memory

    run_config = memory.step_config(
        network=options.network,
        crop=options.crop,
        batch_size=options.batch_size,
        overrides=options.overrides,
    )
    rows = memory.run_memory(
        memory.parse_counts(options.classes),
        options.methods.split(","),
        run_config=run_config,
        steps=options.steps,
        device=options.device,
    )
    shown = ("peak_bytes", "baseline_bytes", "seconds", "note")
    return _outcome(rows, options, "{method} {classes}", shown)


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
