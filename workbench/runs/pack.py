"""A run made small enough to share: no optimiser state, weights in half precision."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from torch import Tensor

from workbench.runs.directory import RunDirectory


def pack(
    run: RunDirectory, out: Path, *, checkpoint: str | int = "last", replace: bool = False
) -> dict[str, Any]:
    """Copies a run's settings, curves, class tables and one checkpoint.

    Matrices and kernels are rounded to half precision; biases, normalisation statistics and
    the temperature, which are few and span a wider range, stay as they are. Evaluations are
    not copied: they belong to the exact weights. Evaluate the packed run instead.

    Args:
        run: With a checkpoint.
        out: New folder.
        checkpoint: "last", "best" or a step.
        replace: Delete a run that is at ``out`` already.

    Returns:
        "run", "step" and "bytes" of the packed run.

    Raises:
        RunError: The run has no such checkpoint, or ``out`` holds something already.
    """
    state = run.load_checkpoint(checkpoint)
    if replace and out.is_dir() and RunDirectory(out).is_run():
        shutil.rmtree(out)
    packed = RunDirectory.create(out, config=run.config(), vocabulary=run.vocabulary())
    with packed.lock():
        model = {name: _halved(tensor) for name, tensor in state.model.items()}
        packed.save_checkpoint(state.step, model=model, optimizer=None, trainer=state.trainer)
        for step in run.embedding_steps():
            packed.write_embeddings(step, _halved(run.read_embeddings(step)))
        for record in run.metrics().to_dict("records"):
            present = {str(key): value for key, value in record.items() if value == value}
            packed.append_metrics(present)
        packed.write_status("done", step=state.step, steps=state.step)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {"run": str(out), "step": state.step, "bytes": size}


def _halved(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor
