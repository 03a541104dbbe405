"""Pure functions on how a training goes: when it last spoke, how fast it is; all tested."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

_RECORDS: Final = 20  # the newest records that a rate is taken over

QUIET_SECONDS: Final = 300.0
"""A training that says nothing for longer may hang: steps are logged far more often."""


def ago(seconds: object) -> str:
    """How long ago something was: "4 s ago", "3 min ago", "2 h ago"; "" where not known."""
    if not isinstance(seconds, (int, float)) or not np.isfinite(seconds):
        return ""
    seconds = max(0.0, float(seconds))
    for unit, length, least in (("days", 86400, 2), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= least * length:
            return f"{int(seconds // length):,} {unit} ago"
    return f"{int(seconds)} s ago"


def age(status: dict[str, object], now: float) -> float | None:
    """Seconds since the heartbeat of a status; None where it has none."""
    beat = status.get("heartbeat")
    if isinstance(beat, bool) or not isinstance(beat, (int, float)) or not np.isfinite(beat):
        return None
    return max(0.0, now - float(beat))


def images_per_second(metrics: pd.DataFrame, batch_size: object) -> float | None:
    """How many pictures are trained on in a second, over the newest records.

    Args:
        metrics: Records with step and seconds (of training so far).
        batch_size: Pictures per step.
    """
    if not {"step", "seconds"} <= set(metrics.columns):
        return None
    rows = metrics[["step", "seconds"]].dropna().tail(_RECORDS)
    if len(rows) < 2 or isinstance(batch_size, bool) or not isinstance(batch_size, int):
        return None
    steps = float(rows["step"].iloc[-1]) - float(rows["step"].iloc[0])
    seconds = float(rows["seconds"].iloc[-1]) - float(rows["seconds"].iloc[0])
    return steps * batch_size / seconds if steps > 0 and seconds > 0 else None


def newest(metrics: pd.DataFrame, column: str) -> float | None:
    """The last value recorded in a column."""
    if column not in metrics:
        return None
    values = pd.to_numeric(metrics[column], errors="coerce").dropna()
    return float(values.iloc[-1]) if len(values) else None
