"""Classes added, renamed, merged and left out without training again.

A model of this kind knows its classes only as rows of a table: a class is added by adding a
row, and the network stays as it is. Every edit is a pure function from a :class:`ClassSet` to
a new one, with the lookup array that turns old class ids into new ones. Edits are values, so
that a list of them can be replayed, and the last one taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from workbench import config
from workbench.constants import IGNORE_INDEX
from workbench.distances import get_distance
from workbench.errors import DataError
from workbench.inference.class_sets import check_fit
from workbench.inference.pushed_rows import pushed_row
from workbench.inference.vocabulary_rows import merged_row, new_row, with_row
from workbench.neighbours import top_k_products
from workbench.runs.class_file import ClassSet
from workbench.vocabulary import Vocabulary

SEPARATION_MARGIN: Final = config.Loss().separation_margin
"""Euclidean distance of unit vectors below which two classes are hard to tell apart: what the
separation penalty of training asks for."""

_LONGEST_NAME: Final = 200

Lookup = npt.NDArray[np.int64]


class Near(NamedTuple):
    """A class that lies too near to another.

    Attributes:
        class_id: The edited class, by its new id.
        other_id: The class near it, by its new id.
        name: Of the class near it.
        distance: Euclidean, between unit vectors.
    """

    class_id: int
    other_id: int
    name: str
    distance: float


class Edited(NamedTuple):
    """What an edit leaves.

    Attributes:
        classes: The new classes, ids 0..C-1 without a gap.
        lookup: (old C,) int64: new id of each old class, IGNORE_INDEX where it has none.
        near: The class nearest to the one made by the edit if it lies within the separation
            margin, else None.
    """

    classes: ClassSet
    lookup: Lookup
    near: Near | None = None


class Add(NamedTuple):
    """A new class from examples.

    Attributes:
        name: Of the class.
        embeddings: (n, D) pixel embeddings, not normalised.
    """

    name: str
    embeddings: Tensor


class Rename(NamedTuple):
    """Another name for a class."""

    class_id: int
    name: str


class Merge(NamedTuple):
    """Several classes become one."""

    class_ids: tuple[int, ...]
    name: str


class Subset(NamedTuple):
    """Only these classes stay."""

    class_ids: tuple[int, ...]


class Load(NamedTuple):
    """Other classes take the place of all, as read from a class file."""

    classes: ClassSet


Edit = Add | Rename | Merge | Subset | Load


def add_class(
    classes: ClassSet,
    name: str,
    embeddings: Tensor,
    *,
    others: Tensor | None = None,
    marked: float = 0.5,
    margin: float = SEPARATION_MARGIN,
) -> Edited:
    """Adds a class from the embeddings of some of its pixels; it gets the last id.

    Its row is the direction of the mean of the *unit* embeddings, so that a bright pixel with
    a long vector counts no more than another. Where pixels are known that are not of the class,
    it is pushed away from them, see ``pushed_rows``. For a normalised distance that is all. For
    the linear distance, which also compares lengths, it is not pushed: it gets the median length
    of the other rows, and the median bias, raised where needed until half of the given pixels
    are given the class; with less it would not even be predicted where it was shown.

    Args:
        classes: The classes so far.
        name: Of the new class, not taken yet.
        embeddings: (n, D) pixel embeddings, not normalised, n >= 1.
        others: (m, D) those of pixels of the same pictures that are not of the class.
        marked: Share of the pictures' pixels that is of the class, beside ``others``.
        margin: Distance to another class below which ``near`` names it.

    Raises:
        DataError: The name is empty or taken, or the embeddings have no common direction.
    """
    name = free_name(classes, name)
    if embeddings.ndim != 2 or len(embeddings) == 0 or embeddings.shape[1] != classes.dim:
        raise DataError(
            f"class {name!r}: mark at least one pixel; got embeddings of shape "
            f"{tuple(embeddings.shape)} for D = {classes.dim}"
        )
    pixels = embeddings.detach().cpu().float()
    if not bool(pixels.isfinite().all()):
        raise DataError(f"class {name!r}: a marked pixel has no finite embedding; mark others")
    row = _mean_direction(pixels, f"class {name!r}: the marked pixels")
    if others is not None and get_distance(classes.distance).normalized:
        inside, outside, table = (
            functional.normalize(vectors.detach().cpu().float(), dim=1)
            for vectors in (pixels, others, classes.weight)
        )
        row = pushed_row(inside, outside, table, marked)
    bias = None
    if not get_distance(classes.distance).normalized:
        row = row * classes.weight.norm(dim=1).median()
        bias = _fair_bias(classes, pixels, row)[None]
    edited = _replaced(
        classes,
        torch.cat([classes.weight, row[None]]),
        None if classes.bias is None or bias is None else torch.cat([classes.bias, bias]),
        with_row(classes.vocabulary.table, new_row(classes.vocabulary, name)),
    )
    lookup = np.arange(len(classes), dtype=np.int64)
    return Edited(edited, lookup, nearest_within(edited, len(classes), margin))


def rename(classes: ClassSet, class_id: int, name: str) -> Edited:
    """Gives a class another name.

    Raises:
        DataError: There is no such class, or the name is empty or another's.
    """
    (class_id,) = _known(classes, [class_id])
    table = classes.vocabulary.table.copy()
    table.loc[class_id, "name"] = free_name(classes, name, but={class_id})
    lookup = np.arange(len(classes), dtype=np.int64)
    return Edited(_replaced(classes, classes.weight, classes.bias, table), lookup)


def merge(
    classes: ClassSet, class_ids: Sequence[int], name: str, *, margin: float = SEPARATION_MARGIN
) -> Edited:
    """Makes one class of several; it takes the place of the one with the lowest id.

    Its row is the direction of the mean of their unit rows. For the linear distance it gets
    their mean length, and the mean of their biases. Training pixels add up; training images
    may overlap, so the largest of their counts stands: at least so many. Attributes they do
    not share become empty.

    Args:
        classes: The classes so far.
        class_ids: At least two different ones.
        name: Of the merged class; may be the name of one of them.
        margin: Distance to another class below which ``near`` names it.

    Raises:
        DataError: Fewer than two classes, an unknown one, or a name that is empty or taken.
    """
    ids = sorted(set(_known(classes, class_ids)))
    if len(ids) < 2:
        raise DataError("merge: name at least two different classes")
    name = free_name(classes, name, but=set(ids))
    rows = classes.weight[ids]
    row = _mean_direction(rows, f"class {name!r}: the classes to merge")
    if not get_distance(classes.distance).normalized:
        row = row * rows.norm(dim=1).mean()
    weight = classes.weight.clone()
    weight[ids[0]] = row
    bias = None if classes.bias is None else classes.bias.clone()
    if bias is not None:
        bias[ids[0]] = bias[ids].mean()
    table = classes.vocabulary.table.copy()
    for column, value in merged_row(table.loc[ids], name).items():
        table[column] = table[column].where(table.index != ids[0], value)
    kept = np.setdiff1d(np.arange(len(classes)), ids[1:])
    edited = _taken(_replaced(classes, weight, bias, table), kept)
    lookup = _positions(kept, len(classes))
    lookup[ids] = lookup[ids[0]]
    return Edited(edited, lookup, nearest_within(edited, int(lookup[ids[0]]), margin))


def subset(classes: ClassSet, class_ids: Sequence[int]) -> Edited:
    """Keeps only some classes, in the order of their ids.

    Raises:
        DataError: None is named, or one is unknown.
    """
    kept = np.unique(_known(classes, class_ids))
    if len(kept) == 0:
        raise DataError("subset: name at least one class to keep")
    return Edited(_taken(classes, kept), _positions(kept, len(classes)))


def load(classes: ClassSet, other: ClassSet) -> Edited:
    """Puts other classes in the place of all; the lookup follows names that occur once in each.

    Raises:
        DataError: They do not fit the model that the classes so far belong to.
    """
    check_fit(other, dim=classes.dim, distance=classes.distance)
    names, others = pd.Series(classes.vocabulary.names), pd.Series(other.vocabulary.names)
    ids = pd.Series(others.index, index=others)[~others.duplicated(keep=False).to_numpy()]
    found = names.map(ids).where(~names.duplicated(keep=False))
    lookup = found.fillna(IGNORE_INDEX).to_numpy(dtype=np.int64)
    return Edited(other, lookup)


def apply(classes: ClassSet, edit: Edit, *, margin: float = SEPARATION_MARGIN) -> Edited:
    """Applies one edit; errors as in the function of its name."""
    if isinstance(edit, Add):
        return add_class(classes, edit.name, edit.embeddings, margin=margin)
    if isinstance(edit, Rename):
        return rename(classes, edit.class_id, edit.name)
    if isinstance(edit, Merge):
        return merge(classes, edit.class_ids, edit.name, margin=margin)
    if isinstance(edit, Subset):
        return subset(classes, edit.class_ids)
    return load(classes, edit.classes)


def replay(
    classes: ClassSet, edits: Sequence[Edit], *, margin: float = SEPARATION_MARGIN
) -> Edited:
    """Applies edits one after another, each to what the one before left.

    Returns:
        The last classes, the lookup from the first ids to the last, ``near`` of the last edit.
    """
    edited = Edited(classes, np.arange(len(classes), dtype=np.int64))
    for edit in edits:
        step = apply(edited.classes, edit, margin=margin)
        edited = Edited(step.classes, remap(edited.lookup, step.lookup), step.near)
    return edited


def remap(mask: npt.NDArray[np.int64], lookup: Lookup) -> npt.NDArray[np.int64]:
    """A label map in new ids: one array, applied once; ignored pixels stay so.

    Args:
        mask: Old ids of any shape, negative = ignored.
        lookup: Of an edit.
    """
    known = (mask >= 0) & (mask < len(lookup))
    return np.where(known, lookup[np.where(known, mask, 0)], IGNORE_INDEX)


def nearest_within(classes: ClassSet, class_id: int, margin: float) -> Near | None:
    """The class nearest to one, if it lies within the margin (Euclidean, unit vectors)."""
    if len(classes) < 2:
        return None
    points = functional.normalize(classes.weight, dim=1)
    # The difference itself: 2 - 2 cos would lose all digits where two rows nearly coincide.
    distances = (points - points[class_id]).norm(dim=1)
    distances[class_id] = torch.inf
    other = int(distances.argmin())
    distance = float(distances[other])
    if distance >= margin:
        return None
    return Near(class_id, other, classes.vocabulary.names[other], distance)


def _mean_direction(vectors: Tensor, what: str) -> Tensor:
    mean = functional.normalize(vectors, dim=1).mean(dim=0)
    length = mean.norm()
    if float(length) < 1e-3:
        raise DataError(f"{what} have no direction in common; choose ones that look alike")
    direction: Tensor = mean / length
    return direction


def _fair_bias(classes: ClassSet, pixels: Tensor, row: Tensor) -> Tensor:
    assert classes.bias is not None
    temperature = classes.temperature
    _, best = top_k_products(pixels, classes.weight, 1, bias=classes.bias / temperature)
    lacking = temperature * (best[:, 0] - pixels @ row)
    # The upper of the two middle ones, and a little: half of them at least must win.
    upper = lacking.sort().values[len(lacking) // 2]
    least: Tensor = upper + 1e-4 * (1 + upper.abs())
    return torch.maximum(classes.bias.median(), least)


def _known(classes: ClassSet, class_ids: Sequence[int]) -> list[int]:
    for class_id in class_ids:
        if not 0 <= class_id < len(classes):
            raise DataError(f"class {class_id}: there are only the classes 0..{len(classes) - 1}")
    return [int(class_id) for class_id in class_ids]


def free_name(classes: ClassSet, name: str, but: set[int] | None = None) -> str:
    """A name as it is kept, if no other class has it.

    Args:
        classes: The classes so far.
        name: As typed.
        but: Ids of classes that may have it.

    Raises:
        DataError: It is empty, too long or taken.
    """
    name = " ".join(name.split())
    if not name:
        raise DataError("the class has no name; type one")
    if len(name) > _LONGEST_NAME:
        raise DataError(f"the name has {len(name)} characters; use at most {_LONGEST_NAME}")
    taken = [i for i, known in enumerate(classes.vocabulary.names) if known == name]
    others = [i for i in taken if i not in (but or set())]
    if others:
        raise DataError(f"{name!r} is the name of class {others[0]}; choose another")
    return name


def _positions(kept: npt.NDArray[np.int64], count: int) -> Lookup:
    lookup = np.full(count, IGNORE_INDEX, dtype=np.int64)
    lookup[kept] = np.arange(len(kept))
    return lookup


def _taken(classes: ClassSet, kept: npt.NDArray[np.int64]) -> ClassSet:
    rows = torch.from_numpy(kept.astype(np.int64))
    table = classes.vocabulary.table.iloc[kept].reset_index(drop=True)
    table["class_id"] = np.arange(len(table))
    bias = None if classes.bias is None else classes.bias[rows]
    return _replaced(classes, classes.weight[rows], bias, table)


def _replaced(
    classes: ClassSet, weight: Tensor, bias: Tensor | None, table: pd.DataFrame
) -> ClassSet:
    return ClassSet(
        weight=weight,
        bias=bias,
        temperature=classes.temperature,
        distance=classes.distance,
        vocabulary=Vocabulary(table),
        source=classes.source,
        step=classes.step,
    )
