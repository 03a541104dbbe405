"""The Triton kernels of the exact cross-entropy: two sweeps over all pairs, sums in fixed order.

``sweep_classes`` gives log-sum-exp and the gradient by the pixels in one sweep, as flash
attention gives its output: relative to the running maximum. ``finish_pixels`` joins parts and
adds the target's own term. ``sweep_pixels`` recomputes the probabilities and gives the
gradients by the classes. Per pair that is one exponential (and one inverse square root for
the Euclidean distance) and two products of length D in each sweep. Every program owns what it
writes and parts are added in one order, so results do not depend on timing.

Arguments: ``pixels`` (N, D), ``weight`` (C, D), ``offset`` (C,) if HAS_OFFSET, ``smooth`` (C,)
if HAS_SMOOTH, ``targets`` (N,) int64, ``hard`` (N,), scalars ``temperature`` and
``smooth_sum`` in memory, ``count`` = N, ``classes`` = C; ``per_split`` is the number of
classes or pixels that a split goes through, a multiple of the block. Buffers between kernels:

- ``by_pixels`` (splits, N, D): sum of ``2**(z - top) * slope * e_c`` over all but the target;
  ``finish_pixels`` overwrites the first part with the gradient.
- ``even_by_pixels`` (splits, N, D) if HAS_SMOOTH: sum of ``smooth_c * slope * e_c``.
- ``statistics`` (splits, 5, N): top, sum of ``2**(z - top)``, the same times raw, product with
  the target, sum of ``smooth_c * raw``.
- ``levels`` (N,): ``2**(z - level)`` is the probability times (hard + smooth_sum).
"""

# Triton has no types, and annotations inside a kernel mean something to its compiler.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

from __future__ import annotations

import triton
import triton.language as tl

from workbench.kernels.gpu_tiles import (
    INFINITY,
    LN_2,
    LOG2_E,
    LOWEST,
    add_combinations,
    load_shift,
    load_vectors,
    products,
    raw_logits,
    store_vectors,
)


