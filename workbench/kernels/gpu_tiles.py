"""What the Triton kernels share: loading vectors, and logits of a tile of products.

A tile is a block of pixels (rows) against a chunk of classes (columns); no tile of scores ever
leaves the chip. Vectors are D long in memory and padded with zeros to a power of two in
registers. Logits are kept in base 2, ``z = logit / ln 2``, the base of the hardware's
exponential. Row numbers are 32-bit, their products with D 64-bit.

Needs Triton; :mod:`workbench.kernels.gpu` imports it, and the kernels, when it first runs.
"""

# Triton has no types, and annotations inside a kernel mean something to its compiler.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import os

import triton
import triton.language as tl

from workbench.kernels import terms

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")

EUCLIDEAN = tl.constexpr(terms.EUCLIDEAN)
SQUARED = tl.constexpr(terms.SQUARED)

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)
INFINITY = tl.constexpr(float("inf"))
LOWEST = tl.constexpr(-1e30)  # stands for "nothing yet": unlike -inf it can be subtracted
_SMALLEST_SQUARE = tl.constexpr(1e-6)  # of a distance; below it fp32 products are rounding noise


@triton.jit
def _places(row, DIM: tl.constexpr, WIDTH: tl.constexpr):
    return row.to(tl.int64)[:, None] * DIM + tl.arange(0, WIDTH)[None, :]


@triton.jit
def _within(live, DIM: tl.constexpr, WIDTH: tl.constexpr):
    return live[:, None] & (tl.arange(0, WIDTH) < DIM)[None, :]


@triton.jit
def load_vectors(base, row, live, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """The live rows of a (..., DIM) matrix as fp32 (rows, WIDTH), zeros elsewhere."""
    inside = _within(live, DIM, WIDTH)
    return tl.load(base + _places(row, DIM, WIDTH), mask=inside, other=0.0).to(tl.float32)


@triton.jit
def store_vectors(base, row, live, values, DIM: tl.constexpr, WIDTH: tl.constexpr):
    """The reverse."""
    tl.store(base + _places(row, DIM, WIDTH), values, mask=_within(live, DIM, WIDTH))


@triton.jit
def raw_logits(product, KIND: tl.constexpr):
    """Raw logits of products and their slopes: 0 where points coincide, with no direction."""
    if KIND == EUCLIDEAN:
        square = tl.maximum(2.0 - 2.0 * product, _SMALLEST_SQUARE)
        inverse = tl.rsqrt(square)
        raw = -square * inverse
        slope = tl.where(square > _SMALLEST_SQUARE, inverse, 0.0)
    elif KIND == SQUARED:
        raw = 2.0 * product - 2.0
        slope = 2.0
    else:
        raw = product
        slope = 1.0
    return raw, slope


@triton.jit
def _cut(values, BITS: tl.constexpr):
    """Fp32 numbers without their last bits: 13 of them leave tf32, 16 leave bf16."""
    return (values.to(tl.int32, bitcast=True) & (-1 << BITS)).to(tl.float32, bitcast=True)


@triton.jit
def _rounded(values, BITS: tl.constexpr):
    """The same to nearest: what is left over is smaller, and of either sign."""
    bits = values.to(tl.int32, bitcast=True) + (1 << (BITS - 1))
    return (bits & (-1 << BITS)).to(tl.float32, bitcast=True)


@triton.jit
def _bf16(values):
    rounded = values.to(tl.bfloat16)
    # The interpreter multiplies the bits of bf16 numbers as if they were integers.
    if INTERPRETED:
        rounded = rounded.to(tl.float32)
    return rounded


@triton.jit
def products(a, b, SPLIT: tl.constexpr):
    """``a @ b.T`` to fp32 accuracy: an error of 2**-20 times both lengths at worst.

    What came from bf16 (SPLIT false) is exact in one tf32 product. Fp32 is split in an upper
    and a lower half of 11 bits or more; of the four products, the one of the lower halves is
    left out.
    """
    if SPLIT:
        a_upper, b_upper = _rounded(a, 13), _rounded(b, 13)
        result = tl.dot(a - a_upper, tl.trans(b_upper), input_precision="tf32")
        result = tl.dot(a_upper, tl.trans(b - b_upper), result, input_precision="tf32")
        result = tl.dot(a_upper, tl.trans(b_upper), result, input_precision="tf32")
    else:
        result = tl.dot(a, tl.trans(b), input_precision="tf32")
    return result


@triton.jit
def add_combinations(a, b, result, SPLIT: tl.constexpr):
    """``result + a @ b`` from 16 bits of a and b: an error of 2**-15 of each term at worst.

    In bf16 the result of a product goes into the next without a change of layout between
    threads. In tf32 it does not, which costs more than all the arithmetic of short vectors.
    """
    a_upper, b_upper = _cut(a, 16), _rounded(b, 16)
    result = tl.dot(_bf16(a - a_upper), _bf16(b_upper), result)
    if SPLIT:
        result = tl.dot(_bf16(a_upper), _bf16(b - b_upper), result)
    return tl.dot(_bf16(a_upper), _bf16(b_upper), result)


@triton.jit
def load_shift(offset, column, classes, HAS_OFFSET: tl.constexpr):
    """Offsets in base 2; -inf beyond the last class takes it out of every softmax."""
    if HAS_OFFSET:
        shift = tl.load(offset + column, mask=column < classes, other=-INFINITY) * LOG2_E
    else:
        shift = tl.where(column < classes, 0.0, -INFINITY)
    return shift
