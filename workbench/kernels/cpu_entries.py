"""The kernels as C functions: pointers and sizes instead of arrays.

Only :mod:`workbench.kernels.cpu_build` imports this; it compiles what ``ENTRIES`` lists.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN202, E501

from __future__ import annotations

from numba import carray

from workbench.kernels.cpu_library import LANES
from workbench.kernels.cpu_loops import (
    contrast_rows,
    gradient_range,
    scatter_range,
    search_rows,
    stream_rows,
    sum_range,
)


def _stream_rows(
    x, rows, dim, count, wt, classes, offset, smooth, smoothed, hard, share, targets, temperature,
    kind, start, stop, dx, dwt, doffset, offsets, losses, moments, s, g, x4, dx4, factors,
):  # fmt: skip
    stream_rows(
        carray(x, (rows, dim)), count, carray(wt, (dim, classes)), carray(offset, (classes,)),
        carray(smooth, (smoothed,)), carray(hard, (rows,)), share, carray(targets, (rows,)),
        temperature, kind, start, stop, carray(dx, (rows, dim)), carray(dwt, (dim, classes)),
        carray(doffset, (offsets,)), carray(losses, (rows,)), carray(moments, (rows,)),
        carray(s, (4, classes)), carray(g, (4, classes)), carray(x4, (4, dim)),
        carray(dx4, (4, dim)), carray(factors, (4,)),
    )  # fmt: skip


def _sum_range(
    x, rows, dim, wt, classes, offset, temperature, kind, left, right, width, tops, totals, s, logits,
):  # fmt: skip
    sum_range(
        carray(x, (rows, dim)), carray(wt, (dim, classes)), carray(offset, (classes,)),
        temperature, kind, left, right, width, carray(tops, (rows,)), carray(totals, (rows,)),
        carray(s, (4, width)), carray(logits, (width,)),
    )  # fmt: skip


def _gradient_range(
    x, rows, dim, count, wt, classes, offset, smooth, smoothed, hard, share, targets, log_sums,
    temperature, kind, left, right, width, dx, dwt, doffset, offsets, losses, moments, s, g, x4,
    dx4, factors,
):  # fmt: skip
    gradient_range(
        carray(x, (rows, dim)), count, carray(wt, (dim, classes)), carray(offset, (classes,)),
        carray(smooth, (smoothed,)), carray(hard, (rows,)), share, carray(targets, (rows,)),
        carray(log_sums, (rows,)), temperature, kind, left, right, width, carray(dx, (rows, dim)),
        carray(dwt, (dim, classes)), carray(doffset, (offsets,)), carray(losses, (rows,)),
        carray(moments, (rows,)), carray(s, (4, width)), carray(g, (4, width)),
        carray(x4, (4, dim)), carray(dx4, (4, dim)), carray(factors, (4,)),
    )  # fmt: skip


def _search_rows(
    x, rows, dim, wt, classes, offset, offsets, exclude, excluded, start, stop, width, ids, scores, k,
    s, peaks, high,
):  # fmt: skip
    search_rows(
        carray(x, (rows, dim)), carray(wt, (dim, classes)), carray(offset, (offsets,)),
        carray(exclude, (excluded,)), start, stop, width, carray(ids, (rows, k)),
        carray(scores, (rows, k)), carray(s, (4, width)), carray(peaks, (LANES,)),
        carray(high, (k,)),
    )  # fmt: skip


def _contrast_rows(
    x, rows, dim, w, classes, offset, members, k, hard, temperature, kind, start, stop, dx, slopes,
    losses, moments, raw, logits,
):  # fmt: skip
    contrast_rows(
        carray(x, (rows, dim)), carray(w, (classes, dim)), carray(offset, (classes,)),
        carray(members, (rows, k)), carray(hard, (rows,)), temperature, kind, start, stop,
        carray(dx, (rows, dim)), carray(slopes, (rows, k)), carray(losses, (rows,)),
        carray(moments, (rows,)), carray(raw, (k,)), carray(logits, (k,)),
    )  # fmt: skip


def _scatter_range(
    x, rows, dim, w, classes, members, k, slopes, temperature, kind, left, right, dw, doffset, offsets,
):  # fmt: skip
    scatter_range(
        carray(x, (rows, dim)), carray(w, (classes, dim)), carray(members, (rows, k)),
        carray(slopes, (rows, k)), temperature, kind, left, right, carray(dw, (classes, dim)),
        carray(doffset, (offsets,)),
    )  # fmt: skip


ENTRIES = {
    "stream_rows": _stream_rows,
    "sum_range": _sum_range,
    "gradient_range": _gradient_range,
    "search_rows": _search_rows,
    "contrast_rows": _contrast_rows,
    "scatter_range": _scatter_range,
}
