"""Losses and search on a CPU: compiled loops (see ``cpu_loops``), split over threads.

Threads are plain Python threads over kernels that release the interpreter lock: any number of
callers may be in them at once, as the sessions of the app are.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.kernels.cpu_library import LANES, Kernel, load
from workbench.kernels.terms import LossGradients

Array = npt.NDArray[np.float32]

WIDEST: Final = 8192
"""Classes up to which a row of all logits fits the caches, so that one pass suffices."""
_WIDTH: Final = 2048  # classes of a tile beyond that
_BLOCK: Final = 16_384  # pixels whose running sums stay near while the table goes by


def stream(
    pixels: Tensor,
    weight: Tensor,
    offset: Tensor | None,
    targets: Tensor,
    *,
    hard: Tensor,
    smooth: Tensor | None,
    temperature: Tensor,
    kind: int,
    want_offset: bool,
    budget: int,
) -> LossGradients:
    """See :func:`workbench.kernels.stream`; fp32.

    Up to ``WIDEST`` classes threads share out the pixels, and each adds to a gradient of the
    table of its own. Beyond, threads share out the classes: first for the log-sum-exps, then
    for the gradients, where the logits are computed once more.
    """
    count, dim = pixels.shape
    classes = len(weight)
    threads = _threads(count * classes)
    problem = _Problem(pixels, weight, offset, targets, hard, smooth, float(temperature), kind)
    tables = threads if classes <= WIDEST else 1
    dwt = np.zeros((tables, problem.wt.shape[0], classes), np.float32)
    doffset = np.zeros((tables, classes if want_offset else 0), np.float32)
    if classes <= WIDEST:
        dx, losses, moments = problem.by_pixels(threads, dwt, doffset)
    else:
        dx, losses, moments = problem.by_classes(threads, budget, dwt[0], doffset[0])
    table = dwt[0] if tables == 1 else dwt.sum(axis=0)
    return LossGradients(
        _scalar(losses[:count]),
        torch.from_numpy(dx)[:count, :dim],
        torch.from_numpy(table).T[:, :dim].contiguous(),
        torch.from_numpy(doffset.sum(axis=0)) if want_offset else None,
        _scalar(moments[:count]),
    )


class _Problem:
    """The arrays a kernel takes, padded to whole tiles; padding pixels have no weight."""

    def __init__(
        self,
        pixels: Tensor,
        weight: Tensor,
        offset: Tensor | None,
        targets: Tensor,
        hard: Tensor,
        smooth: Tensor | None,
        temperature: float,
        kind: int,
    ) -> None:
        self.count = len(pixels)
        rows = -self.count % 4
        self.x = padded(pixels)
        self.wt = transposed(weight)
        self.offset = _vector(offset, len(weight))
        self.smooth = np.empty(0, np.float32) if smooth is None else _array(smooth)
        self.hard = np.pad(_array(hard), (0, rows))
        self.share = np.float32(self.smooth.sum(dtype=np.float64))
        self.targets = np.pad(targets.numpy(), (0, rows))
        self.temperature = np.float32(temperature)
        self.kind = kind

    def by_pixels(self, threads: int, dwt: Array, doffset: Array) -> tuple[Array, Array, Array]:
        """Each thread takes pixels; ``dwt`` (threads, D, C) and ``doffset`` are per thread."""
        dx = np.zeros_like(self.x)
        losses, moments = np.empty((2, len(self.x)), np.float32)

        def work(thread: int, start: int, stop: int) -> None:
            _kernel("stream_rows")(
                *(self.x, *self.x.shape, self.count, self.wt, self.wt.shape[1], self.offset),
                *(self.smooth, len(self.smooth), self.hard, self.share, self.targets),
                *(self.temperature, self.kind, start, stop, dx, dwt[thread]),
                *(doffset[thread], doffset.shape[1], losses, moments),
                *_buffers(dx.shape[1], self.wt.shape[1]),
            )

        _share_out(work, len(self.x), threads, step=4)
        return dx, losses, moments

    def by_classes(
        self, threads: int, budget: int, dwt: Array, doffset: Array
    ) -> tuple[Array, Array, Array]:
        """Each thread takes classes, for a block of pixels at a time."""
        dim, classes = self.wt.shape
        dx = np.zeros_like(self.x)
        losses, moments = np.zeros((2, len(self.x)), np.float32)
        # Per pixel and thread: a gradient, four running numbers.
        rows = max(4, min(_BLOCK, budget // (4 * threads * (dim + 4))) // 4 * 4)
        for top in range(0, len(self.x), rows):
            block = slice(top, min(top + rows, len(self.x)))
            x, hard, targets = self.x[block], self.hard[block], self.targets[block]
            whole = min(self.count - top, len(x))
            tops = np.full((threads, len(x)), -3e38, np.float32)
            totals = np.zeros((threads, len(x)), np.float32)

            def add_up(thread: int, left: int, right: int) -> None:
                _kernel("sum_range")(
                    *(x, *x.shape, self.wt, classes, self.offset),  # noqa: B023
                    *(self.temperature, self.kind, left, right, _WIDTH),
                    *(tops[thread], totals[thread]),  # noqa: B023
                    *(np.empty((4, _WIDTH), np.float32), np.empty(_WIDTH, np.float32)),
                )

            _share_out(add_up, classes, threads)
            highest = tops.max(axis=0)
            log_sums = highest + np.log((totals * np.exp(tops - highest)).sum(axis=0))
            parts = np.zeros((threads, *x.shape), np.float32)
            off, moved = np.zeros((2, threads, len(x)), np.float32)

            def derive(thread: int, left: int, right: int) -> None:
                _kernel("gradient_range")(
                    *(x, *x.shape, whole, self.wt, classes, self.offset),  # noqa: B023
                    *(self.smooth, len(self.smooth), hard, self.share, targets),  # noqa: B023
                    *(log_sums, self.temperature, self.kind, left, right, _WIDTH),  # noqa: B023
                    *(parts[thread], dwt, doffset, len(doffset), off[thread], moved[thread]),  # noqa: B023
                    *_buffers(dim, _WIDTH),
                )

            _share_out(derive, classes, threads)
            dx[block] = parts.sum(axis=0)
            losses[block] = (hard + self.share) * log_sums + off.sum(axis=0)
            moments[block] = moved.sum(axis=0)
        return dx, losses, moments


def search(
    pixels: Tensor,
    weight: Tensor,
    k: int,
    *,
    offset: Tensor | None,
    exclude: Tensor | None,
    budget: int,
) -> tuple[Tensor, Tensor]:
    """See :func:`workbench.kernels.search`; fp32. The working memory is a few rows."""
    del budget
    count, classes = len(pixels), len(weight)
    x, wt = padded(pixels), transposed(weight)
    shift = np.empty(0, np.float32) if offset is None else _array(offset)
    skip = np.empty(0, np.int64)
    if exclude is not None:
        skip = np.pad(exclude.numpy(), (0, len(x) - count))
    ids = np.empty((len(x), k), np.int64)
    scores = np.empty((len(x), k), np.float32)
    width = classes if classes <= WIDEST else _WIDTH

    def work(thread: int, start: int, stop: int) -> None:
        del thread
        # A block of rows at a time, so that its best stay near while the table goes by.
        for top in range(start, stop, _BLOCK):
            last = min(top + _BLOCK, stop)
            _kernel("search_rows")(
                *(x, *x.shape, wt, classes, shift, len(shift), skip, len(skip)),
                *(top, last, width, ids, scores, k, np.empty((4, width), np.float32)),
                *(np.empty(LANES, np.float32), np.empty(k, np.float32)),
            )

    _share_out(work, len(x), _threads(count * classes), step=4)
    return torch.from_numpy(ids)[:count], torch.from_numpy(scores)[:count]


def contrast(
    pixels: Tensor,
    weight: Tensor,
    offset: Tensor | None,
    members: Tensor,
    *,
    hard: Tensor,
    temperature: Tensor,
    kind: int,
    want_offset: bool,
) -> LossGradients:
    """See :func:`workbench.kernels.contrast`; fp32."""
    x, w, ids = _array(pixels), _array(weight), np.ascontiguousarray(members.numpy())
    classes, scale = len(w), np.float32(float(temperature))
    shift = _vector(offset, classes)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    doffset = np.zeros(classes if want_offset else 0, np.float32)
    slopes = np.empty(ids.shape, np.float32)
    losses, moments = np.empty((2, len(x)), np.float32)
    weights = _array(hard)
    threads = _threads(64 * ids.size)

    def by_pixels(thread: int, start: int, stop: int) -> None:
        del thread
        members = ids.shape[1]
        _kernel("contrast_rows")(
            *(x, *x.shape, w, classes, shift, ids, members, weights, scale, kind, start, stop),
            *(dx, slopes, losses, moments, *np.empty((2, members), np.float32)),
        )

    def by_classes(thread: int, left: int, right: int) -> None:
        del thread
        _kernel("scatter_range")(
            *(x, *x.shape, w, classes, ids, ids.shape[1], slopes, scale, kind, left, right),
            *(dw, doffset, len(doffset)),
        )

    _share_out(by_pixels, len(x), threads)
    _share_out(by_classes, classes, threads)
    return LossGradients(
        _scalar(losses),
        torch.from_numpy(dx),
        torch.from_numpy(dw),
        torch.from_numpy(doffset) if want_offset else None,
        _scalar(moments),
    )


def available() -> bool:
    """Whether the compiled kernels are there; the first call on a machine compiles them."""
    return load() is not None


def _kernel(name: str) -> Kernel:
    kernels = load()
    if kernels is None:
        raise RuntimeError("the compiled CPU kernels are not available")
    return kernels[name]


def _buffers(dim: int, width: int) -> tuple[Array, Array, Array, Array, Array]:
    """What ``stream_rows`` and ``gradient_range`` work in, one set per thread."""
    s, g = np.empty((2, 4, width), np.float32)
    x4, dx4 = np.empty((2, 4, dim), np.float32)
    return s, g, x4, dx4, np.empty(4, np.float32)


def padded(pixels: Tensor) -> Array:
    """(N, D) with zeros up to multiples of 4."""
    count, dim = pixels.shape
    if count % 4 == 0 and dim % 4 == 0:
        return _array(pixels)
    full = np.zeros((count + -count % 4, dim + -dim % 4), np.float32)
    full[:count, :dim] = pixels.numpy()
    return full


def transposed(weight: Tensor) -> Array:
    """(C, D) as (D, C), with zeros up to a multiple of 4 of D."""
    classes, dim = weight.shape
    full = np.zeros((dim + -dim % 4, classes), np.float32)
    full[:dim] = weight.numpy().T
    return full


def _array(tensor: Tensor) -> Array:
    return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)


def _vector(tensor: Tensor | None, length: int) -> Array:
    return np.zeros(length, np.float32) if tensor is None else _array(tensor)


def _scalar(values: Array) -> Tensor:
    return torch.tensor(values.sum(dtype=np.float64), dtype=torch.float32)


def _threads(work: int) -> int:
    """As many as torch uses; one for what is done before a thread has started."""
    return torch.get_num_threads() if work > 200_000 else 1


def _share_out(
    work: Callable[[int, int, int], Any], count: int, threads: int, step: int = 1
) -> None:
    """Calls ``work(thread, start, stop)`` on equal parts of ``range(count)``.

    Args:
        work: Releases the interpreter lock.
        count: Length of the range, a multiple of ``step``.
        threads: Parts.
        step: Parts begin at its multiples.
    """
    cuts = [count // step * part // threads * step for part in range(threads)] + [count]
    if threads == 1:
        work(0, 0, count)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work, part, cuts[part], cuts[part + 1]) for part in range(1, threads)]
        work(0, cuts[0], cuts[1])
        for other in others:
            other.result()
