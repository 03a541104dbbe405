"""The command line: one thin function per command.

Results go to standard output (machine-readable with ``--json``), progress and errors to
standard error. An error is one line and exit code 2; ``--debug`` shows the traceback.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench import __version__, config, presets, processes
from workbench.bench_commands import add_bench
from workbench.command import (
    Commands,
    Outcome,
    Parser,
    add_views,
    command,
    unknown_argument,
)
from workbench.data_commands import add_data
from workbench.errors import ConfigError, RunError, WorkbenchError, is_out_of_memory
from workbench.experiment_commands import add_experiment
from workbench.export_commands import add_export
from workbench.import_commands import add_import
from workbench.model_commands import add_models
from workbench.plugins import load_plugins
from workbench.predict_commands import add_predict
from workbench.sharing_commands import add_sharing
from workbench.vocabulary_commands import add_vocabulary


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: As typed after ``workbench``; the process's own if None.

    Returns:
        Exit code: 0, or 1 where a check says no, 2 after an error the user can mend, 130 after
        Ctrl-C.
    """
    parser = _build_parser()
    options, unknown = parser.parse_known_args(arguments)
    try:
        load_plugins()
        options.overrides = _overrides(unknown, options)
        result = options.handler(options)
    except WorkbenchError as error:
        if options.debug:
            raise
        _say_error(error)
        return 2
    except (OSError, MemoryError, RuntimeError) as error:
        line = _outside_our_hands(error)
        if line is None or options.debug:
            raise
        _say_error(line)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    processes.leave()
    outcome = result if isinstance(result, Outcome) else Outcome(result)
    if processes.rank() > 0:  # process 0 says it
        return outcome.exit_code
    if options.json:
        from workbench.runs import to_json

        print(to_json(outcome.values))
    elif outcome.text is not None:
        print(outcome.text)
    else:
        for key, value in outcome.values.items():
            print(f"{key:>24}  {_readable(value)}")
    return outcome.exit_code


def _say_error(message: object) -> None:
    """One line; of several processes all but the first say which they are."""
    rank = processes.rank()
    print(f"error{f' (process {rank})' if rank else ''}: {message}", file=sys.stderr)


