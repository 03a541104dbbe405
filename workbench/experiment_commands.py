"""``workbench experiment``: compare methods under one protocol."""

from __future__ import annotations

import argparse
from pathlib import Path

from workbench.command import Commands, Outcome, command
from workbench.experiments import EXPERIMENTS, get_experiment


def add_experiment(commands: Commands) -> None:
    """Adds ``experiment``."""
    text = "compare methods at equal memory and time, cell by cell; resumes what was stopped"
    parser = command(commands, "experiment", _experiment, text, json_flag=False)
    parser.add_argument("name", help=f"one of {', '.join(EXPERIMENTS)}, photos or added")
    parser.add_argument(
        "--photos",
        metavar="ROOT",
        type=Path,
        help="COCO 2017 with panoptic_train2017, for the experiments photos and added",
    )
    parser.add_argument(
        "--json",
        dest="out",
        metavar="DIR",
        type=Path,
        default=Path("benchmarks/accuracy"),
        help="folder for the results, one JSON file a cell (default: %(default)s)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path("data/experiments"),
        help="folder of the generated pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("runs/experiments"),
        help="folder of the runs (default: %(default)s)",
    )
    parser.add_argument("--only", default="*", help="pattern of the names of the cells to do")
    parser.add_argument("--list", action="store_true", help="show the cells and what is done")
    parser.set_defaults(json=False)  # the results are files


def _experiment(options: argparse.Namespace) -> Outcome:
    from workbench.experiments.run import run_experiment, standing

    if options.name == "photos":
        return _photos(options)
    if options.name == "added":
        return _added(options)
    experiment = get_experiment(options.name)
    if options.list:
        result = standing(experiment.cells, options.out / experiment.name)
        done = set(result.done)
        lines = [f"{'done' if c.name in done else '-':>6}  {c.name}" for c in experiment.cells]
        return Outcome({}, text="\n".join((experiment.question, *lines)))
    result = run_experiment(
        experiment,
        options.out,
        data=options.data,
        work=options.work,
        only=options.only,
    )
    return Outcome(
        {"experiment": experiment.name, "done": len(result.done), "missing": result.missing}
    )


def _photos(options: argparse.Namespace) -> Outcome:
    from workbench.errors import ConfigError
    from workbench.experiments.photos import run_photos

    if options.photos is None:
        raise ConfigError("photos: --photos ROOT says where COCO's photos are")
    done = run_photos(options.photos, options.out, data=options.data, work=options.work)
    return Outcome({"experiment": "photos", "trained": done or "none, all files are there"})


def _added(options: argparse.Namespace) -> Outcome:
    from fnmatch import fnmatch

    from workbench.experiments.added import planned_cases, result_file, run_added

    cases = [case for case in planned_cases() if fnmatch(case.name, options.only)]
    if options.list:
        done = {case.name for case in cases if result_file(options.out, case).exists()}
        lines = [f"{'done' if c.name in done else '-':>6}  {c.name}" for c in cases]
        return Outcome({}, text="\n".join(lines))
    written = run_added(
        options.out, data=options.data, work=options.work, photos=options.photos, cases=cases
    )
    skipped = "" if options.photos else "; --photos ROOT adds the real ones"
    told = ", ".join(written) or "none, all files are there"
    return Outcome({"experiment": "added", "trained": f"{told}{skipped}"})
