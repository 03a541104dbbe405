"""One measurement, one process: what every benchmark shares.

A measurement is a function from a spec (plain values) to a row (plain values), named in
``MEASUREMENTS``. :func:`run_isolated` runs it in a fresh interpreter, because a process's
peak memory never falls and because nothing that ran before may warm or fragment anything.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from workbench.benchmarks.machine import available_ram, describe_machine, limit_memory
from workbench.errors import ConfigError, WorkbenchError, first_line, is_out_of_memory
from workbench.progress import progress
from workbench.runs import to_json, write_json

Spec = Mapping[str, Any]
Row = dict[str, Any]

MEASUREMENTS: dict[str, str] = {
    "export": "workbench.benchmarks.export:measure_export",
    "loading": "workbench.benchmarks.loading:measure_loading",
    "loss": "workbench.benchmarks.loss:measure_loss",
    "memory": "workbench.benchmarks.step:measure_step",
    "models": "workbench.benchmarks.models:measure_model",
    "predict": "workbench.benchmarks.predict:measure_predict",
    "predict-files": "workbench.benchmarks.predict_files:measure_predict_files",
    "prepare-load": "workbench.benchmarks.prepare:measure_load",
    "prepare-reference": "workbench.benchmarks.prepare:measure_reference",
    "step": "workbench.benchmarks.step:measure_step",
    "throughput": "workbench.benchmarks.throughput:measure_throughput",
    "training": "workbench.experiments.budget:measure_training",
}

DEVICES = ("auto", "cpu", "cuda")

FIGURES = (
    "peak_bytes",
    "start_bytes",
    "seconds",
    "cpu_seconds",
    "loss",
    "loss_error",
    "grad_error",
)
"""Columns that are None where a row has a note instead of a measurement."""

WRONG = "wrong: "
"""How the note of a row begins whose result is not what float64 says."""

_KILLED = -9


class OutOfMemory(Exception):
    """The measurement needs more memory than there is."""


class Unavailable(Exception):
    """What is to be measured cannot run here; the message says why."""


def resolve_device(device: str) -> str:
    """Turns "auto" into "cuda" where there is one, else into "cpu".

    Raises:
        ConfigError: An unknown device, or one that is not there.
    """
    import torch

    if device not in DEVICES:
        raise ConfigError(f"--device: choose one of {', '.join(DEVICES)}, got {device!r}")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ConfigError("--device: torch finds no CUDA device here; choose cpu")
    return device if device != "auto" else "cuda" if there else "cpu"


def measure_rows(
    specs: Sequence[Spec],
    describe: Callable[[Spec], Row],
    *,
    needs: Callable[[Spec], int],
    rounds: int = 1,
    available: int | None = None,
    isolated: bool = True,
) -> list[Row]:
    """Measures every spec in a fresh process, round after round.

    Rounds take turns: what slows the machine down for a while slows down all rows, not one.

    Args:
        specs: One a row, all with the same "bench" and "device".
        describe: The part of a row that needs no measuring.
        needs: Bytes a spec takes at the very least; with less it is not tried. It may raise
            :class:`Unavailable` for what need not be tried at all.
        rounds: How often each is measured.
        available: Bytes a process on the CPU may take; None measures what is free.
        isolated: False measures in this process, which saves its start: for CUDA alone, whose
            memory torch counts from zero for each measurement.

    Returns:
        One row a spec: medians over the rounds of times, the largest of memory and errors,
        "note" (empty; or why there are no :data:`FIGURES`; or what is wrong with them),
        "rounds" and "machine".

    Raises:
        ConfigError: Fewer than one round, or not isolated on a CPU.
    """
    if rounds < 1:
        raise ConfigError(f"--rounds: at least 1, got {rounds}")
    if not isolated and specs[0]["device"] == "cpu":
        raise ConfigError("--same-process: for --device cuda; a CPU's peak memory never falls")
    measure = partial(run_isolated, limit=None) if isolated else run_here
    limit = None
    if specs[0]["device"] == "cpu":
        limit = available_ram() if available is None else available
        measure = partial(run_isolated, limit=limit)
    machine = describe_machine()  # before the first measurement: afterwards the load is our own
    found: list[list[Row]] = [[] for _ in specs]
    places = [*range(len(specs))] * rounds
    bar = progress(places, description=f"bench {specs[0]['bench']}", unit="row")
    for place in bar:
        if found[place] and found[place][0]["peak_bytes"] is None:
            continue
        spec = specs[place]
        shown = {"method": spec["method"], "classes": str(spec["classes"])}
        bar.set_postfix(shown, refresh=sys.stderr.isatty())
        found[place].append(_measure(spec, describe, needs, limit, measure))
    return [{**merge_rounds(rows), "machine": machine} for rows in found]


def _measure(
    spec: Spec,
    describe: Callable[[Spec], Row],
    needs: Callable[[Spec], int],
    limit: int | None,
    measure: Callable[[Spec], Row],
) -> Row:
    """The row of a measurement, or one that says why there is none."""
    try:
        needed = needs(spec)
        if limit is not None and needed > limit:
            raise OutOfMemory(
                f"not tried: the tensor of all logits takes {needed / 2**30:.1f} GiB, "
                f"{limit / 2**30:.1f} GiB are free"
            )
        return {"note": "", **measure(spec)}
    except OutOfMemory as reason:
        note = f"out of memory: {reason}"
    except Unavailable as reason:
        note = f"not run: {reason}"
    return {**describe(spec), **dict.fromkeys(FIGURES), "note": note}


def merge_rounds(rows: Sequence[Row]) -> Row:
    """One row from those of several rounds."""
    merged: Row = {**rows[0], "rounds": len(rows)}
    for columns, choose in (
        (("seconds", "cpu_seconds", "images_per_second", "loading_share"), statistics.median),
        (("peak_bytes", "loss_error", "grad_error", "note"), max),
    ):
        for column in columns:
            values = [row[column] for row in rows if row.get(column) is not None]
            if values:
                merged[column] = choose(values)
    return merged


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


def run_here(spec: Spec) -> Row:
    """Runs one measurement in this process, on CUDA.

    Raises:
        OutOfMemory: The GPU has too little memory.
        Unavailable: What is to be measured cannot run here.
    """
    import torch

    try:
        return get_measurement(spec["bench"])(spec)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(first_line(error)) from None
    finally:
        gc.collect()
        torch.cuda.empty_cache()


def run_isolated(spec: Spec, *, limit: int | None = None) -> Row:
    """Runs one measurement in a fresh process.

    Args:
        spec: "bench" names the measurement, "device" is "cpu" or "cuda", the rest is the
            measurement's own.
        limit: Bytes of memory the process may take beyond what importing torch took; None
            leaves it to the system (as on a GPU, whose memory is not the process's).

    Returns:
        The row; a "note" only where something is wrong with it.

    Raises:
        OutOfMemory: The process could not get the memory it needs, or was killed.
        Unavailable: What is to be measured cannot run here.
        WorkbenchError: What the measurement objects to in its spec.
        RuntimeError: It failed otherwise, with the end of what it said.
    """
    environment = dict(os.environ)
    if spec["device"] == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = _run_process(
            [sys.executable, "-m", "workbench.benchmarks.worker", str(answer)],
            input=to_json({"spec": dict(spec), "limit": limit}),
            env=environment,
        )
        text = answer.read_text(encoding="utf-8") if answer.exists() else ""
    return _read_answer(text, done.returncode, done.stderr)


def _run_process(
    command: list[str], *, input: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=input,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        check=False,
    )


def _read_answer(text: str, code: int, said: str) -> Row:
    answer: dict[str, Any] = json.loads(text) if text else {}
    if "row" in answer:
        row: Row = answer["row"]
        return row
    if "out_of_memory" in answer:
        raise OutOfMemory(str(answer["out_of_memory"]))
    if "unavailable" in answer:
        raise Unavailable(str(answer["unavailable"]))
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
    except Unavailable as missing:
        write_json(path, {"unavailable": str(missing)}, sync=False)
    except WorkbenchError as error:
        write_json(path, {"error": str(error)}, sync=False)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = first_line(error)
        write_json(path, {"out_of_memory": reason}, sync=False)
