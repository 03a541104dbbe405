"""Compiled loops of the CPU kernels, four pixels at a time.

Loops run over classes innermost, on the transposed table (D, C), which is what compilers turn
into vector instructions; four pixels share every class coordinate that is loaded. Scores stay
in buffers of four rows, in the first-level cache.

All functions here are compiled, release the interpreter lock and take contiguous float32
arrays; D is a multiple of 4.
"""

# Types are those of numba: annotations would only be read by people, and mypy cannot follow.
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from workbench.kernels.cpu_library import LANES
from workbench.kernels.terms import EUCLIDEAN, SQUARED

F = np.float32
LOWEST_SCORE = F(-3e38)
_SMALLEST_SQUARE = F(1e-6)  # of a distance; below it, float32 products are rounding noise
_TOUCHING = F(-1.00001e-3)  # raw logits above it are clamped: no direction, slope 0
_LOWEST = np.int32(-2147483648)

# Sums may be reassociated, else no loop that adds up could use vector registers. Nothing here
# relies on NaN; infinite scores are not made.
_FAST = {"nnan", "nsz", "arcp", "contract", "afn", "reassoc"}
OPTIONS: Final[dict[str, Any]] = {
    "fastmath": _FAST,
    "error_model": "numpy",
    "nogil": True,
}


@intrinsic
def _power_of_two(typingctx, exponent):
    """2**n of a whole float n in -126..127, by writing the exponent's bits."""

    def generate(context, builder, signature, arguments):
        i32 = ir.IntType(32)
        bits = builder.add(builder.fptosi(arguments[0], i32), ir.Constant(i32, 127))
        return builder.bitcast(builder.shl(bits, ir.Constant(i32, 23)), ir.FloatType())

    return types.float32(types.float32), generate


def _flipped(builder, bits):
    """Bits of a float <-> an int that orders like it."""
    i32 = ir.IntType(32)
    sign = builder.ashr(bits, ir.Constant(i32, 31))
    return builder.xor(bits, builder.and_(sign, ir.Constant(i32, 0x7FFFFFFF)))


@intrinsic
def to_ordered(typingctx, value):
    """An int32 that orders like the float: compilers vectorise a maximum of integers only."""

    def generate(context, builder, signature, arguments):
        return _flipped(builder, builder.bitcast(arguments[0], ir.IntType(32)))

    return types.int32(types.float32), generate


@intrinsic
def from_ordered(typingctx, bits):
    """The float of ``to_ordered``."""

    def generate(context, builder, signature, arguments):
        return builder.bitcast(_flipped(builder, arguments[0]), ir.FloatType())

    return types.float32(types.int32), generate


@njit(inline="always", **OPTIONS)
def _exp(value):
    """e**value for value <= 0, to 2 units in the last place; 0 below -60.

    math.exp would be one call per element. 2**f on [-0.5, 0.5] is a polynomial of degree 6
    (minimax). What is below e**-60 of the largest is 0: denormal numbers are slow.
    """
    power = max(value * F(1.4426950408889634), F(-125.0))
    whole = np.floor(power + F(0.5))
    f = power - whole
    p = F(1.5403530393381609e-4)
    p = p * f + F(1.3333558146428443e-3)
    p = p * f + F(9.6181291076284772e-3)
    p = p * f + F(5.5504108664821580e-2)
    p = p * f + F(2.4022650695910072e-1)
    p = p * f + F(6.9314718055994531e-1)
    p = p * f + F(1.0)
    return p * _power_of_two(whole) if power > F(-86.5) else F(0.0)


@njit(**OPTIONS)
def products(x, i, wt, left, width, s):
    """``s[r, c] = <x[i + r], wt[:, left + c]>`` for 4 rows."""
    s0, s1, s2, s3 = s[0], s[1], s[2], s[3]
    for d in range(0, x.shape[1], 4):
        w0 = wt[d, left : left + width]
        w1 = wt[d + 1, left : left + width]
        w2 = wt[d + 2, left : left + width]
        w3 = wt[d + 3, left : left + width]
        a0, a1, a2, a3 = x[i, d], x[i, d + 1], x[i, d + 2], x[i, d + 3]
        b0, b1, b2, b3 = x[i + 1, d], x[i + 1, d + 1], x[i + 1, d + 2], x[i + 1, d + 3]
        c0, c1, c2, c3 = x[i + 2, d], x[i + 2, d + 1], x[i + 2, d + 2], x[i + 2, d + 3]
        d0, d1, d2, d3 = x[i + 3, d], x[i + 3, d + 1], x[i + 3, d + 2], x[i + 3, d + 3]
        if d == 0:
            for c in range(width):
                p, q, u, v = w0[c], w1[c], w2[c], w3[c]
                s0[c] = a0 * p + a1 * q + a2 * u + a3 * v
                s1[c] = b0 * p + b1 * q + b2 * u + b3 * v
                s2[c] = c0 * p + c1 * q + c2 * u + c3 * v
                s3[c] = d0 * p + d1 * q + d2 * u + d3 * v
        else:
            for c in range(width):
                p, q, u, v = w0[c], w1[c], w2[c], w3[c]
                s0[c] += a0 * p + a1 * q + a2 * u + a3 * v
                s1[c] += b0 * p + b1 * q + b2 * u + b3 * v
                s2[c] += c0 * p + c1 * q + c2 * u + c3 * v
                s3[c] += d0 * p + d1 * q + d2 * u + d3 * v


