"""``workbench export``: a trained model as one file for onnxruntime or PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.command import Commands, command

if TYPE_CHECKING:
    from torch import Tensor

_PICTURES = 2  # of the run's own that are compared


def add_export(commands: Commands) -> None:
    """Adds the command."""
    text = "write a model as one file that needs no workbench: pictures in, class ids out"
    parser = command(commands, "export", _export, text)
    parser.add_argument("run", help="folder of a run or of a shared model, or NAME/MODEL on a hub")
    parser.add_argument(
        "--format", required=True, choices=("onnx", "pt2"), help="for onnxruntime, or for torch"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="ends in .onnx or .pt2"
    )
    parser.add_argument(
        "--size",
        type=int,
        nargs=2,
        metavar=("HEIGHT", "WIDTH"),
        help="of all pictures, for networks that cannot leave it open (default: any size)",
    )
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))


def _export(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.export import export_model
    from workbench.sharing.source import load_source

    source = load_source(options.run, options.checkpoint)
    report = export_model(
        source.model,
        source.vocabulary,
        options.out,
        options.format,
        size=None if options.size is None else (options.size[0], options.size[1]),
        source=source.title,
        step=source.step,
        pictures=_pictures(Path(options.run)),
    )
    return {key: value for key, value in report._asdict().items() if value is not None}


def _pictures(folder: Path) -> list[Tensor]:
    """Some pictures that the run keeps of its evaluations; none of a shared model."""
    import numpy as np
    import torch

    from workbench.runs import RunDirectory

    run = RunDirectory(folder)
    if not run.is_run():
        return []
    kept = [(split, name) for split in run.evaluations() for name in run.samples(split)]
    pictures = [np.array(run.read_picture(*place)) for place in kept[:_PICTURES]]
    return [torch.from_numpy(picture).permute(2, 0, 1) for picture in pictures]
