"""The commands that are disturbed, on a set so small that each takes about a second."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from helpers.faults import child
from helpers.faults.checks import files, stamps

CLASSES, SIZE, IMAGES, VAL_IMAGES = 300, 64, 24, 6
KINDS: Final = ("clock", "operation", "byte")
"""Of kills, see ``child.Kill``."""

_TRAIN = (
    *("--preset", "smoke", "--train.steps", 12, "--train.batch_size", 2),
    *("--train.checkpoint_every", 3, "--train.evaluate_every", 6, "--train.evaluate_images", 2),
)
_CLOCKED = ("seconds", "memory")  # figures of the clock, not of the work


class Scene(NamedTuple):
    """What all trials start from.

    Attributes:
        data: The prepared set.
        run: Of a training that nobody disturbed, and its evaluation.
        place: Where trials make their folders.
    """

    data: Path
    run: Path
    place: Path


class Task(NamedTuple):
    """A command.

    Attributes:
        arguments: Of the command, in a trial's folder.
        target: What it writes, in a trial's folder.
        result: What it has made, as texts that are equal where the work is.
        finished: Work that must not be done again, and when it was last written.
        run: Which run it belongs to, in a trial's folder, if to any.
        again: Words to add to go on.
        done_before: Whether it may find its own whole result of an earlier call.
        kinds: Of kills that are tried. Changes are counted, and files cut, in the command's own
            process alone.
    """

    arguments: Callable[[Scene, Path], Sequence[object]]
    target: Callable[[Path], Path]
    result: Callable[[Path], dict[str, str]]
    finished: Callable[[Path], dict[str, int]] = lambda _: {}
    run: bool = True
    again: Sequence[str] = ()
    done_before: bool = False
    kinds: Sequence[str] = KINDS


def _run(trial: Path) -> Path:
    return trial / "runs" / "mine"


def _out(trial: Path) -> Path:
    return trial / "out"


def _train_arguments(scene: Scene, trial: Path) -> Sequence[object]:
    return ("train", "--run", _run(trial), "--data.root", scene.data, *_TRAIN)


def curve(run: Path) -> list[dict[str, Any]]:
    """The metrics without the clock's."""
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    return [
        {name: value for name, value in json.loads(line).items() if name not in _CLOCKED}
        for line in lines
    ]


def _train_result(trial: Path) -> dict[str, str]:
    run = _run(trial)
    status = json.loads((run / "status.json").read_text("utf-8"))
    tensors = files(run, "checkpoints/*/*.safetensors", "embeddings/step_*.safetensors")
    last = (run / "checkpoints" / "last").read_text("utf-8").strip()
    return {
        "state": status["state"],
        "last": last,
        "curve": json.dumps(curve(run)),
        **{name: value for name, value in tensors.items() if last in name or "embed" in name},
    }


def _evaluate_result(trial: Path) -> dict[str, str]:
    folder = _run(trial) / "evaluation" / "val"
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    summary = {name: value for name, value in summary.items() if name not in _CLOCKED}
    return {"summary": json.dumps(summary), **files(folder, "*.parquet", "*/*.png", "*/*.jpg")}


def _prepare_result(trial: Path) -> dict[str, str]:
    return files(_out(trial), "masks/*/*.png", "*.parquet", "prepare.json")


def _predict_result(trial: Path) -> dict[str, str]:
    return files(_out(trial), "**/*.png", "**/*.jpg", "**/*.npz", "segments.json")


def _predicted(trial: Path) -> dict[str, int]:
    """Results of the pictures that the list has."""
    out = _out(trial)
    path = out / "predict.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    done = [value["done"] for line in lines if "done" in (value := json.loads(line))]
    return stamps([out / (one["stem"] + suffix) for one in done for suffix in one["results"]])


def _prepare(workers: int, **options: Any) -> Task:
    return Task(
        lambda scene, trial: (
            *("prepare", "shapeworld", scene.data),
            *("--out", _out(trial), "--workers", workers),
        ),
        _out,
        _prepare_result,
        lambda trial: stamps(sorted(_out(trial).glob("masks/*/[!.]*.png"))),
        run=False,
        **options,
    )


TASKS: dict[str, Task] = {
    "train": Task(_train_arguments, _run, _train_result, again=("--resume",)),
    "evaluate": Task(
        lambda scene, trial: ("evaluate", _run(trial), "--root", scene.data, "--save", "4"),
        _run,
        _evaluate_result,
        done_before=True,
    ),
    "project": Task(
        lambda _, trial: ("project", _run(trial)),
        _run,
        lambda trial: files(_run(trial), "embeddings/projection.parquet"),
        done_before=True,
    ),
    "prepare": _prepare(1),
    "prepare --workers 2": _prepare(2, kinds=("clock",)),
    "predict": Task(
        lambda scene, trial: (
            *("predict", scene.run, scene.data / "train2017", "--out", _out(trial)),
            *("--overlay", "--rle", "--top-k", 2, "--device", "cpu"),
        ),
        _out,
        _predict_result,
        _predicted,
        run=False,
    ),
    "export": Task(
        lambda scene, trial: (
            *("export", scene.run, "--format", "onnx"),
            *("--out", _out(trial) / "model.onnx"),
        ),
        _out,
        lambda trial: files(_out(trial), "*.onnx"),
        run=False,
    ),
}


def make_scene(place: Path) -> Scene:
    """Makes data, and a run that is trained and evaluated, each by its command."""
    scene = Scene(place / "data", _run(place / "whole"), place)
    scene.run.parent.mkdir(parents=True)
    sample = ("--images", IMAGES, "--val-images", VAL_IMAGES, "--size", SIZE, "--classes", CLASSES)
    for arguments in (
        ("sample", "shapeworld", scene.data, *sample),
        ("prepare", "shapeworld", scene.data, "--workers", 1),
        _train_arguments(scene, place / "whole"),
        ("evaluate", scene.run, "--save", "4"),
    ):
        ended = child.run(arguments, place)
        if ended.code:
            raise RuntimeError(f"{arguments[0]} failed: {ended.said}")
    return scene


def set_up(scene: Scene, task: Task, trial: Path, *, whole: bool) -> None:
    """Makes a trial's folder ready for a command.

    Args:
        scene: What to start from.
        task: The command.
        trial: The folder; is made, or empty.
        whole: Whether results of an earlier call are there, where a command may find some.
    """
    trial.mkdir(exist_ok=True)
    if task.target is _run and task.arguments is not _train_arguments:
        shutil.copytree(scene.run, _run(trial))
        if not (whole and task.done_before):
            shutil.rmtree(_run(trial) / "evaluation", ignore_errors=True)
            (_run(trial) / "embeddings" / "projection.parquet").unlink(missing_ok=True)
    elif task.run:
        _run(trial).parent.mkdir()
