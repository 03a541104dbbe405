"""Compiled kernels over ranges of pixels and classes; see ``tiles`` for what they are made of.

Buffers come from the caller: compiled code that allocates nothing needs no runtime of numba's.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202

from __future__ import annotations

import numpy as np
from numba import njit

from workbench.kernels.tiles import (
    LOWEST_SCORE,
    OPTIONS,
    F,
    add_columns,
    exponentials,
    gradients,
    keep_best,
    products,
    raw_of,
    slope,
    smooth_sum,
    subtract_smooth,
    sum_exponentials,
    to_logits,
    to_raw,
)


@njit(**OPTIONS)
def _finish_row(r, s, g, wide, first, place, weight, factor, temperature, offset, smooth, kind):
    """Turns ``exp * slope`` of a row into the gradient by its products, up to a factor.

    Args:
        r: Row of the tile.
        s: Raw logits (4, wide).
        g: Exponentials times slope, changed in place.
        wide: Classes in the tile.
        first: The tile's first class.
        place: Column of the target, outside of 0..wide-1 where it lies elsewhere.
        weight: Of the target.
        factor: What exponentials must be multiplied by to be weighted probabilities.
        temperature: Of the logits.
        offset: Of the logits (C,).
        smooth: Weight of every class, (C,) or (0,).
        kind: Of distance.

    Returns:
        What goes off the loss, what goes off the sum of gradient times raw logit, and the
        factor that remains.
    """
    loss, moment = F(0.0), F(0.0)
    if len(smooth):
        loss, moment = smooth_sum(s[r], wide, temperature, offset, smooth, first)
        subtract_smooth(s[r], g[r], wide, factor, smooth, first, kind)
        factor = F(1.0)
    if 0 <= place < wide:
        raw = s[r, place]
        loss += weight * (temperature * raw + offset[first + place])
        moment += weight * raw
        g[r, place] -= weight * slope(raw, kind) / max(factor, F(1e-30))
    return loss, moment, factor


@njit(**OPTIONS)
def _scatter(i, x, x4, dx4, g, factors, temperature, wt, first, wide, dx, dwt, doffset):
    """From the gradients by the products of 4 rows to those of pixels, classes and offsets."""
    dim = x.shape[1]
    if len(doffset):
        add_columns(g, factors, doffset, first, wide)
    for r in range(4):
        factors[r] *= temperature
        for d in range(dim):
            x4[r, d] = factors[r] * x[i + r, d]
            dx4[r, d] = F(0.0)
    gradients(x4, dx4, g, wt, dwt, first, wide)
    for r in range(4):
        for d in range(dim):
            dx[i + r, d] += factors[r] * dx4[r, d]


@njit(**OPTIONS)
def stream_rows(
    x, count, wt, offset, smooth, hard, share, targets, temperature, kind,
    start, stop, dx, dwt, doffset, losses, moments, s, g, x4, dx4, factors,
):  # fmt: skip
    """Loss and gradients of pixels start..stop over all classes, in one pass.

    Args:
        x: Embedded pixels (N, D), N and D multiples of 4.
        count: How many of them are no padding.
        wt: Embedded classes (D, C).
        offset: (C,).
        smooth: (C,) or (0,).
        hard: (N,).
        share: Sum of ``smooth``.
        targets: (N,) int64.
        temperature: Of the logits.
        kind: Of distance.
        start: First pixel, a multiple of 4.
        stop: Pixel after the last, a multiple of 4.
        dx: (N, D), added to.
        dwt: (D, C), added to; one per thread.
        doffset: (C,) or (0,), added to; one per thread.
        losses: (N,), written.
        moments: (N,), written: derivatives by the temperature.
        s: Buffer (4, C).
        g: Buffer (4, C).
        x4: Buffer (4, D).
        dx4: Buffer (4, D).
        factors: Buffer (4,).
    """
    classes = wt.shape[1]
    for i in range(start, stop, 4):
        products(x, i, wt, 0, classes, s)
        to_raw(s, classes, kind)
        for r in range(4):
            weight = hard[i + r]
            top = to_logits(s[r], g[r], classes, temperature, offset, 0)
            total, moment = exponentials(s[r], g[r], classes, top, kind)
            factor = (weight + share) / total
            off, off_moment, rest = _finish_row(
                r, s, g, classes, 0, targets[i + r], weight, factor, temperature, offset, smooth,
                kind,
            )  # fmt: skip
            losses[i + r] = (weight + share) * (np.log(total) + top) - off
            moments[i + r] = factor * moment - off_moment
            factors[r] = rest if i + r < count else F(0.0)
        _scatter(i, x, x4, dx4, g, factors, temperature, wt, 0, classes, dx, dwt, doffset)


@njit(**OPTIONS)
def sum_range(x, wt, offset, temperature, kind, left, right, width, tops, totals, s, logits):
    """Log-sum-exp of all pixels over classes left..right: ``tops + log(totals)``, both (N,).

    Buffers: s (4, width), logits (width,).
    """
    for first in range(left, right, width):
        wide = min(width, right - first)
        for i in range(0, len(x), 4):
            products(x, i, wt, first, wide, s)
            to_raw(s, wide, kind)
            for r in range(4):
                before = tops[i + r]
                top = max(to_logits(s[r], logits, wide, temperature, offset, first), before)
                total = sum_exponentials(s[r], wide, temperature, offset, first, top)
                totals[i + r] = totals[i + r] * np.exp(before - top) + total
                tops[i + r] = top


@njit(**OPTIONS)
def gradient_range(
    x, count, wt, offset, smooth, hard, share, targets, log_sums, temperature, kind,
    left, right, width, dx, dwt, doffset, losses, moments, s, g, x4, dx4, factors,
):  # fmt: skip
    """What classes left..right add to the gradients, given every pixel's log-sum-exp.

    Arguments as those of ``stream_rows``. Of dwt and doffset only left..right are touched, so
    that threads may share them; dx, losses and moments are one per thread. Buffers as there,
    with ``width`` for C.
    """
    for first in range(left, right, width):
        wide = min(width, right - first)
        for i in range(0, len(x), 4):
            products(x, i, wt, first, wide, s)
            to_raw(s, wide, kind)
            for r in range(4):
                weight = hard[i + r]
                to_logits(s[r], g[r], wide, temperature, offset, first)
                _, moment = exponentials(s[r], g[r], wide, log_sums[i + r], kind)
                factor = weight + share
                off, off_moment, rest = _finish_row(
                    r, s, g, wide, first, targets[i + r] - first, weight, factor, temperature,
                    offset, smooth, kind,
                )  # fmt: skip
                losses[i + r] -= off
                moments[i + r] += factor * moment - off_moment
                factors[r] = rest if i + r < count else F(0.0)
            _scatter(i, x, x4, dx4, g, factors, temperature, wt, first, wide, dx, dwt, doffset)


@njit(**OPTIONS)
def search_rows(x, wt, offset, exclude, start, stop, width, ids, scores, s, peaks, high):
    """The classes with the largest ``product + offset`` for pixels start..stop.

    Args:
        x: (N, D), N and D multiples of 4.
        wt: (D, C).
        offset: (C,) or (0,).
        exclude: One class per pixel left out, (N,) int64 or (0,).
        start: First pixel, a multiple of 4.
        stop: Pixel after the last, a multiple of 4.
        width: Classes worked on at a time.
        ids: (N, k) int64, written.
        scores: (N, k), written, largest first.
        s: Buffer (4, width).
        peaks: Buffer (LANES,).
        high: Buffer (k,).
    """
    classes = wt.shape[1]
    for i in range(start, stop):
        scores[i] = LOWEST_SCORE
        ids[i] = -1
    for first in range(0, classes, width):
        wide = min(width, classes - first)
        for i in range(start, stop, 4):
            products(x, i, wt, first, wide, s)
            for r in range(4):
                row = s[r]
                if len(offset):
                    shift = offset[first : first + wide]
                    for c in range(wide):
                        row[c] += shift[c]
                if len(exclude):
                    place = exclude[i + r] - first
                    if 0 <= place < wide:
                        row[place] = LOWEST_SCORE
                keep_best(row, wide, first, peaks, high, scores[i + r], ids[i + r])


@njit(**OPTIONS)
def contrast_rows(
    x, w, offset, members, hard, temperature, kind, start, stop, dx, slopes, losses, moments,
    raw, logits,
):  # fmt: skip
    """Cross-entropy of pixels start..stop among a few classes each, the first being the target.

    Args:
        x: (N, D).
        w: (C, D).
        offset: (C,).
        members: (N, K) int64.
        hard: (N,).
        temperature: Of the logits.
        kind: Of distance.
        start: First pixel.
        stop: Pixel after the last.
        dx: (N, D), added to.
        slopes: (N, K), written: derivatives of the loss by the products.
        losses: (N,), written.
        moments: (N,), written: derivatives by the temperature.
        raw: Buffer (K,).
        logits: Buffer (K,).
    """
    dim, count = x.shape[1], members.shape[1]
    for i in range(start, stop):
        top = LOWEST_SCORE
        for j in range(count):
            row = w[members[i, j]]
            product = F(0.0)
            for d in range(dim):
                product += x[i, d] * row[d]
            raw[j] = raw_of(product, kind)
            logits[j] = temperature * raw[j] + offset[members[i, j]]
            top = max(top, logits[j])
        total = F(0.0)
        for j in range(count):
            slopes[i, j] = np.exp(logits[j] - top)
            total += slopes[i, j]
        losses[i] = hard[i] * (np.log(total) + top - logits[0])
        moment = -raw[0]
        for j in range(count):
            share = slopes[i, j] / total
            moment += share * raw[j]
            change = hard[i] * (share - (F(1.0) if j == 0 else F(0.0)))
            slopes[i, j] = change
            change *= temperature * slope(raw[j], kind)
            row = w[members[i, j]]
            for d in range(dim):
                dx[i, d] += change * row[d]
        moments[i] = hard[i] * moment


@njit(**OPTIONS)
def scatter_range(x, w, members, slopes, temperature, kind, left, right, dw, doffset):
    """Adds what pixels give to classes left..right: dw (C, D), doffset (C,) or (0,)."""
    dim = x.shape[1]
    for i in range(len(x)):
        for j in range(members.shape[1]):
            member = members[i, j]
            if left <= member < right:
                change = slopes[i, j]
                if len(doffset):
                    doffset[member] += change
                row = w[member]
                product = F(0.0)
                for d in range(dim):
                    product += x[i, d] * row[d]
                change *= temperature * slope(raw_of(product, kind), kind)
                for d in range(dim):
                    dw[member, d] += change * x[i, d]
