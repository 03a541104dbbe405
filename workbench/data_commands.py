"""``workbench data``: check a dataset on disk, download it, count its classes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from workbench.command import Commands, Outcome, command


def add_data(commands: Commands) -> None:
    """Adds ``data`` with its actions."""
    text = "check a dataset on disk, download it, or count its classes"
    parser = commands.add_parser("data", help=text, description=text, allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    _add_check(actions)
    _add_download(actions)
    _add_stats(actions)


def _dataset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", metavar="KEY", help="cityscapes, voc, ade20k, lvis-coco, ...")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder of the dataset")


def _add_check(actions: Commands) -> None:
    text = "say what of a dataset is there, what is missing and what to do; exit code 1 if unusable"
    parser = command(actions, "check", _check, text)
    _dataset_arguments(parser)
    parser.add_argument("--variant", default="", help="another reading of the same files")
    parser.add_argument("--all", action="store_true", help="read every file, not a few of each")


def _check(options: argparse.Namespace) -> Outcome:
    from workbench.datasets.check import check_dataset

    report = check_dataset(
        options.dataset, options.root, variant=options.variant, every_file=options.all
    )
    return Outcome(report.values(), text=report.text(), exit_code=0 if report.usable else 1)


def _add_download(actions: Commands) -> None:
    text = "download and unpack a dataset; goes on where it was interrupted"
    parser = command(actions, "download", _download, text)
    _dataset_arguments(parser)
    parser.add_argument(
        "--keep-archives", action="store_true", help="do not delete them afterwards"
    )


def _download(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.datasets.download import download_dataset

    return download_dataset(options.dataset, options.root, keep_archives=options.keep_archives)


def _add_stats(actions: Commands) -> None:
    text = "count images and pixels of each class and group, as parquet and a picture"
    parser = command(actions, "stats", _stats, text)
    _dataset_arguments(parser)
    parser.add_argument("--split", default="train")
    parser.add_argument("--variant", default="", help="another reading of the same files")
    parser.add_argument("--out", type=Path, help="folder to write (default: ROOT/stats)")


def _stats(options: argparse.Namespace) -> Outcome:
    from workbench.datasets.stats import stats_text, write_stats

    values = write_stats(
        options.dataset,
        options.root,
        split=options.split,
        variant=options.variant,
        out=options.out,
    )
    return Outcome(values, text=stats_text(values))
