"""``workbench import-predictions``: a run from the masks of any tool."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from workbench.command import Commands, command
from workbench.errors import ConfigError


def add_import(commands: Commands) -> None:
    """Adds ``import-predictions``."""
    text = "make a run from the masks of any tool, to look at it in the app"
    parser = command(commands, "import-predictions", _import, text)
    parser.add_argument("--images", type=Path, required=True, help="folder of the pictures")
    parser.add_argument(
        "--truth", type=Path, required=True, help="folder of the true masks: 8- or 16-bit ids"
    )
    parser.add_argument(
        "--pred", type=Path, required=True, help="folder of the predicted masks, of the same names"
    )
    parser.add_argument(
        "--vocabulary",
        type=Path,
        required=True,
        metavar="CSV",
        help="classes: name, and raw_id, train_id, group, ... as in the dataset 'folder'",
    )
    parser.add_argument("--run", type=Path, required=True, help="new folder for the run")
    parser.add_argument(
        "--save", default="100", help="images kept with truth and prediction, or 'all'"
    )
    parser.add_argument("--split", default="val", help="name of what was predicted")


def _import(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.evaluation.import_run import import_predictions

    if options.save != "all" and not (options.save.isdigit() and int(options.save) > 0):
        raise ConfigError(f"--save: a number of images above 0 or 'all', got {options.save!r}")
    if not options.split.strip():
        raise ConfigError("--split: give a name such as val")
    return import_predictions(
        options.images,
        options.truth,
        options.pred,
        options.vocabulary,
        options.run,
        save=0 if options.save == "all" else int(options.save),
        split=options.split,
    )
