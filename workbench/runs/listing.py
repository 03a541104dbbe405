"""All runs in a folder, at a glance."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from workbench.errors import RunError
from workbench.runs.directory import RunDirectory
from workbench.runs.stamps import Stamp, stamp

_DATED = ("status.json", "metrics.jsonl", "config.yaml", "evaluation")


class RunInfo(NamedTuple):
    """What a list of runs shows of each.

    Attributes:
        name: The folder's name.
        path: The folder.
        status: "running", "done", "failed", "interrupted" or "unknown".
        miou: Mean IoU of the val split, or of the only other one; None before evaluation.
        classes: Number of classes, if known.
        dataset: The dataset's key; "" if not known.
        modified: When training or evaluation last wrote, in seconds since 1970.
    """

    name: str
    path: Path
    status: str
    miou: float | None
    classes: int | None
    dataset: str
    modified: float


def find_runs(root: Path | str) -> list[Path]:
    """Finds the runs in a folder; half-written ones too.

    Args:
        root: A folder of runs, or a run itself.

    Returns:
        Their folders in no order; empty when the folder does not exist.
    """
    root = Path(root)
    if RunDirectory(root).is_run():
        return [root]
    try:
        folders = [entry for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."]
    except OSError:
        return []
    return [folder for folder in folders if RunDirectory(folder).is_run()]


def describe_run(path: Path | str) -> RunInfo:
    """What a list of runs shows of one; never fails."""
    run = RunDirectory(path)
    return RunInfo(
        name=run.name,
        path=run.path,
        status=str(run.status()["state"]),
        miou=_miou(run),
        classes=_classes(run),
        dataset=_dataset(run),
        modified=_modified(run.path),
    )


def listing_stamp(path: Path | str) -> Stamp:
    """Stamps all that `describe_run` looks at but the status, which also time changes."""
    splits = RunDirectory(path).evaluations()
    summaries = (stamp(path, "summary", split=split) for split in splits)
    top = stamp(path, "config", "vocabulary", "metrics", "status", "evaluations")
    return top + tuple(entry for found in summaries for entry in found)


def _miou(run: RunDirectory) -> float | None:
    splits = run.evaluations()
    if not splits:
        return None
    try:
        miou = run.read_summary("val" if "val" in splits else splits[0]).get("miou")
    except RunError:
        return None
    return float(miou) if isinstance(miou, (int, float)) else None


def _classes(run: RunDirectory) -> int | None:
    # The number of rows stands in the file's footer; the table need not be read.
    import pyarrow
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.read_metadata(run.path / "vocabulary.parquet").num_rows)
    except (OSError, pyarrow.ArrowException):
        return None


def _dataset(run: RunDirectory) -> str:
    try:
        data = run.config().get("data")
    except RunError:
        return ""
    return str(data.get("dataset", "")) if isinstance(data, dict) else ""


def _modified(path: Path) -> float:
    times = [0.0]
    for name in _DATED:
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
    return max(times)