def _outside_our_hands(error: Exception) -> str | None:
    """One line for what the machine refused; None for what may be a defect of ours."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; choose another place or make room"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            "no room is left on the disk; make room and give the same command again, a training "
            "with --resume"
        )
    if is_out_of_memory(error):  # a step of a training says more, before it comes here
        return (
            "out of memory; close what else takes it, or use smaller pictures, a smaller network "
            "or, for thousands of classes, another loss than dense"
        )
    return processes.lost(error)


def _readable(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_readable(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return f"\n{'':>26}".join(_readable(item) for item in value) or "none"
    return str(value)


def _overrides(unknown: Sequence[str], options: argparse.Namespace) -> dict[str, str]:
    """``--train.steps 500`` and ``--train.steps=500`` as {"train.steps": "500"}."""
    overrides: dict[str, str] = {}
    words = list(unknown)
    while words:
        word = words.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or "." not in name or not options.takes_settings:
            raise unknown_argument(word, options)
        if not equals:
            if not words or words[0].startswith("--"):
                raise ConfigError(f"--{name}: a value is missing")
            value = words.pop(0)
        overrides[name] = value
    return overrides


def _build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="workbench", description="Semantic segmentation for any number of classes."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _add_sample,
        _add_prepare,
        add_data,
        add_models,
        _add_train,
        _add_evaluate,
        add_import,
        _add_project,
        add_predict,
        _add_pack,
        add_export,
        add_sharing,
        add_vocabulary,
        add_bench,
        add_experiment,
    ):
        add(commands)
    return parser


def _add_sample(commands: Commands) -> None:
    parser = command(commands, "sample", _sample, "write a small generated dataset")
    parser.add_argument("dataset", help="shapeworld, or the layout of a real dataset")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--images", type=int, help="training images")
    parser.add_argument("--val-images", type=int, help="validation images")
    parser.add_argument("--size", type=int, help="side of an image in pixels")
    parser.add_argument("--classes", type=int, help="number of classes")
    parser.add_argument("--seed", type=int, default=0)


def _sample(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.datasets import write_sample

    chosen = {
        name: getattr(options, name)
        for name in ("images", "val_images", "size", "classes", "seed")
        if getattr(options, name) is not None
    }
    return write_sample(options.dataset, options.out, **chosen)


def _add_prepare(commands: Commands) -> None:
    parser = command(commands, "prepare", _prepare, "build masks from annotations")
    parser.add_argument("dataset", help="lvis-coco or shapeworld")
    parser.add_argument("root", type=Path, help="folder of the dataset")
    parser.add_argument("--out", type=Path, help="folder to write (default: ROOT/prepared)")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")
    parser.add_argument(
        "--legacy-remap",
        action="store_true",
        help="reproduce the two mislabelled classes of the published masks",
    )


def _prepare(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.datasets import prepare

    return prepare(
        options.dataset,
        options.root,
        out=options.out,
        workers=options.workers,
        legacy_remap=options.legacy_remap,
    )


def _add_train(commands: Commands) -> None:
    default = presets.get_preset("default")
    parser = command(
        commands, "train", _train, "train a model", takes_settings=True, defaults=default
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of the run")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset", help=f"one of {', '.join(presets.PRESETS)}")
    start.add_argument("--config", type=Path, help="YAML file to start from")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")


def _train(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.runs import RunDirectory
    from workbench.trainers import train

    if options.resume and (options.run / "config.yaml").exists():
        # The run's own settings, also those given as flags when it was started.
        base = config.from_dict(RunDirectory.open(options.run).config())
        if options.config is not None or options.preset not in (None, base.preset):
            raise ConfigError(
                f"--resume goes on with the settings of {options.run}/config.yaml; "
                "leave out --config and any other --preset, single flags may change"
            )
    elif options.config is not None:
        base = config.load_yaml(options.config, base=presets.get_preset("default"))
    elif options.resume and options.preset is None:
        raise RunError(f"{options.run}: nothing to resume; start it with --preset NAME")
    else:
        base = presets.get_preset(options.preset or "default")
    run = train(config.from_overrides(base, options.overrides), options.run, resume=options.resume)
    last = run.metrics().dropna(subset=["loss"]).iloc[-1]
    said = {name: value for name, value in run.status().items() if name == "message"}
    step = run.load_checkpoint().step if said else int(last["step"])
    return {"run": str(run.path), "step": step, "loss": float(last["loss"]), **said}


def _add_evaluate(commands: Commands) -> None:
    parser = command(commands, "evaluate", _evaluate, "score a run on a split")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--split", help="default: the run's validation split")
    parser.add_argument("--root", help="the dataset's folder, if it has moved")
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))
    parser.add_argument("--images", type=int, default=0, help="evaluate so many (default: all)")
    parser.add_argument(
        "--save", default="100", help="images kept with truth and prediction, or 'all'"
    )
    parser.add_argument("--name", help="keep the result under this name (default: the split's)")
    parser.add_argument(
        "--sliding", action="store_true", help="cut images into overlapping windows and blend them"
    )
    add_views(parser, tile="side of a window in pixels (default: the training's crop)")


def _evaluate(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.evaluation.run import evaluate_run
    from workbench.inference.views import Views, parse_scales, sliding
    from workbench.runs import RunDirectory

    if options.save != "all" and not (options.save.isdigit() and int(options.save) > 0):
        raise ConfigError(f"--save: a number of images above 0 or 'all', got {options.save!r}")
    if not options.sliding and (options.tile or options.overlap):
        raise ConfigError("--tile and --overlap: only together with --sliding")
    run = RunDirectory.open(options.run)
    tiling = None
    if options.sliding:
        crop = config.from_dict(run.config()).data.crop
        tiling = sliding(crop, tile=options.tile, overlap=options.overlap)
    return evaluate_run(
        run,
        split=options.split,
        root=options.root,
        checkpoint=options.checkpoint,
        images=options.images,
        save=0 if options.save == "all" else int(options.save),
        views=Views(parse_scales(options.scales), options.flip, tiling),
        name=options.name,
    )


def _add_project(commands: Commands) -> None:
    parser = command(commands, "project", _project, "map the class embeddings (UMAP, PCA)")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--seed", type=int, default=0)


def _project(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.evaluation.run import project_run
    from workbench.runs import RunDirectory

    return project_run(RunDirectory.open(options.run), seed=options.seed)


def _add_pack(commands: Commands) -> None:
    text = "copy a run without optimiser state, weights in half precision, for sharing"
    parser = command(commands, "pack", _pack, text)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))
    parser.add_argument("--replace", action="store_true", help="delete a run that is there")


def _pack(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.runs import RunDirectory
    from workbench.runs.pack import pack

    return pack(
        RunDirectory.open(options.run),
        options.out,
        checkpoint=options.checkpoint,
        replace=options.replace,
    )


if __name__ == "__main__":
    sys.exit(main())