@njit(**OPTIONS)
def to_raw(s, width, kind):
    """Products -> logits at temperature 1, in place."""
    for r in range(4):
        row = s[r]
        if kind == EUCLIDEAN:
            for c in range(width):
                row[c] = -np.sqrt(max(F(2.0) - F(2.0) * row[c], _SMALLEST_SQUARE))
        elif kind == SQUARED:
            for c in range(width):
                row[c] = F(2.0) * row[c] - F(2.0)


@njit(**OPTIONS)
def raw_of(product, kind):
    """The logit at temperature 1 of one product."""
    if kind == EUCLIDEAN:
        return -np.sqrt(max(F(2.0) - F(2.0) * product, _SMALLEST_SQUARE))
    return F(2.0) * product - F(2.0) if kind == SQUARED else product


@njit(**OPTIONS)
def slope(raw, kind):
    """Derivative of a raw logit by its product."""
    if kind == EUCLIDEAN:
        return F(-1.0) / raw if raw < _TOUCHING else F(0.0)
    return F(2.0) if kind == SQUARED else F(1.0)


@njit(**OPTIONS)
def to_logits(raw, logits, width, temperature, offset, left):
    """``logits = temperature * raw + offset``; returns the largest."""
    shift = offset[left : left + width]
    best = _LOWEST
    for c in range(width):
        value = temperature * raw[c] + shift[c]
        logits[c] = value
        best = max(best, to_ordered(value))
    return from_ordered(best)


@njit(**OPTIONS)
def exponentials(raw, logits, width, top, kind):
    """Replaces logits by ``exp(logit - top) * slope``.

    Returns:
        The sum of the exponentials, and of exponential times raw logit.
    """
    total, moment = F(0.0), F(0.0)
    if kind == EUCLIDEAN:
        for c in range(width):
            e = _exp(logits[c] - top)
            total += e
            moment += e * raw[c]
            logits[c] = -e / raw[c] if raw[c] < _TOUCHING else F(0.0)
    else:
        factor = F(2.0) if kind == SQUARED else F(1.0)
        for c in range(width):
            e = _exp(logits[c] - top)
            total += e
            moment += e * raw[c]
            logits[c] = e * factor
    return total, moment


@njit(**OPTIONS)
def sum_exponentials(raw, width, temperature, offset, left, top):
    """Sum of ``exp(logit - top)``."""
    shift = offset[left : left + width]
    total = F(0.0)
    for c in range(width):
        total += _exp(temperature * raw[c] + shift[c] - top)
    return total


@njit(**OPTIONS)
def smooth_sum(raw, width, temperature, offset, smooth, left):
    """``sum_c smooth_c * logit_c`` and ``sum_c smooth_c * raw_c``."""
    shift = offset[left : left + width]
    share = smooth[left : left + width]
    total, moment = F(0.0), F(0.0)
    for c in range(width):
        total += share[c] * (temperature * raw[c] + shift[c])
        moment += share[c] * raw[c]
    return total, moment


@njit(**OPTIONS)
def subtract_smooth(raw, g, width, factor, smooth, left, kind):
    """``g = factor * g - smooth * slope``, where smoothing takes a share from every class."""
    share = smooth[left : left + width]
    if kind == EUCLIDEAN:
        for c in range(width):
            steep = F(-1.0) / raw[c] if raw[c] < _TOUCHING else F(0.0)
            g[c] = factor * g[c] - share[c] * steep
    else:
        steep = F(2.0) if kind == SQUARED else F(1.0)
        for c in range(width):
            g[c] = factor * g[c] - share[c] * steep


