"""The kernels in plain torch: any device, any precision, a tile of scores at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from workbench.kernels.terms import EUCLIDEAN, SQUARED, LossGradients

_SMALLEST_SQUARE = {torch.float64: 1e-14}  # of a distance; below it is rounding noise
_SMALLEST_SQUARE_DEFAULT = 1e-6
_TILES_ALIVE = 6  # products, logits, slopes, probabilities and temporaries
_FEWEST_ROWS = 32  # below this a one-pass tile is too flat for an efficient product
_WIDEST_TILE = 4096  # classes a tile spans at most before it gets taller


def raw_logits(products: Tensor, kind: int) -> Tensor:
    """Logits at temperature 1 of inner products."""
    if kind == EUCLIDEAN:
        floor = _SMALLEST_SQUARE.get(products.dtype, _SMALLEST_SQUARE_DEFAULT)
        return -(2.0 - 2.0 * products).clamp_min(floor).sqrt()
    return 2.0 * products - 2.0 if kind == SQUARED else products


def raw_slopes(products: Tensor, kind: int) -> Tensor:
    """Derivatives of ``raw_logits``; where points coincide the direction is undefined: 0."""
    if kind == EUCLIDEAN:
        floor = _SMALLEST_SQUARE.get(products.dtype, _SMALLEST_SQUARE_DEFAULT)
        square = 2.0 - 2.0 * products
        return torch.where(square > floor, square.clamp_min(floor).rsqrt(), 0.0)
    return torch.full_like(products, 2.0 if kind == SQUARED else 1.0)


def tile_shape(pixels: int, classes: int, budget: int, itemsize: int = 4) -> tuple[int, int]:
    """Rows and columns of a score tile that fits the budget.

    Args:
        pixels: Number of rows N to go through.
        classes: Number of columns C to go through.
        budget: Bytes the tile may take.
        itemsize: Bytes of one score.

    Returns:
        (rows, columns), each at least 1, ``rows * columns * itemsize <= budget`` as far as
        one score fits at all.
    """
    cells = max(1, budget // itemsize)
    columns = max(1, min(classes, _WIDEST_TILE, cells))
    rows = max(1, min(pixels, cells // columns))
    return rows, columns


class _Tile(NamedTuple):
    """Scores of a block of pixels against a chunk of classes."""

    chunk: slice
    products: Tensor
    logits: Tensor
    rows: Tensor  # pixels whose target lies in this chunk ...
    hits: Tensor  # ... and the column it has there


class _Problem(NamedTuple):
    weight: Tensor
    offset: Tensor | None
    smooth: Tensor | None
    temperature: Tensor
    kind: int

    def tiles(self, pixels: Tensor, targets: Tensor, columns: int) -> Iterator[_Tile]:
        for left in range(0, len(self.weight), columns):
            chunk = slice(left, min(left + columns, len(self.weight)))
            products = pixels @ self.weight[chunk].T
            logits = self.temperature * raw_logits(products, self.kind)
            if self.offset is not None:
                logits += self.offset[chunk]
            rows = ((targets >= chunk.start) & (targets < chunk.stop)).nonzero().squeeze(1)
            yield _Tile(chunk, products, logits, rows, targets[rows] - chunk.start)


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
    """See :func:`workbench.kernels.stream`.

    One pass where a tile of all classes is tall enough, else online log-sum-exp and a second
    pass for the gradients.
    """
    problem = _Problem(weight, offset, smooth, temperature, kind)
    result = zeros(pixels, weight, want_offset)
    per_tile = budget // _TILES_ALIVE
    rows = per_tile // (pixels.element_size() * len(weight))
    columns = len(weight)
    if rows < min(_FEWEST_ROWS, len(pixels)):
        rows, columns = tile_shape(len(pixels), len(weight), per_tile, pixels.element_size())
    for top in range(0, len(pixels), rows):
        block = slice(top, top + rows)
        part = result._replace(pixels=result.pixels[block])
        _stream_block(problem, pixels[block], targets[block], hard[block], columns, part)
    return result


def zeros(pixels: Tensor, weight: Tensor, want_offset: bool) -> LossGradients:
    """Gradients to add to."""
    scalar = pixels.new_zeros(())
    offset = pixels.new_zeros(len(weight)) if want_offset else None
    return LossGradients(
        scalar, torch.zeros_like(pixels), torch.zeros_like(weight), offset, scalar.clone()
    )


def _stream_block(
    problem: _Problem,
    pixels: Tensor,
    targets: Tensor,
    hard: Tensor,
    columns: int,
    result: LossGradients,
) -> None:
    """Adds one block of pixels to the value and the gradients."""
    one_pass = columns >= len(problem.weight)
    tiles = list(problem.tiles(pixels, targets, columns)) if one_pass else None
    log_sum = pixels.new_full((len(pixels),), -torch.inf)
    counted = torch.zeros_like(log_sum)  # the weighted logits that go off the loss
    smooth = problem.smooth
    for tile in tiles or problem.tiles(pixels, targets, columns):
        log_sum = torch.logaddexp(log_sum, tile.logits.logsumexp(dim=1))
        counted[tile.rows] += hard[tile.rows] * tile.logits[tile.rows, tile.hits]
        if smooth is not None:
            counted += tile.logits @ smooth[tile.chunk]
    share = hard if smooth is None else hard + smooth.sum()
    result.total.add_((share * log_sum - counted).sum())
    for tile in tiles or problem.tiles(pixels, targets, columns):
        change = tile.logits.sub_(log_sum[:, None]).exp_()  # probabilities, in place
        change *= share[:, None]
        change[tile.rows, tile.hits] -= hard[tile.rows]  # d loss / d logit
        if smooth is not None:
            change -= smooth[tile.chunk]
        if result.offset is not None:
            result.offset[tile.chunk] += change.sum(dim=0)
        raw = raw_logits(tile.products, problem.kind)
        result.temperature.add_(torch.dot(change.flatten(), raw.flatten()))
        change *= raw_slopes(tile.products, problem.kind)
        change *= problem.temperature  # d loss / d product
        result.pixels.addmm_(change, problem.weight[tile.chunk])
        result.weight[tile.chunk].addmm_(change.T, pixels)


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
    """See :func:`workbench.kernels.contrast`.

    One neighbour at a time: the (N, K, D) tensor of gathered embeddings, the reference
    implementation's largest, is never made.
    """
    result = zeros(pixels, weight, want_offset)
    columns = members.unbind(dim=1)
    products = torch.stack([(pixels * weight[ids]).sum(dim=1) for ids in columns], dim=1)
    raw = raw_logits(products, kind)
    logits = temperature * raw if offset is None else temperature * raw + offset[members]
    log_sum = logits.logsumexp(dim=1)
    result.total.add_((hard * (log_sum - logits[:, 0])).sum())
    change = (logits - log_sum[:, None]).exp_()
    change[:, 0] -= 1.0
    change *= hard[:, None]  # d loss / d logit
    if result.offset is not None:
        result.offset.index_add_(0, members.flatten(), change.flatten())
    result.temperature.add_((change * raw).sum())
    change *= temperature * raw_slopes(products, kind)
    for column, ids in enumerate(columns):
        factor = change[:, column, None]
        result.pixels.addcmul_(factor, weight[ids])
        result.weight.index_add_(0, ids, factor * pixels)
    return result


def search(
    pixels: Tensor,
    weight: Tensor,
    k: int,
    *,
    offset: Tensor | None,
    exclude: Tensor | None,
    budget: int,
) -> tuple[Tensor, Tensor]:
    """See :func:`workbench.kernels.search`."""
    count = len(pixels)
    ids = torch.empty(count, k, dtype=torch.int64, device=pixels.device)
    scores = pixels.new_empty(count, k)
    # topk keeps a copy of its tile and the running best beside it.
    rows, columns = tile_shape(count, len(weight), budget // 2, pixels.element_size())
    for top in range(0, count, rows):
        block = slice(top, min(top + rows, count))
        skip = None if exclude is None else exclude[block]
        ids[block], scores[block] = _search_block(pixels[block], weight, k, offset, skip, columns)
    return ids, scores


def _search_block(
    pixels: Tensor,
    weight: Tensor,
    k: int,
    offset: Tensor | None,
    exclude: Tensor | None,
    columns: int,
) -> tuple[Tensor, Tensor]:
    """Top-k of one block of rows: a running best over chunks of classes."""
    best_ids = pixels.new_empty((len(pixels), 0), dtype=torch.int64)
    best = pixels.new_empty((len(pixels), 0))
    for left in range(0, len(weight), columns):
        chunk = weight[left : left + columns]
        tile = pixels @ chunk.T
        if offset is not None:
            tile += offset[left : left + columns]
        if exclude is not None:
            row = ((exclude >= left) & (exclude < left + len(chunk))).nonzero().squeeze(1)
            tile[row, exclude[row] - left] = -torch.inf
        score, index = tile.topk(min(k, len(chunk)), dim=1)
        joined = torch.cat((best, score), dim=1)
        best, order = joined.topk(min(k, joined.shape[1]), dim=1)
        best_ids = torch.cat((best_ids, index + left), dim=1).gather(1, order)
    return best_ids, best
