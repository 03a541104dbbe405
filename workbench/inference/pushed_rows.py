"""A row for a class that examples show: near its pixels, and away from what is not the class.

Pixels of all classes share a direction, which rows that were trained have learned to avoid: the
plain mean of a class's pixels claims far too many others. How much of the others' mean to take
away is found on the examples themselves.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from workbench.neighbours import top_k_products

PUSHES: Final = tuple(step / 4 for step in range(11))
"""Shares of the others' mean that are tried, 0 to 2.5."""

MISTAKE: Final = 3.0
"""How much more a pixel taken from another class counts than one that is missed: a few pictures
show only some of the classes that there are to take from. Chosen on ShapeWorld's dev pictures."""


def pushed_row(inside: Tensor, outside: Tensor, table: Tensor, marked: float) -> Tensor:
    """The direction that tells the marked pixels from the others best.

    Args:
        inside: (n, D) unit embeddings of marked pixels.
        outside: (m, D) unit embeddings of other pixels of the same pictures.
        table: (C, D) unit rows of the other classes.
        marked: Share of the pictures' pixels that is marked, where the two are samples.

    Returns:
        (D,) of unit length. Without other pixels, the direction of the mean.
    """
    mean = inside.mean(dim=0)
    if len(outside) == 0:
        return functional.normalize(mean, dim=0)
    away = outside.mean(dim=0)
    rows = functional.normalize(torch.stack([mean - push * away for push in PUSHES]), dim=1)
    _, rivals = top_k_products(inside, table, 1)
    found = (inside @ rows.T > rivals).float().mean(dim=0)
    _, rivals = top_k_products(outside, table, 1)
    taken = (outside @ rows.T > rivals).float().mean(dim=0)
    overlap = found * marked / (marked + MISTAKE * taken * (1 - marked))
    return rows[int(overlap.argmax())]  # the smallest of equal pushes
