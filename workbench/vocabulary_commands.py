"""``workbench vocabulary``: the classes of a run as one small file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from workbench.command import Commands, command


def add_vocabulary(commands: Commands) -> None:
    """Adds ``vocabulary`` with its actions."""
    text = "write the classes of a run to one small file"
    parser = commands.add_parser("vocabulary", help=text, description=text, allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_export(actions)


def _add_export(actions: Commands) -> None:
    text = "write class embeddings and names to a file that predict --vocabulary takes"
    parser = command(actions, "export", _export, text)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path, help="file to write, .safetensors")
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))


def _export(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.inference.class_sets import classes_of_run
    from workbench.runs import RunDirectory
    from workbench.runs.class_file import write_class_file

    classes = classes_of_run(RunDirectory.open(options.run), options.checkpoint)
    path = write_class_file(options.out, classes)
    return {
        "file": str(path),
        "classes": len(classes),
        "embedding_dim": classes.dim,
        "distance": classes.distance,
        "bytes": path.stat().st_size,
    }
