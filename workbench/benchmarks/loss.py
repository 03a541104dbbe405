"""The loss and its gradients alone: memory and time against the number of classes.

Random pixel embeddings and a random class table go in, the gradients of both come out. Every
result is compared with float64: see :mod:`workbench.benchmarks.truth`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.benchmarks.harness import (
    Row,
    Spec,
    Unavailable,
    measure_rows,
    resolve_device,
)
from workbench.benchmarks.meter import PeakMeter, repeat
from workbench.benchmarks.peers import METHODS, IndexedLoss, get_method, missing
from workbench.benchmarks.truth import (
    Answer,
    Case,
    compare,
    gradient,
    settled,
    spread,
    table_gradient,
    true_answer,
    verdict,
)
from workbench.errors import ConfigError, first_line, is_out_of_memory

if TYPE_CHECKING:
    from workbench.benchmarks.peers import LossFunction

CLASSES = (21, 150, 1284, 10_000)
DEFAULT_METHODS = tuple(name for name in METHODS if name != "nearest-index")
DISTANCES = ("euclidean", "cosine", "linear")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_TEMPERATURE = 20.0  # the paper's; the linear distance has 1
_WARM_PIXELS = 64
_CHECK_CELLS = 2**24  # logits that are compared with float64: of all pixels or of a subset
_CHECK_FEWEST = 32
_WITHIN = 2.5  # seconds of repetitions


def run_loss(
    classes: Sequence[int] = CLASSES,
    methods: Sequence[str] = DEFAULT_METHODS,
    distances: Sequence[str] = DISTANCES,
    *,
    pixels: int = 65_536,
    dim: int = 12,
    k: int = 7,
    dtype: str = "fp32",
    repetitions: int = 7,
    rounds: int = 1,
    device: str = "auto",
    available: int | None = None,
    isolated: bool = True,
) -> list[Row]:
    """Measures every method with every distance it knows, each in a fresh process.

    Args:
        classes: Numbers of classes C.
        methods: Keys of ``peers.METHODS``.
        distances: What logits are; a method is left out where it does not know one.
        pixels: Number of pixel embeddings N.
        dim: Their dimensions D.
        k: Neighbours, for the methods that restrict the softmax to the nearest.
        dtype: "fp32" or "bf16", of pixels and table.
        repetitions: Calls that are timed, fewer where they take long.
        rounds: See :func:`~workbench.benchmarks.harness.measure_rows`.
        device: "cpu", "cuda" or "auto".
        available: Bytes a process on the CPU may take; None measures what is free.
        isolated: See :func:`~workbench.benchmarks.harness.measure_rows`.

    Returns:
        The rows of :func:`measure_loss`, with "note", "rounds" and "machine".

    Raises:
        ConfigError: An argument is not among what there is.
    """
    device = resolve_device(device)
    sizes = {"pixels": pixels, "dim": dim, "k": k, "repetitions": repetitions}
    _check(classes, distances, dtype, sizes)
    shared = {"bench": "loss", "device": device, "pixels": pixels, "dim": dim, "dtype": dtype}
    specs = [
        {**shared, "method": name, "distance": distance, "classes": count, "k": k}
        | {"repetitions": repetitions}
        for count in classes
        for distance in distances
        for name in methods
        if distance in get_method(name).distances
    ]
    if not specs:
        raise ConfigError("--methods: none of them knows any of --distances")
    return measure_rows(
        specs, describe, needs=_least, rounds=rounds, available=available, isolated=isolated
    )


def _check(
    classes: Sequence[int], distances: Sequence[str], dtype: str, sizes: Mapping[str, int]
) -> None:
    if not classes or min(classes) < 2:
        raise ConfigError(f"--classes: whole numbers from 2, got {list(classes)}")
    for name, value in sizes.items():
        if value < 1:
            raise ConfigError(f"--{name}: at least 1, got {value}")
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype: choose one of {', '.join(DTYPES)}, got {dtype!r}")
    unknown = set(distances) - set(METHODS["streaming"].distances)
    if unknown or not distances:
        known = ", ".join(METHODS["streaming"].distances)
        raise ConfigError(f"--distances: choose from {known}, got {sorted(unknown)}")


def describe(spec: Spec) -> Row:
    """What identifies a measurement."""
    restricted = get_method(spec["method"]).definition != "exact"
    columns = ("bench", "method", "distance", "device", "pixels", "dim", "classes")
    return {
        **{column: spec[column] for column in columns},
        "k": spec["k"] if restricted else None,
        "dtype": spec["dtype"],
    }


def _least(spec: Spec) -> int:
    reason = missing(spec["method"], spec["device"])
    if reason:
        raise Unavailable(reason)
    dense = get_method(spec["method"]).dense
    return 4 * int(spec["pixels"]) * int(spec["classes"]) if dense else 0


def measure_loss(spec: Spec) -> Row:
    """Measures one way to compute a loss; to be called in a process that did nothing else.

    Args:
        spec: "method", "distance", "device", "pixels", "dim", "classes", "k", "dtype" and
            "repetitions".

    Returns:
        :func:`describe`, and "peak_bytes" (beyond what is there when pixels and table are made
        and the method is warm; their gradients are part of it), "start_bytes" (what is there
        then), "seconds" and "cpu_seconds" of loss and gradients (medians), "repetitions",
        for an index :attr:`IndexedLoss.facts` (its memory is part of the peak),
        "loss" (mean), "loss_error" and "grad_error" with "checked" (the number of pixels they
        are about), "threads", "pid", and a "note" where the errors are not tolerable.

    Raises:
        Unavailable: The method cannot run here.
    """
    name, device = str(spec["method"]), str(spec["device"])
    case = make_case(spec)
    function = get_method(name).make(case)
    try:
        # Threads, compiled code and buffers of libraries are not the loss's memory or time.
        answer(function, case.at(torch.arange(min(_WARM_PIXELS, len(case.pixels)))))
    except Exception as error:
        if get_method(name).ours or is_out_of_memory(error):
            raise
        raise Unavailable(f"{type(error).__name__}: {first_line(error)[:200]}") from error
    leaves = [case.pixels, case.weight, *([] if case.bias is None else [case.bias])]
    found: list[Tensor] = []

    def work() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss = function(case)
        loss.backward()  # type: ignore[no-untyped-call]
        found[:] = [loss.detach()]

    meter = PeakMeter(device)
    timing = repeat(work, device, at_most=int(spec["repetitions"]), within=_WITHIN)
    facts = function.facts if isinstance(function, IndexedLoss) else {}
    peak = meter.above() + facts.get("index_bytes", 0)
    table = table_gradient(case.weight, case.bias)
    measured = Answer(float(found[0]), gradient(case.pixels), table)
    return {
        **describe(spec),
        "peak_bytes": peak,
        "start_bytes": meter.start,
        **facts,
        **timing._asdict(),
        "loss": measured.loss,
        **check(function, case, measured, str(spec["dtype"])),
        "threads": torch.get_num_threads(),
        "pid": os.getpid(),
    }


def make_case(spec: Spec) -> Case:
    """Random pixels, classes and targets: logits with a spread of about one to ten."""
    method = get_method(spec["method"])
    generator = torch.Generator().manual_seed(0)
    count, classes, dim = int(spec["pixels"]), int(spec["classes"]), int(spec["dim"])
    linear = spec["distance"] == "linear"

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        values = scale * torch.randn(shape, generator=generator)
        return values.to(spec["device"], DTYPES[spec["dtype"]]).requires_grad_()

    return Case(
        draw(count, dim),
        draw(classes, dim, scale=dim**-0.5),
        draw(classes, scale=0.1) if linear and method.bias else None,
        1.0 if linear else _TEMPERATURE,
        torch.randint(0, classes, (count,), generator=generator).to(spec["device"]),
        str(spec["distance"]),
        method.definition,
        min(int(spec["k"]), classes - 1),
    )


def answer(function: LossFunction, case: Case) -> Answer:
    """Loss and gradients of fresh leaves."""
    bias = None if case.bias is None else case.bias.detach().requires_grad_()
    pixels = case.pixels.detach().requires_grad_()
    weight = case.weight.detach().requires_grad_()
    loss = function(case._replace(pixels=pixels, weight=weight, bias=bias))
    loss.backward()  # type: ignore[no-untyped-call]
    return Answer(float(loss.detach()), gradient(pixels), table_gradient(weight, bias))


def check(function: LossFunction, case: Case, measured: Answer, dtype: str) -> Row:
    """Compares with float64: all of a measurement, or what a subset of pixels can tell.

    Of a subset, the measured run's gradients by these pixels are compared (the table's and
    the loss are about all pixels), and then everything of the same method on these alone.
    """
    count, classes = len(case.pixels), len(case.weight)
    some = min(count, max(_CHECK_FEWEST, _CHECK_CELLS // classes))
    chosen = spread(count, some, case.pixels.device)
    chosen = chosen[settled(case.at(chosen))]
    subset = case.at(chosen)
    if isinstance(function, IndexedLoss):
        subset = subset._replace(neighbours=function.neighbours(subset))
    right = true_answer(subset)
    if len(chosen) == count:
        errors = compare(measured, right)
    else:
        errors = compare(answer(function, subset), right)
        scale = count / len(chosen)  # a mean over fewer pixels has larger gradients
        at_chosen = Answer(right.loss, scale * measured.pixels[chosen].double(), None)
        errors = errors._replace(gradient=max(errors.gradient, compare(at_chosen, right).gradient))
    note = verdict(errors, dtype)
    return {**errors.columns(), "checked": len(chosen)} | ({"note": note} if note else {})