@triton.jit(do_not_specialize=["count"])
def sweep_classes(
    pixels, weight, offset, smooth, targets, temperature,
    by_pixels, even_by_pixels, statistics, count, classes, per_split,
    DIM: tl.constexpr, KIND: tl.constexpr, HAS_OFFSET: tl.constexpr, HAS_SMOOTH: tl.constexpr,
    SPLIT: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A block of pixels over its share of the classes; grid (blocks of pixels, splits).

    The target is left out of the gradient: its term nearly cancels against the label's, and
    `finish_pixels` adds both in one piece.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < count
    x = load_vectors(pixels, row, live, DIM, WIDTH)
    target = tl.load(targets + row, mask=live, other=-1).to(tl.int32)
    scale = tl.load(temperature) * LOG2_E
    top = tl.full([ROWS], LOWEST, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    moment = tl.zeros([ROWS], tl.float32)
    own = tl.zeros([ROWS], tl.float32)
    even = tl.zeros([ROWS], tl.float32)
    gradient = tl.zeros([ROWS, WIDTH], tl.float32)
    if HAS_SMOOTH:
        even_gradient = tl.zeros([ROWS, WIDTH], tl.float32)
    first = tl.program_id(1) * per_split
    for left in range(first, tl.minimum(first + per_split, classes), COLUMNS):
        column = left + tl.arange(0, COLUMNS)
        e = load_vectors(weight, column, column < classes, DIM, WIDTH)
        product = products(x, e, SPLIT)
        raw, slope = raw_logits(product, KIND)
        z = raw * scale + load_shift(offset, column, classes, HAS_OFFSET)[None, :]
        higher = tl.maximum(top, tl.max(z, axis=1))
        keep = tl.exp2(top - higher)
        power = tl.exp2(z - higher[:, None])
        top = higher
        total = total * keep + tl.sum(power, axis=1)
        moment = moment * keep + tl.sum(power * raw, axis=1)
        hit = column[None, :] == target[:, None]
        own += tl.sum(tl.where(hit, product, 0.0), axis=1)
        others = tl.where(hit, 0.0, power * slope)
        gradient = add_combinations(others, e, gradient * keep[:, None], SPLIT)
        if HAS_SMOOTH:
            share = tl.load(smooth + column, mask=column < classes, other=0.0)[None, :]
            even += tl.sum(share * raw, axis=1)
            steep = share * (slope + tl.zeros_like(product))
            even_gradient = add_combinations(steep, e, even_gradient, SPLIT)
    step = count.to(tl.int64)
    part = step * tl.program_id(1)
    store_vectors(by_pixels + part * DIM, row, live, gradient, DIM, WIDTH)
    if HAS_SMOOTH:
        store_vectors(even_by_pixels + part * DIM, row, live, even_gradient, DIM, WIDTH)
    at = statistics + part * 5 + row
    tl.store(at, top, mask=live)
    tl.store(at + step, total, mask=live)
    tl.store(at + step * 2, moment, mask=live)
    tl.store(at + step * 3, own, mask=live)
    tl.store(at + step * 4, even, mask=live)


@triton.jit(do_not_specialize=["count", "splits"])
def finish_pixels(
    weight, offset, targets, hard, smooth_sum, temperature,
    by_pixels, even_by_pixels, statistics, levels, losses, by_temperature, count, splits,
    DIM: tl.constexpr, KIND: tl.constexpr, HAS_OFFSET: tl.constexpr, HAS_SMOOTH: tl.constexpr,
    WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Joins the splits of `sweep_classes` and adds the target's term; grid (blocks of pixels,).

    ``losses`` and ``by_temperature`` (N,) are written; the losses lack the constant
    ``sum_c smooth_c * offset_c``.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < count
    step = count.to(tl.int64)
    top = tl.full([ROWS], LOWEST, tl.float32)
    for split in range(splits):
        peak = tl.load(statistics + step * split * 5 + row, mask=live, other=0.0)
        top = tl.maximum(top, peak)
    total = tl.zeros([ROWS], tl.float32)
    moment = tl.zeros([ROWS], tl.float32)
    own = tl.zeros([ROWS], tl.float32)
    even = tl.zeros([ROWS], tl.float32)
    gradient = tl.zeros([ROWS, WIDTH], tl.float32)
    even_gradient = tl.zeros([ROWS, WIDTH], tl.float32)
    for split in range(splits):
        part = step * split
        at = statistics + part * 5 + row
        keep = tl.exp2(tl.load(at, mask=live, other=0.0) - top)
        total += keep * tl.load(at + step, mask=live, other=1.0)
        moment += keep * tl.load(at + step * 2, mask=live, other=0.0)
        own += tl.load(at + step * 3, mask=live, other=0.0)
        even += tl.load(at + step * 4, mask=live, other=0.0)
        gradient += keep[:, None] * load_vectors(by_pixels + part * DIM, row, live, DIM, WIDTH)
        if HAS_SMOOTH:
            even_gradient += load_vectors(even_by_pixels + part * DIM, row, live, DIM, WIDTH)
    t = tl.load(temperature)
    target = tl.load(targets + row, mask=live, other=0).to(tl.int32)
    certain = tl.load(hard + row, mask=live, other=0.0)
    share = certain + tl.load(smooth_sum)
    raw, slope = raw_logits(own, KIND)
    z = raw * (t * LOG2_E)
    if HAS_OFFSET:
        z += tl.load(offset + target, mask=live, other=0.0) * LOG2_E
    level = top + tl.log2(total)
    change = (share * tl.exp2(z - level) - certain) * slope  # by the product with the target
    own_vector = load_vectors(weight, target, live, DIM, WIDTH)
    gradient = (share / total)[:, None] * gradient + change[:, None] * own_vector - even_gradient
    store_vectors(by_pixels, row, live, t * gradient, DIM, WIDTH)
    # The maximum keeps log2 from 0; a weight that small counts as 0 anyway.
    reduced = tl.where(share > 0.0, level - tl.log2(tl.maximum(share, 1e-37)), INFINITY)
    tl.store(levels + row, reduced, mask=live)
    tl.store(losses + row, (share * level - certain * z) * LN_2 - t * even, mask=live)
    tl.store(by_temperature + row, share * moment / total - certain * raw - even, mask=live)


@triton.jit(do_not_specialize=["count", "per_split"])
def sweep_pixels(
    pixels, weight, offset, smooth, targets, hard, levels, temperature,
    by_weight, by_offset, count, classes, per_split,
    DIM: tl.constexpr, KIND: tl.constexpr, HAS_OFFSET: tl.constexpr, HAS_SMOOTH: tl.constexpr,
    WANT_OFFSET: tl.constexpr, SPLIT: tl.constexpr,
    WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A chunk of classes over its share of the pixels; grid (chunks of classes, splits).

    Writes ``by_weight`` (splits, C, D) and, if WANT_OFFSET, ``by_offset`` (splits, C) without
    what smoothing takes off, the constant ``N * smooth_c``.
    """
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    known = column < classes
    e = load_vectors(weight, column, known, DIM, WIDTH)
    t = tl.load(temperature)
    scale = t * LOG2_E
    shift = load_shift(offset, column, classes, HAS_OFFSET)
    if HAS_SMOOTH:
        share = tl.load(smooth + column, mask=known, other=0.0)
    gradient = tl.zeros([COLUMNS, WIDTH], tl.float32)
    offset_sum = tl.zeros([COLUMNS], tl.float32)
    first = tl.program_id(1) * per_split
    for above in range(first, tl.minimum(first + per_split, count), ROWS):
        row = above + tl.arange(0, ROWS)
        live = row < count
        x = load_vectors(pixels, row, live, DIM, WIDTH)
        target = tl.load(targets + row, mask=live, other=-1).to(tl.int32)
        certain = tl.load(hard + row, mask=live, other=0.0)
        level = tl.load(levels + row, mask=live, other=INFINITY)
        raw, slope = raw_logits(products(e, x, SPLIT), KIND)
        change = tl.exp2(raw * scale + shift[:, None] - level[None, :])
        hit = column[:, None] == target[None, :]
        change = tl.where(hit, change - certain[None, :], change)
        if WANT_OFFSET:
            offset_sum += tl.sum(change, axis=1)
        if HAS_SMOOTH:
            change -= share[:, None]
        gradient = add_combinations(change * slope, x, gradient, SPLIT)
    part = tl.program_id(1).to(tl.int64) * classes
    store_vectors(by_weight + part * DIM, column, known, t * gradient, DIM, WIDTH)
    if WANT_OFFSET:
        tl.store(by_offset + part + column, offset_sum, mask=known)
