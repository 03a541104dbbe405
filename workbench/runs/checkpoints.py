"""Checkpoints: tensors as safetensors, the trainer's state as JSON, whole or not at all.

```
checkpoints/step_000500/  model.safetensors  optimizer.safetensors (optional)  trainer.json
checkpoints/last, best    the name of a step's folder, as text
```
A checkpoint appears by the rename of a finished folder; the pointer `last` moves after
that. Whenever the process is killed, `last` names a whole checkpoint or the newest whole
one is found without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workbench.errors import RunError
from workbench.runs import readers
from workbench.runs.atomic import atomic_directory, remove_directory, write_json, write_text

if TYPE_CHECKING:
    from torch import Tensor

LAST: Final = "last"
BEST: Final = "best"
_MODEL: Final = "model.safetensors"
_OPTIMIZER: Final = "optimizer.safetensors"
_TRAINER: Final = "trainer.json"
_STEP: Final = re.compile(r"step_(\d+)")
_REMEDY: Final = "delete this step's folder to go on from the checkpoint before it"


class Checkpoint(NamedTuple):
    """One saved state of a training.

    Attributes:
        step: Number of optimiser steps done.
        model: The model's tensors, on the CPU.
        optimizer: The optimiser's tensors by a flat name, or None if they were not kept.
        trainer: Everything else the trainer needs to go on (plain JSON values).
    """

    step: int
    model: dict[str, Tensor]
    optimizer: dict[str, Tensor] | None
    trainer: dict[str, Any]


def step_name(step: int) -> str:
    """Names a step: ``step_000500``."""
    return f"step_{step:06d}"


def parse_step(name: str) -> int | None:
    """Reads the step from a name made by `step_name`; None for any other name."""
    match = _STEP.fullmatch(name)
    return int(match.group(1)) if match else None


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors of any device and layout to a safetensors file (not atomic)."""
    from safetensors.torch import save

    # Bytes rather than `save_file`, which creates the file readable by its owner alone.
    path.write_bytes(save(_independent(tensors)))


def load_tensors(path: Path, *, remedy: str) -> dict[str, Tensor]:
    """Reads a safetensors file to the CPU.

    Raises:
        RunError: The file is absent or damaged.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise readers.missing(path, "no such file", remedy)
    try:
        return load_file(path)
    except Exception as error:  # the Rust extension raises its own class
        raise readers.broken(path, error, remedy) from error


def load_table(path: Path, name: str, *, remedy: str) -> NDArray[np.float32]:
    """Reads one two-dimensional tensor without torch, where numpy knows its type.

    Raises:
        RunError: The file is absent or damaged, or has no such tensor.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise readers.missing(path, "no such file", remedy)
    try:
        with safe_open(path, framework="numpy") as file:
            if name not in file.keys():  # noqa: SIM118 - not a mapping
                raise readers.broken(path, f"no tensor {name!r}", remedy)
            if file.get_slice(name).get_dtype() in ("F16", "F32", "F64"):
                values = np.asarray(file.get_tensor(name), dtype=np.float32)
            else:  # bfloat16
                values = load_tensors(path, remedy=remedy)[name].float().numpy()
    except (SafetensorError, OSError, ValueError) as error:
        raise readers.broken(path, error, remedy) from error
    if values.ndim != 2:
        raise readers.broken(path, f"{name!r} has {values.ndim} dimensions, not 2", remedy)
    return values


def _independent(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Makes tensors contiguous and stops them sharing memory, which the format refuses."""
    seen: set[int] = set()
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        storage = plain.untyped_storage().data_ptr()
        if storage in seen:
            plain = plain.clone()
        seen.add(storage)
        result[name] = plain
    return result


def steps(folder: Path) -> list[int]:
    """Lists the steps of all whole checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    found = (parse_step(entry.name) for entry in folder.iterdir() if _is_whole(entry))
    return sorted(step for step in found if step is not None)


def _is_whole(folder: Path) -> bool:
    return (folder / _MODEL).is_file() and (folder / _TRAINER).is_file()


def save(
    folder: Path,
    step: int,
    *,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor] | None,
    trainer: Mapping[str, Any],
) -> Path:
    """Writes a checkpoint and points `last` to it; see `RunDirectory.save_checkpoint`."""
    target = folder / step_name(step)
    with atomic_directory(target) as temporary:
        save_tensors(temporary / _MODEL, model)
        if optimizer is not None:
            save_tensors(temporary / _OPTIMIZER, optimizer)
        write_json(temporary / _TRAINER, {**trainer, "step": step})
    write_pointer(folder, LAST, step)
    return target


def write_pointer(folder: Path, name: str, step: int) -> None:
    """Points `last` or `best` to a step.

    Raises:
        RunError: There is no such checkpoint.
    """
    if not _is_whole(folder / step_name(step)):
        raise RunError(f"{folder / step_name(step)} is no whole checkpoint; save it first")
    write_text(folder / name, step_name(step) + "\n")


def read_pointer(folder: Path, name: str) -> int | None:
    """Reads the step `last` or `best` names; None if it names no whole checkpoint."""
    try:
        step = parse_step((folder / name).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):
        step = None
    if step is not None and _is_whole(folder / step_name(step)):
        return step
    if name == LAST:  # killed between two renames, or the pointer got lost
        whole = steps(folder)
        return whole[-1] if whole else None
    return None


def _find(folder: Path, which: str | int) -> tuple[int, Path]:
    """The step and the folder of a whole checkpoint."""
    step = which if isinstance(which, int) else read_pointer(folder, which)
    if step is None or not _is_whole(folder / step_name(step)):
        known = ", ".join(str(known) for known in steps(folder)) or "none"
        raise RunError(f"{folder} has no checkpoint {which!r} (steps there: {known}); train first")
    return step, folder / step_name(step)


def load(folder: Path, which: str | int) -> Checkpoint:
    """Reads a checkpoint; see `RunDirectory.load_checkpoint`."""
    step, source = _find(folder, which)
    trainer = readers.read_json(source / _TRAINER, remedy=_REMEDY)
    model = load_tensors(source / _MODEL, remedy=_REMEDY)
    optimizer = None
    if (source / _OPTIMIZER).is_file():
        optimizer = load_tensors(source / _OPTIMIZER, remedy=_REMEDY)
    return Checkpoint(step=step, model=model, optimizer=optimizer, trainer=trainer)


def tensor_shapes(folder: Path, which: str | int) -> dict[str, tuple[int, ...]]:
    """Reads names and shapes of a model's tensors; see `RunDirectory.checkpoint_shapes`."""
    from safetensors import SafetensorError, safe_open

    path = _find(folder, which)[1] / _MODEL
    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise readers.broken(path, error, _REMEDY) from error


def prune(folder: Path, keep: int) -> list[int]:
    """Removes all but the newest checkpoints; see `RunDirectory.prune_checkpoints`."""
    wanted = {read_pointer(folder, LAST), read_pointer(folder, BEST)}
    whole = steps(folder)
    wanted.update(whole[len(whole) - max(keep, 0) :])
    removed = [step for step in whole if step not in wanted]
    for step in removed:
        remove_directory(folder / step_name(step))
    return removed
