"""What to take, read off the cells there are: which loss, which D, which temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from workbench.experiments.plan import DEFAULT, METHODS, TIGHT
from workbench.experiments.summary import EMBEDDINGS, Entry, pick

K = TypeVar("K")

ENOUGH = 0.01
"""A difference of mIoU below which the cheaper choice is advised."""

_DIMENSIONS = {8: "ours-d8", 12: "ours-d12", 32: "ours-d32", 64: "ours", 128: "ours-d128"}
_WIDER = {"ours": "ours-d128", "ours-adjusted": "ours-adjusted-d128"}
"""Recipes with D = 64, and the same with D = 128."""
_TEMPERATURES = {"20": "ours-t20", "40": "ours-t40", "learned": "ours"}
_NEGATIVES = {7: "ours-nearest-7", 32: "ours-nearest-32", 128: "ours-nearest-128"}
_RARE = ("ours-even", "ours", "ours-repeat", "ours-adjusted-half", "ours-adjusted")


def advice(found: Sequence[Entry]) -> list[str]:
    """Sentences in Markdown, each from cells that were run; none where too few were.

    Choices are made on the dev half, numbers are of the test half.
    """
    parts = (_loss(found), _dimensions(found), _wider(found), _temperature(found))
    return [text for text in (*parts, _negatives(found), _rare(found), _classes(found)) if text]


def _tight(found: Sequence[Entry], method: str) -> Entry | None:
    return pick(found, method, memory=TIGHT, length="time", classes=1284)


def _dev(entry: Entry) -> float:
    return entry.mean("dev", "miou")


def _loss(found: Sequence[Entry]) -> str:
    tables = [entry for name in EMBEDDINGS if (entry := _tight(found, name))]
    others = [entry for name in ("dense", "dense-all") if (entry := _tight(found, name))]
    if len(tables) < 2:
        return ""
    best = max(tables, key=_dev)
    settings = METHODS[best.first["method"]][1]
    shown = ", ".join(f"`{key} {value}`" for key, value in settings.items())
    rest = sorted([e for e in (*tables, *others) if e is not best], key=lambda e: -e.miou)
    told = "; ".join(f"{entry.first['title']} {entry.miou:.3f}" for entry in rest)
    return (
        f"**Loss at 1,284 classes.** Best on dev: {best.first['title']}; mIoU {best.miou:.3f} "
        f"({shown}). Beside it: {told}."
    )


def _choices(found: Sequence[Entry], methods: dict[K, str]) -> dict[K, Entry]:
    """The entries of a table of choices; empty unless two of them were run."""
    there = {key: entry for key, name in methods.items() if (entry := _tight(found, name))}
    return there if len(there) > 1 else {}


def _list(choices: dict[K, Entry], name: str) -> str:
    return ", ".join(f"{name} {key}: {entry.miou:.3f}" for key, entry in choices.items())


def _dimensions(found: Sequence[Entry]) -> str:
    choices = _choices(found, _DIMENSIONS)
    if not choices:
        return ""
    most = max(map(_dev, choices.values()))
    least = min(dim for dim, entry in choices.items() if _dev(entry) >= most - ENOUGH)
    return (
        f"**D.** {_list(choices, 'D =')}. D = {least} is the smallest within {ENOUGH:g} of the "
        "best on dev; every number of it costs memory per pixel and per class."
    )


def _wider(found: Sequence[Entry]) -> str:
    pairs = [
        (entry, wide)
        for name, wider in _WIDER.items()
        if (entry := pick(found, name, length="images", classes=1284))
        and (wide := pick(found, wider, length="images", classes=1284))
    ]
    if not pairs:
        return ""
    told = "; ".join(
        f"{wide.first['title']} {wide.miou:.3f}, with D = 64 {entry.miou:.3f}"
        for entry, wide in pairs
    )
    better = all(_dev(wide) > _dev(entry) + ENOUGH for entry, wide in pairs)
    advised = "take `model.embedding_dim 128`" if better else "D = 64 is enough"
    return f"**D in a longer training.** On the same images: {told}. For such a length {advised}."


def _temperature(found: Sequence[Entry]) -> str:
    choices = _choices(found, _TEMPERATURES)
    if "learned" not in choices:
        return ""
    end = choices["learned"].mean("diagnostics", "temperature")
    best = max(choices, key=lambda key: _dev(choices[key]))
    return (
        f"**Temperature.** {_list(choices, 'T')}; learned, it ended at {end:.0f}. "
        f"Best on dev: {best}."
    )


def _negatives(found: Sequence[Entry]) -> str:
    choices = _choices(found, _NEGATIVES)
    exact = _tight(found, "ours")
    if not choices or exact is None:
        return ""
    return (
        f"**Neighbours.** In the same space, {_list(choices, 'k =')}; all classes: "
        f"{exact.miou:.3f}."
    )


def _rare(found: Sequence[Entry]) -> str:
    there = [entry for name in _RARE if (entry := _tight(found, name))]
    if len(there) < 2:
        return ""
    told = "; ".join(
        f"{entry.first['title']}: rare {entry.mean('test', 'groups', 'rare', 'miou'):.3f}, "
        f"all {entry.miou:.3f}"
        for entry in there
    )
    best = max(there, key=_dev).first["title"]
    return (
        f"**Rare classes.** {told}. Best on dev over all classes: {best}; the preset `default` "
        f"takes: {METHODS[DEFAULT][0]}."
    )


def _classes(found: Sequence[Entry]) -> str:
    sweep = [entry for entry in found if entry.first["experiment"] == "classes"]
    lines = []
    for count in sorted({entry.first["classes"] for entry in sweep}):
        here = [entry for entry in sweep if entry.first["classes"] == count]
        if len(here) > 1:
            told = ", ".join(f"{entry.first['title']} {entry.miou:.3f}" for entry in here)
            lines.append(f"{count:,} classes: {told}")
    return f"**Number of classes.** {'; '.join(lines)}." if lines else ""
