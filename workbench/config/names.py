"""Which setting someone meant who wrote another."""

from __future__ import annotations

import difflib
from collections.abc import Collection

_CLOSE = 0.75
"""Likeness from which a name of any section is offered; within one section less will do."""


def nearest_name(name: str, known: Collection[str]) -> str | None:
    """The known name that is most like another, None if none is."""
    close = difflib.get_close_matches(name, known, n=1)
    return close[0] if close else None


def nearest_setting(name: str, known: Collection[str]) -> str | None:
    """The dotted setting that was meant.

    Args:
        name: As written: "train.step", "trian.steps", "steps", "loss.crop", "train-lr".
        known: All dotted settings: "train.steps", ...

    Returns:
        One of ``known``; None if none is like it.
    """
    plain = name.lower().replace("-", "_")
    section, _, last = plain.rpartition(".")
    fields = {setting.partition(".")[2]: setting for setting in reversed([*known])}
    if last in fields:  # the section is missing, or another's
        return fields[last]
    inside = [setting for setting in known if section and setting.startswith(f"{section}.")]
    if inside:
        close = nearest_name(last, [setting.partition(".")[2] for setting in inside])
        if close is not None:
            return f"{section}.{close}"
    for written, choices in ((plain.replace(".", "_"), _flat(known)), (last, fields)):
        close_ones = difflib.get_close_matches(written, choices, n=1, cutoff=_CLOSE)
        if close_ones:
            return choices[close_ones[0]]
    return None


def _flat(known: Collection[str]) -> dict[str, str]:
    """{"train_steps": "train.steps", ...}: a hyphen or underscore may stand for the dot."""
    return {setting.replace(".", "_"): setting for setting in known}