@njit(**OPTIONS)
def gradients(x4, dx4, g, wt, dwt, left, width):
    """``dx4[r] += g[r] @ w.T`` and ``dwt += x4.T @ g`` over classes left..left+width."""
    g0, g1, g2, g3 = g[0], g[1], g[2], g[3]
    for d in range(0, x4.shape[1], 2):
        w0, w1 = wt[d, left : left + width], wt[d + 1, left : left + width]
        v0, v1 = dwt[d, left : left + width], dwt[d + 1, left : left + width]
        a0, a1 = x4[0, d], x4[0, d + 1]
        b0, b1 = x4[1, d], x4[1, d + 1]
        c0, c1 = x4[2, d], x4[2, d + 1]
        d0, d1 = x4[3, d], x4[3, d + 1]
        p0, p1 = F(0.0), F(0.0)
        q0, q1 = F(0.0), F(0.0)
        r0, r1 = F(0.0), F(0.0)
        t0, t1 = F(0.0), F(0.0)
        for c in range(width):
            u, v = w0[c], w1[c]
            h0, h1, h2, h3 = g0[c], g1[c], g2[c], g3[c]
            p0 += h0 * u
            p1 += h0 * v
            q0 += h1 * u
            q1 += h1 * v
            r0 += h2 * u
            r1 += h2 * v
            t0 += h3 * u
            t1 += h3 * v
            v0[c] += h0 * a0 + h1 * b0 + h2 * c0 + h3 * d0
            v1[c] += h0 * a1 + h1 * b1 + h2 * c1 + h3 * d1
        dx4[0, d] += p0
        dx4[0, d + 1] += p1
        dx4[1, d] += q0
        dx4[1, d + 1] += q1
        dx4[2, d] += r0
        dx4[2, d + 1] += r1
        dx4[3, d] += t0
        dx4[3, d + 1] += t1


@njit(**OPTIONS)
def add_columns(g, factors, doffset, left, width):
    """``doffset += sum_r factors[r] * g[r]``."""
    target = doffset[left : left + width]
    for r in range(4):
        row, factor = g[r], factors[r]
        for c in range(width):
            target[c] += factor * row[c]


@njit(**OPTIONS)
def _insert(value, index, best_scores, best_ids):
    place = len(best_scores) - 1
    while place > 0 and best_scores[place - 1] < value:
        best_scores[place] = best_scores[place - 1]
        best_ids[place] = best_ids[place - 1]
        place -= 1
    best_scores[place] = value
    best_ids[place] = index


@njit(**OPTIONS)
def _lane_peaks(scores, whole, peaks):
    """The largest score of each of LANES interleaved lanes: a maximum without a reduction."""
    for j in range(LANES):
        peaks[j] = scores[j]
    for first in range(LANES, whole, LANES):
        part = scores[first : first + LANES]
        for j in range(LANES):
            peaks[j] = peaks[j] if peaks[j] > part[j] else part[j]


@njit(**OPTIONS)
def keep_best(scores, width, left, peaks, high, best_scores, best_ids):
    """Merges a row of scores into its running best k, largest first.

    The k-th largest of the lanes' peaks bounds the k-th largest score from below, so only
    lanes that reach it are looked through: about k of them.

    Args:
        scores: A row; ``scores[:width]`` are of classes ``left`` and up.
        width: How many.
        left: Id of the first.
        peaks: Buffer (LANES,).
        high: Buffer (k,).
        best_scores: (k,), changed in place.
        best_ids: (k,), changed in place.
    """
    k = len(best_scores)
    whole = width // LANES * LANES
    worst = best_scores[k - 1]
    if whole > 0 and k < LANES:
        _lane_peaks(scores, whole, peaks)
        for j in range(k):
            high[j] = LOWEST_SCORE
        for lane in range(LANES):
            value = peaks[lane]
            place = k - 1
            if value > high[place]:
                while place > 0 and high[place - 1] < value:
                    high[place] = high[place - 1]
                    place -= 1
                high[place] = value
        bound = high[k - 1]
        for lane in range(LANES):
            if peaks[lane] >= bound and peaks[lane] > worst:
                for c in range(lane, whole, LANES):
                    if scores[c] > worst and scores[c] >= bound:
                        _insert(scores[c], left + c, best_scores, best_ids)
                        worst = best_scores[k - 1]
    else:
        whole = 0
    for c in range(whole, width):
        if scores[c] > worst:
            _insert(scores[c], left + c, best_scores, best_ids)
            worst = best_scores[k - 1]
