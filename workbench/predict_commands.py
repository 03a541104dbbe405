"""``workbench predict``: a person's own pictures."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.command import Commands, Outcome, add_views, command
from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.inference.files import Batch, Predictor
    from workbench.inference.tiles import Tiling


def add_predict(commands: Commands) -> None:
    """Adds the command."""
    text = "segment pictures into 16-bit PNG masks; goes on where it was stopped"
    parser = command(commands, "predict", _predict, text)
    parser.add_argument("run", help="folder of a run or of a shared model, or NAME/MODEL on a hub")
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PATH",
        help="files, folders, patterns in quotes ('photos/**/*.jpg'), - for a list on standard "
        "input",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--overlay", action="store_true", help="pictures with the classes' colours")
    parser.add_argument(
        "--rle", action="store_true", help="all segments with scores as COCO's JSON, segments.json"
    )
    parser.add_argument(
        "--top-k",
        type=int,
        default=0,
        metavar="K",
        help="the K most probable classes of every pixel, as compressed .npz",
    )
    parser.add_argument(
        "--vocabulary", type=Path, help="class file whose classes take the place of the run's"
    )
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))
    add_views(parser, tile="side of the tiles of large pictures in pixels (default: 1024)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument(
        "--replace", action="store_true", help="remove what an earlier call made there, start over"
    )


def _predict(options: argparse.Namespace) -> Outcome:
    from workbench.inference.files import predict_files
    from workbench.inference.picture_paths import LIST, find_pictures
    from workbench.inference.results import Wanted

    tiling = _tiling(options.tile, options.overlap)
    predictor = _predictor(options)
    batch = predict_files(
        predictor,
        find_pictures(
            options.pictures,
            options.out,
            listed=_listed() if LIST in options.pictures else (),
            own=_own(options.out),
        ),
        options.out,
        wanted=Wanted(options.overlay, options.rle, options.top_k),
        tiling=tiling,
        replace=options.replace,
    )
    return Outcome(batch.values(), _told(batch, options.out), int(bool(batch.failed)))


def _tiling(tile: int | None, overlap: int | None) -> Tiling:
    from workbench.inference.tiles import Tiling

    usual = Tiling()
    side = usual.tile if tile is None else tile
    shared = min(usual.overlap, side // 4 // 32 * 32 or 32) if overlap is None else overlap
    return Tiling(tile=side, overlap=shared)


def _predictor(options: argparse.Namespace) -> Predictor:
    from workbench.inference import at_scales, parse_scales
    from workbench.inference.class_sets import fitted
    from workbench.inference.files import Predictor
    from workbench.runs.class_file import read_class_file
    from workbench.sharing.source import load_source

    scales = parse_scales(options.scales)
    chosen = None if options.vocabulary is None else read_class_file(options.vocabulary)
    model, vocabulary, name, step = load_source(options.run, options.checkpoint)
    classes = None
    model = model.to(_device(options.device))
    if chosen is not None:
        classes = fitted(chosen, model, label=str(options.vocabulary))
        vocabulary = chosen.vocabulary
    if scales != (1.0,) or options.flip:
        model = at_scales(model, scales, flip=options.flip)
    settings = {"run": name, "step": step, "scales": list(scales), "flip": options.flip}
    return Predictor(model, vocabulary, classes, settings)


def _device(name: str) -> str:
    import torch

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("--device: torch finds no CUDA device here; choose cpu")
    return name if name != "auto" else "cuda" if there else "cpu"


def _listed() -> list[str]:
    """Lines of standard input; file names may be bytes that are no text."""
    data = sys.stdin.buffer.read()
    return [os.fsdecode(line) for line in data.split(b"\n")]


def _own(out: Path) -> set[str]:
    from workbench.inference.manifest import Manifest

    return Manifest(out).read().results()


def _told(batch: Batch, out: Path) -> str:
    from workbench.inference.picture_paths import unread_line

    done = len(batch.masks)
    before = f", {batch.skipped} of them before" if batch.skipped else ""
    lines: Sequence[tuple[str, Any]] = (
        ("pictures", f"{done} in {out}{before}"),
        *([("changed by hand", f"{batch.by_hand} kept")] if batch.by_hand else []),
        ("classes", batch.classes),
        *([("segments", batch.segments)] if batch.segments else []),
        ("failed", len(batch.failed)),
    )
    unread = [unread_line(batch.unread)] if batch.unread else []
    return "\n".join([*(f"{key:>24}  {value}" for key, value in lines), *batch.failed, *unread])
