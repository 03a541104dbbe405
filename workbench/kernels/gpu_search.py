"""The Triton kernel that fuses the search with its top-k: scores never leave the chip.

Arguments: ``pixels`` (N, D), ``weight`` (C, D), ``offset`` (C,) if HAS_OFFSET, ``exclude`` (N,)
int64 if HAS_EXCLUDE, ``count`` = N, ``classes`` = C; ``per_split`` is the number of classes that
a split goes through, a multiple of COLUMNS. Out: ``ids`` (N, splits, K) int32 and ``scores``
(N, splits, K) in no order; -1 and -inf where a split has fewer than K classes to offer.
"""

# Triton has no types, and annotations inside a kernel mean something to its compiler.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.gpu_tiles import INFINITY, LOWEST, load_vectors, products


@triton.jit(do_not_specialize=["count"])
def search_classes(
    pixels, weight, offset, exclude, ids, scores, count, classes, per_split,
    K: tl.constexpr, DIM: tl.constexpr, HAS_OFFSET: tl.constexpr, HAS_EXCLUDE: tl.constexpr,
    SPLIT: tl.constexpr, WIDTH: tl.constexpr, SLOTS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A block of pixels over its share of the classes; grid (blocks of pixels, splits).

    The best K are kept in registers, in no order. A tile's largest score replaces the worst
    that is kept as long as that improves any row: rarely, after the first few tiles.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < count
    x = load_vectors(pixels, row, live, DIM, WIDTH)
    if HAS_EXCLUDE:
        excluded = tl.load(exclude + row, mask=live, other=-1).to(tl.int32)
    slot = tl.arange(0, SLOTS)[None, :]
    # A slot beyond K is never the worst.
    best = tl.where(slot < K, -INFINITY, INFINITY) + tl.zeros([ROWS, SLOTS], tl.float32)
    found = tl.full([ROWS, SLOTS], -1, tl.int32)
    worst, place = tl.min(best, axis=1, return_indices=True)
    first = tl.program_id(1) * per_split
    for left in range(first, tl.minimum(first + per_split, classes), COLUMNS):
        column = left + tl.arange(0, COLUMNS)
        e = load_vectors(weight, column, column < classes, DIM, WIDTH)
        score = products(x, e, SPLIT)
        if HAS_OFFSET:
            # A class at -inf is still a class, unlike none.
            shift = tl.load(offset + column, mask=column < classes, other=0.0)
            score += tl.maximum(shift, LOWEST)[None, :]
        score = tl.where((column < classes)[None, :], score, -INFINITY)
        if HAS_EXCLUDE:
            score = tl.where(column[None, :] == excluded[:, None], -INFINITY, score)
        value, index = tl.max(score, axis=1, return_indices=True)
        while tl.max((value > worst).to(tl.int32), axis=0) > 0:
            put = (slot == place[:, None]) & (value > worst)[:, None]
            best = tl.where(put, value[:, None], best)
            found = tl.where(put, (left + index)[:, None], found)
            worst, place = tl.min(best, axis=1, return_indices=True)
            if K == 1:
                value = tl.full([ROWS], -INFINITY, tl.float32)  # a second would not be better
            else:
                taken = tl.arange(0, COLUMNS)[None, :] == index[:, None]
                score = tl.where(taken, -INFINITY, score)
                value, index = tl.max(score, axis=1, return_indices=True)
    at = (row.to(tl.int64) * tl.num_programs(1) + tl.program_id(1))[:, None] * K + slot
    kept = live[:, None] & (slot < K)
    tl.store(ids + at, found, mask=kept)
    tl.store(scores + at, best, mask=kept)
