"""``python -m helpers.faults --trials 200 --json FILE``: kill, starve and disturb commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Before torch and numba are imported: forks must not copy threads, and sums keep their order.
os.environ.update(
    OMP_NUM_THREADS="1",
    NUMBA_NUM_THREADS="1",
    NUMBA_THREADING_LAYER="workqueue",
    HF_HUB_OFFLINE="1",
    CUDA_VISIBLE_DEVICES="",
)

SHARES = {
    **{"train": 5, "evaluate": 4, "prepare": 4, "prepare --workers 2": 1},
    **{"predict": 4, "project": 2, "export": 1},
}


def main() -> int:
    """Runs the trials; the exit code says whether anything was lost."""
    parser = argparse.ArgumentParser(prog="helpers.faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="kills of all commands, or 0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", default=",".join(SHARES), help="comma separated")
    parser.add_argument("--others", default="", help="commands to disturb otherwise, too")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    parser.add_argument("--add", action="store_true", help="keep the file's rows on other trials")
    options = parser.parse_args()
    tasks = options.tasks.split(",")
    rows: list[dict[str, Any]] = []
    _load_everything("project" in tasks)

    from helpers.faults.others import OTHERS
    from helpers.faults.trials import Trials
    from helpers.faults.work import make_scene
    from workbench.benchmarks.machine import describe_machine
    from workbench.runs import write_json

    shared = {"seed": options.seed, "machine": describe_machine()}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        scene = make_scene(Path(place).resolve())
        total = sum(SHARES[name] for name in tasks)
        for name in tasks if options.trials else ():
            kills = max(1, round(options.trials * SHARES[name] / total))
            tally = Trials(scene, name, options.seed).run(kills)
            rows.append({"fault": "kill", **vars(tally), **shared})
            _say(rows[-1])
        for fault, disturb in OTHERS.items():
            for name in options.others.split(",") if options.others else ():
                rows.append({"fault": fault, **disturb(scene, name), **shared})
                _say(rows[-1])
    for row in rows:
        row["all_seconds"] = round(time.perf_counter() - began, 1)
    kept = json.loads(options.json.read_text("utf-8")) if options.add else []
    write_json(options.json, together(kept, rows))
    return int(any(row["losses"] for row in rows))


def together(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of two calls in the order of their faults and commands; the newer ones win."""
    from helpers.faults.others import OTHERS

    rows = {(row["fault"], row["task"]): row for row in [*old, *new]}
    faults, tasks = ["kill", *OTHERS], [*SHARES]
    return [
        rows[key] for key in sorted(rows, key=lambda k: (faults.index(k[0]), tasks.index(k[1])))
    ]


def _load_everything(project: bool) -> None:
    """Imports what the commands do, so that a forked child starts at once."""
    import torch
    import tqdm

    tqdm.tqdm.monitor_interval = 0  # no thread in a process that forks
    torch.set_num_threads(1)
    from app import data, data_classes, data_failures, data_pictures  # noqa: F401
    from workbench import __main__, datasets, evaluation, inference, trainers  # noqa: F401
    from workbench.evaluation import run  # noqa: F401
    from workbench.inference import class_sets, files, picture_paths  # noqa: F401
    from workbench.trainers import train  # noqa: F401

    if project:  # compiling it takes many times longer than running it
        import numpy as np

        from workbench.evaluation.projection import project_steps

        points = np.random.default_rng(0).normal(size=(60, 16)).astype(np.float32)
        project_steps({1: points, 2: points + 1})


def _say(row: dict[str, Any]) -> None:
    told = {name: value for name, value in row.items() if name not in ("machine", "seed")}
    sys.stderr.write(f"{told}\n")


if __name__ == "__main__":
    sys.exit(main())
