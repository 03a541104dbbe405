"""One measurement, one process: what every benchmark shares.

A measurement is a function from a spec (plain values) to a row (plain values), named in
``MEASUREMENTS``. :func:`run_isolated` runs it in a fresh interpreter, because a process's
peak memory never falls and because nothing that ran before may warm or fragment anything.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench.benchmarks.machine import limit_memory
from workbench.errors import ConfigError, WorkbenchError
from workbench.runs import to_json, write_json

Spec = Mapping[str, Any]
Row = dict[str, Any]

MEASUREMENTS: dict[str, str] = {
    "loading": "workbench.benchmarks.loading:measure_loading",
    "memory": "workbench.benchmarks.memory:measure_step",
    "prepare-load": "workbench.benchmarks.prepare:measure_load",
    "prepare-reference": "workbench.benchmarks.prepare:measure_reference",
}

_KILLED = -9
_NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "bad_alloc", "out of memory")


class OutOfMemory(Exception):
    """The measurement needs more memory than there is."""


def get_measurement(name: str) -> Callable[[Spec], Row]:
    """Looks a measurement up.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in MEASUREMENTS:
        raise ConfigError(f"bench: unknown bench {name!r}; choose one of {', '.join(MEASUREMENTS)}")
    module, _, function = MEASUREMENTS[name].partition(":")
    measure: Callable[[Spec], Row] = getattr(import_module(module), function)
    return measure


def run_isolated(spec: Spec, *, limit: int | None = None) -> Row:
    """Runs one measurement in a fresh process.

    Args:
        spec: "bench" names the measurement, "device" is "cpu" or "cuda", the rest is the
            measurement's own.
        limit: Bytes of memory the process may take beyond what importing torch took; None
            leaves it to the system (as on a GPU, whose memory is not the process's).

    Returns:
        The row, without "note".

    Raises:
        OutOfMemory: The process could not get the memory it needs, or was killed.
        WorkbenchError: What the measurement objects to in its spec.
        RuntimeError: It failed otherwise, with the end of what it said.
    """
    environment = dict(os.environ)
    if spec["device"] == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run(
            [sys.executable, "-m", "workbench.benchmarks.worker", str(answer)],
            input=to_json({"spec": dict(spec), "limit": limit}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            check=False,
        )
        text = answer.read_text(encoding="utf-8") if answer.exists() else ""
    return _read_answer(text, done.returncode, done.stderr)


def _read_answer(text: str, code: int, said: str) -> Row:
    answer: dict[str, Any] = json.loads(text) if text else {}
    if "row" in answer:
        row: Row = answer["row"]
        return row
    if "out_of_memory" in answer:
        raise OutOfMemory(str(answer["out_of_memory"]))
    if code == _KILLED:
        raise OutOfMemory("the process was killed")
    if "error" in answer:
        raise WorkbenchError(str(answer["error"]))
    raise RuntimeError(f"the benchmark's process ended with code {code}:\n{said[-4000:]}")


def answer_request(request: Mapping[str, Any], path: Path) -> None:
    """The worker's side of :func:`run_isolated`.

    Args:
        request: "spec" and "limit".
        path: The file to write the answer to.
    """
    if request["limit"] is not None:
        import torch  # noqa: F401 - before: what libraries take is not the measurement's

        limit_memory(int(request["limit"]))
    spec = request["spec"]
    try:
        write_json(path, {"row": get_measurement(spec["bench"])(spec)}, sync=False)
    except WorkbenchError as error:
        write_json(path, {"error": str(error)}, sync=False)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        write_json(path, {"out_of_memory": reason}, sync=False)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is one of the many that mean that memory ran out."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(w in str(error).lower() for w in _NO_MEMORY)
