"""A run made small enough to share: no optimiser state, weights in half precision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.errors import RunError
from workbench.runs.directory import NAMES, RunDirectory


def pack(
    run: RunDirectory, out: Path, *, checkpoint: str | int = "last", replace: bool = False
) -> dict[str, Any]:
    """Copies a run's settings, curves, class tables and one checkpoint.

    Matrices and kernels are rounded to half precision; biases, normalisation statistics and
    the temperature, which are few and span a wider range, stay as they are. What came after
    the checkpoint is left out. Evaluations are not copied: they belong to the exact weights.
    Evaluate the packed run instead.

    Args:
        run: With a checkpoint.
        out: New folder.
        checkpoint: "last", "best" or a step.
        replace: Delete a run that is at ``out`` already.

    Returns:
        "run", "step" and "bytes" of the packed run.

    Raises:
        RunError: The run has no such checkpoint, or ``out`` holds something that is not to
            be replaced.
    """
    state = run.load_checkpoint(checkpoint)
    config, vocabulary, metrics = run.config(), run.vocabulary(), run.metrics()
    tables = {step: run.read_embeddings(step) for step in run.embedding_steps()}
    if replace and out.exists():
        _remove_run(out, keep=run.path)
    packed = RunDirectory.create(out, config=config, vocabulary=vocabulary)
    with packed.lock():
        model = {name: _halved(name, tensor) for name, tensor in state.model.items()}
        packed.save_checkpoint(state.step, model=model, optimizer=None, trainer=state.trainer)
        for step, table in tables.items():
            if step <= state.step:
                packed.write_embeddings(step, table.half())
        for record in metrics[metrics["step"] <= state.step].to_dict("records"):
            present = {str(key): value for key, value in record.items() if value == value}
            packed.append_metrics(present)
        packed.write_status("done", step=state.step, steps=state.step)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"run": str(out), "step": state.step, "bytes": size}


def _remove_run(out: Path, *, keep: Path) -> None:
    """Deletes a run, and nothing that is not one."""
    here, source = out.resolve(), keep.resolve()
    if here == source or here in source.parents or source in here.parents:
        raise RunError(f"{out}: would replace the run that is packed; choose another folder")
    strangers = {item.name for item in out.iterdir() if item.name[0] != "."} - NAMES
    if strangers or not (out / "vocabulary.parquet").is_file():
        odd = f"it has {min(strangers)}" if strangers else "it has no vocabulary.parquet"
        raise RunError(f"{out}: is not only a run ({odd}); choose another folder")
    with RunDirectory(out).lock():
        shutil.rmtree(out)


def _halved(name: str, tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.ndim > 1 and name not in ("mean", "std") else tensor
