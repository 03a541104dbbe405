"""Training steps per method and number of classes: ``bench memory`` and ``bench step``.

Both measure the same thing, see :mod:`workbench.benchmarks.step`; the first with few steps,
for the memory, the second with more of them, and with sampled pixels too, for the time.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from workbench import config
from workbench.benchmarks.harness import Row, measure_rows, resolve_device
from workbench.benchmarks.step import NO_HEAD, dense_bytes, describe, make_spec, step_config
from workbench.errors import ConfigError
from workbench.losses import get_loss

METHODS = ("dense", "nearest", "streaming")
CLASSES = (21, 1284)
STEP_PIXELS = (0, 16_384)
"""What ``bench step`` measures: all pixels, and as many drawn ones."""


def parse_counts(text: str, flag: str = "--classes") -> list[int]:
    """Numbers as the command line takes them: ``"21,1284"``.

    Raises:
        ConfigError: Something else than whole numbers with commas between.
    """
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ConfigError(f"{flag}: whole numbers such as 21,1284, got {text!r}")
    return [int(count) for count in text.split(",")]


def run_memory(
    classes: Sequence[int] = CLASSES,
    methods: Sequence[str] = METHODS,
    *,
    run_config: config.Run | None = None,
    pixels: Sequence[int] | None = None,
    steps: int = 3,
    rounds: int = 1,
    device: str = "auto",
    bench: str = "memory",
    available: int | None = None,
    isolated: bool = True,
) -> list[Row]:
    """Measures every method at every number of classes, each in a fresh process.

    Args:
        classes: Numbers of classes C.
        methods: Keys of ``workbench.losses.LOSSES``.
        run_config: What is trained, see :func:`~workbench.benchmarks.step.step_config`; the
            loss's name is replaced.
        pixels: Values of the setting loss.pixels, one after the other (0 are all pixels);
            None takes the configuration's.
        steps: Steps that are timed, after one that is not.
        rounds: See :func:`~workbench.benchmarks.harness.measure_rows`.
        device: "cpu", "cuda" or "auto" (CUDA where there is one).
        bench: "memory" or "step", for the rows.
        available: Bytes a process on the CPU may take; None measures what is free.
        isolated: See :func:`~workbench.benchmarks.harness.measure_rows`.

    Returns:
        One row a number of pixels, method and class count, in that order: those of
        :func:`~workbench.benchmarks.step.measure_step` with "note", "rounds", "machine" and
        "baseline_bytes" and "baseline_seconds" (of the step without a head).

    Raises:
        ConfigError: An argument, method, network or device that is not there.
    """
    run_config = run_config or step_config()
    device = resolve_device(device)
    if steps < 1:
        raise ConfigError(f"--steps: at least 1, got {steps}")
    if not classes or min(classes) < 2:
        raise ConfigError(f"--classes: whole numbers from 2, got {list(classes)}")
    for method in methods:
        get_loss(method)
    runs = [run_config] if pixels is None else [_with_pixels(run_config, one) for one in pixels]
    specs = [
        make_spec(run, method, count, bench=bench, steps=steps, device=device)
        for run, method, count in [
            (runs[0], NO_HEAD, 0),
            *((run, method, count) for run in runs for method in methods for count in classes),
        ]
    ]
    baseline, *rows = measure_rows(
        specs, describe, needs=dense_bytes, rounds=rounds, available=available, isolated=isolated
    )
    shared = {"baseline_bytes": baseline["peak_bytes"], "baseline_seconds": baseline["seconds"]}
    return [row | shared for row in rows]


def _with_pixels(run: config.Run, pixels: int) -> config.Run:
    return dataclasses.replace(run, loss=dataclasses.replace(run.loss, pixels=pixels))
