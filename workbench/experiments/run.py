"""Runs an experiment cell by cell; stopped anywhere, it goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import torch

from workbench.errors import ConfigError
from workbench.experiments.budget import Rate, Rates, fit_all, scheduled
from workbench.experiments.cell import described, make_world, run_cell
from workbench.experiments.plan import Cell, Experiment
from workbench.progress import say
from workbench.runs import write_json

RATES = "rates.json"


class Result(NamedTuple):
    """Where an experiment stands.

    Attributes:
        done: Names of cells that have their file.
        missing: Names of those that do not.
    """

    done: list[str]
    missing: list[str]


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    data: Path,
    work: Path,
    only: str = "*",
) -> Result:
    """Trains and scores the cells that have no file yet.

    Args:
        experiment: What to compare.
        out: Folder for the results; each cell's file goes to a folder of the experiment's name.
        data: Folder of the generated pictures, made where they are missing.
        work: Folder of the runs.
        only: Pattern of the names of the cells to do.

    Raises:
        ConfigError: No cell's name fits the pattern, or the experiment's device is missing.
    """
    cells = [cell for cell in experiment.cells if fnmatch(cell.name, only)]
    if not cells:
        raise ConfigError(f"--only: no cell of {experiment.name} fits {only!r}; --list shows them")
    folder = out / experiment.name
    todo = [cell for cell in cells if not cell_file(folder, cell).exists()]
    if todo:
        if experiment.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError(
                f"{experiment.name}: its steps are measured on a CUDA device; none here"
            )
        worlds = {cell.world.name: cell.world for cell in todo}
        roots = {name: make_world(world, data) for name, world in worlds.items()}
        rates = Rates(out / RATES, experiment.device)
        fitting = fit_all(experiment, todo, roots, rates)
        for number, cell in enumerate(todo, start=1):
            if cell.name not in fitting:
                continue
            say(f"cell {number} of {len(todo)}: {cell.name}")
            root = roots[cell.world.name]
            row = _same_training(experiment, cell, fitting[cell.name], root, out)
            row = row or run_cell(experiment, cell, fitting[cell.name], root, work)
            write_json(cell_file(folder, cell), row)
            say(f"  test mIoU {row['test']['miou']:.4f} after {row['steps']:,} steps")
    return standing(experiment.cells, folder)


def _same_training(
    experiment: Experiment, cell: Cell, rate: Rate, root: str, out: Path
) -> dict[str, Any] | None:
    """The result of a cell that came out with the very same settings, as this cell's.

    Where the largest batch fits two memory budgets, both ask for one training.
    """
    settings = described(scheduled(experiment, cell, rate, root))
    for row in read_cells(experiment, out):
        if row["config"] == settings:
            say(f"  the same training as {row['cell']}")
            return row | {"cell": cell.name, "memory": cell.memory, "length": cell.length}
    return None


def cell_file(folder: Path, cell: Cell) -> Path:
    """Where a cell's result is kept."""
    return folder / f"{cell.name}.json"


def standing(cells: Sequence[Cell], folder: Path) -> Result:
    """Which cells have their file."""
    done = [cell.name for cell in cells if cell_file(folder, cell).exists()]
    return Result(done, [cell.name for cell in cells if cell.name not in set(done)])


def read_cells(experiment: Experiment, out: Path) -> list[dict[str, Any]]:
    """The results there are, in the order of the plan."""
    folder = out / experiment.name
    files = [cell_file(folder, cell) for cell in experiment.cells]
    return [json.loads(path.read_text(encoding="utf-8")) for path in files if path.exists()]
