"""Ways to make a class's row from a few examples, to be compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from workbench.inference.examples import Shown, together
from workbench.inference.pushed_rows import pushed_row

Way = Callable[[Sequence[Shown], Tensor], Tensor]


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=1)


def _by_pixels(examples: Sequence[Shown], table: Tensor) -> Tensor:
    del table
    return _unit(together(examples).inside).mean(dim=0)


def _by_pictures(examples: Sequence[Shown], table: Tensor) -> Tensor:
    del table
    return torch.stack([_unit(example.inside).mean(dim=0) for example in examples]).mean(dim=0)


def _from_the_rest(share: float) -> Way:
    def way(examples: Sequence[Shown], table: Tensor) -> Tensor:
        return _by_pixels(examples, table) - share * _unit(together(examples).outside).mean(dim=0)

    return way


def _from_rivals(share: float, count: int = 3) -> Way:
    def way(examples: Sequence[Shown], table: Tensor) -> Tensor:
        row = _by_pixels(examples, table)
        nearest = (_unit(table) @ row).topk(min(count, len(table))).indices
        return row - share * _unit(table)[nearest].mean(dim=0)

    return way


def _found_on_examples(examples: Sequence[Shown], table: Tensor) -> Tensor:
    shown = together(examples)
    return pushed_row(_unit(shown.inside), _unit(shown.outside), _unit(table), shown.marked)


WAYS: Final[dict[str, tuple[str, Way]]] = {
    "pixels": ("the mean, every pixel counts the same", _by_pixels),
    "pictures": ("the mean, every picture counts the same", _by_pictures),
    "rivals-0.25": ("the mean less 0.25 of the 3 nearest rows' mean", _from_rivals(0.25)),
    "rest-0.5": ("the mean less 0.5 of the unmarked pixels' mean", _from_the_rest(0.5)),
    "rest-1.5": ("the mean less 1.5 of the unmarked pixels' mean", _from_the_rest(1.5)),
    "pushed": ("the same, the share found on the examples for each class", _found_on_examples),
}
"""Key -> (in words, from examples and the (C, D) table to a row of any length)."""

SHIPPED: Final = "pushed"
"""The way of ``workbench vocabulary add``."""


def make_row(way: str, examples: Sequence[Shown], table: Tensor) -> Tensor:
    """The row (D,) of unit length.

    Args:
        way: Key of ``WAYS``.
        examples: At least one.
        table: (C, D) rows of the other classes.
    """
    return functional.normalize(WAYS[way][1](examples, table), dim=0)
