"""Ways to compute a cross-entropy from pixel embeddings and a class table: ours and others'.

Each takes (N, D) pixels and a (C, D) table to the mean loss, as a person would call it who
wants loss and gradients, with its defaults. Packages that the workbench does not need are
looked for when asked (``pip install 'segmentation-workbench[bench]'``).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workbench.benchmarks.machine import current_rss
from workbench.benchmarks.truth import Case, Definition
from workbench.distances import DISTANCES, ClassEmbeddings, get_distance
from workbench.errors import ConfigError
from workbench.losses import nearest_cross_entropy, streaming_cross_entropy
from workbench.losses.as_published import published_cross_entropy

LossFunction = Callable[[Case], Tensor]
"""From a case to the mean loss."""


class Method(NamedTuple):
    """A way to compute the loss.

    Attributes:
        make: Called once with the case, to give the function that is measured.
        distances: The distances it knows.
        definition: What its softmax runs over.
        dense: Whether it holds all N x C logits.
        bias: Whether it adds a bias for the linear distance.
        ours: Whether it is the workbench's.
    """

    make: Callable[[Case], LossFunction]
    distances: tuple[str, ...] = ("linear",)
    definition: Definition = "exact"
    dense: bool = False
    bias: bool = True
    ours: bool = False


def _dense(case: Case) -> Tensor:
    """All logits, as a framework offers them."""
    if case.distance == "linear":
        logits = functional.linear(case.pixels, case.weight, case.bias)
    else:
        pixels = functional.normalize(case.pixels, dim=1)
        weight = functional.normalize(case.weight, dim=1)
        logits = -case.temperature * torch.cdist(pixels, weight)
    return functional.cross_entropy(logits, case.targets)


def _torch(case: Case) -> Tensor:
    return functional.linear_cross_entropy(
        case.pixels,
        case.weight,
        case.targets,
        linear_bias=case.bias,
        options=torch.nn.LinearCrossEntropyOptions(),
    )


def _reference(case: Case) -> Tensor:
    """The paper's loss as its authors' code states it: distances to gathered embeddings.

    The (N, k + 1, D) tensor of neighbours is made, and all distances for the search. Like
    there, a target among its own neighbours is replaced by the class before it: see
    :func:`~workbench.benchmarks.truth.members`.
    """
    return published_cross_entropy(case.pixels, _classes(case), case.targets, k=case.k).mean()


def _cut_cross_entropy(_: Case) -> LossFunction:
    package = import_module("cut_cross_entropy")

    def loss(case: Case) -> Tensor:
        form = "cce" if case.pixels.is_cuda else "torch_compile"
        value: Tensor = package.linear_cross_entropy(
            case.pixels, case.weight, case.targets, impl=form
        )
        return value

    return loss


def _liger(_: Case) -> LossFunction:
    fused = import_module("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss()

    def loss(case: Case) -> Tensor:
        value: Tensor = fused(case.weight, case.pixels, case.targets, case.bias)
        return value

    return loss


def _classes(case: Case) -> ClassEmbeddings:
    temperature = torch.tensor(case.temperature, device=case.pixels.device)
    return ClassEmbeddings(case.weight, case.bias, temperature)


def _streaming(case: Case) -> Tensor:
    return streaming_cross_entropy(
        case.pixels, _classes(case), case.targets, get_distance(case.distance)
    ).mean()


def _nearest(case: Case) -> Tensor:
    return nearest_cross_entropy(
        case.pixels, _classes(case), case.targets, get_distance(case.distance), k=case.k
    ).mean()


class IndexedLoss:
    """Our nearest loss with neighbours from an approximate index over the class table.

    Attributes:
        facts: "recall" of the index on the case's pixels, "build_seconds" and "index_bytes".
    """

    def __init__(self, case: Case) -> None:
        """Builds the index and tunes it to its recall, as training does now and then."""
        from workbench.class_index import ClassIndex, load_faiss

        load_faiss()  # the memory of libraries is nobody's
        start, bytes_before = time.perf_counter(), current_rss()
        distance = get_distance(case.distance)
        with torch.no_grad():
            pixels, weight = distance.embed(case.pixels), distance.embed(case.weight)
        # Where the distance has a bias, its temperature is 1.
        self._index = ClassIndex(weight, None if case.bias is None else case.bias.detach())
        recall = self._index.tune(pixels, case.k)
        self.facts = {
            "recall": round(recall, 4),
            "build_seconds": round(time.perf_counter() - start, 3),
            "index_bytes": max(0, current_rss() - bytes_before),
        }

    def __call__(self, case: Case) -> Tensor:
        """The mean loss."""
        return nearest_cross_entropy(
            case.pixels,
            _classes(case),
            case.targets,
            get_distance(case.distance),
            k=case.k,
            search=lambda pixels, own: self._index.search(pixels, case.k, own),
        ).mean()

    def neighbours(self, case: Case) -> Tensor:
        """What the index finds (N, k): the loss is checked against the softmax over these."""
        with torch.no_grad():
            pixels = get_distance(case.distance).embed(case.pixels)
        return self._index.search(pixels, case.k, case.targets)


METHODS: dict[str, Method] = {
    "dense": Method(lambda _: _dense, ("euclidean", "linear"), dense=True),
    "torch": Method(lambda _: _torch),
    "cut-cross-entropy": Method(_cut_cross_entropy, bias=False),
    "liger": Method(_liger),
    "reference": Method(lambda _: _reference, ("euclidean",), "reference", dense=True),
    "nearest": Method(lambda _: _nearest, tuple(DISTANCES), "nearest", ours=True),
    "nearest-index": Method(IndexedLoss, tuple(DISTANCES), "given", ours=True),
    "streaming": Method(lambda _: _streaming, tuple(DISTANCES), ours=True),
}
"""Name in ``--methods`` -> how it is called."""

_EXTRAS = {
    "cut-cross-entropy": ("cut_cross_entropy", "bench"),
    "liger": ("liger_kernel", "bench"),
    "nearest-index": ("faiss", "index"),
}


def get_method(name: str) -> Method:
    """Looks a method up.

    Raises:
        ConfigError: The name is unknown; the message lists the known ones.
    """
    if name not in METHODS:
        raise ConfigError(f"--methods: choose from {', '.join(METHODS)}, got {name!r}")
    return METHODS[name]


def missing(name: str, device: str) -> str:
    """Why a method cannot run here, in a few words; empty where it can."""
    if name == "torch" and not hasattr(functional, "linear_cross_entropy"):
        return f"torch {torch.__version__} has no linear_cross_entropy, 2.13 and later have"
    if name == "liger" and device != "cuda":
        return "Liger's kernels need a GPU"
    if name in _EXTRAS and find_spec(_EXTRAS[name][0]) is None:
        return f"not installed; pip install 'segmentation-workbench[{_EXTRAS[name][1]}]'"
    return ""
