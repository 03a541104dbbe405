"""The run directory: layout, atomic writes, lock, checkpoints.

The only reader and writer of artifact files::

    run = RunDirectory.create("runs/mine", config=config, vocabulary=vocabulary)
    with run.lock():
        run.write_status("running", step=0, steps=500)
        run.append_metrics({"step": 1, "loss": 7.2})
        run.save_checkpoint(500, model=state, optimizer=None, trainer={})

    run = RunDirectory.open("runs/mine")
    run.status(), run.metrics(), run.read_per_class("val")
"""

from __future__ import annotations

from workbench.runs.artifacts import PROJECTION_COLUMNS
from workbench.runs.atomic import (
    atomic_directory,
    atomic_file,
    to_json,
    write_bytes,
    write_json,
    write_parquet,
    write_text,
)
from workbench.runs.checkpoints import Checkpoint
from workbench.runs.directory import RunDirectory
from workbench.runs.folder import unused_path
from workbench.runs.links import leads_out
from workbench.runs.listing import RunInfo, describe_run, find_runs, listing_stamp
from workbench.runs.masks import write_mask
from workbench.runs.results import (
    CONFUSION_COLUMNS,
    PER_CLASS_COLUMNS,
    PER_IMAGE_CLASS_COLUMNS,
)
from workbench.runs.stamps import Stamp, stamp

__all__ = [
    "CONFUSION_COLUMNS",
    "PER_CLASS_COLUMNS",
    "PER_IMAGE_CLASS_COLUMNS",
    "PROJECTION_COLUMNS",
    "Checkpoint",
    "RunDirectory",
    "RunInfo",
    "Stamp",
    "atomic_directory",
    "atomic_file",
    "describe_run",
    "find_runs",
    "leads_out",
    "listing_stamp",
    "stamp",
    "to_json",
    "unused_path",
    "write_bytes",
    "write_json",
    "write_mask",
    "write_parquet",
    "write_text",
]
