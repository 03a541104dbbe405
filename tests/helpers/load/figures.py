"""What is reported of a load: latency by action, and how memory goes on after the warm-up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Row = dict[str, Any]


class Act(NamedTuple):
    """One thing that a person did.

    Attributes:
        action: What.
        seconds: From sending it to the end of the script; None where none came.
        problem: What went wrong, "" if nothing.
    """

    action: str
    seconds: float | None
    problem: str


class Sample(NamedTuple):
    """The server's memory at a moment.

    Attributes:
        seconds: Since the beginning.
        resident: Bytes.
    """

    seconds: float
    resident: int


def latencies(acts: Sequence[Act]) -> list[Row]:
    """A row per action, in the order of their names.

    Returns:
        "action"; "count" of those that came to an end; "p50", "p95" and "slowest" in seconds,
        None where there is none; "errors".
    """
    rows = []
    for action in sorted({act.action for act in acts}):
        of = [act for act in acts if act.action == action]
        seconds = [act.seconds for act in of if act.seconds is not None]
        middle, high = np.quantile(seconds, (0.5, 0.95)) if seconds else (None, None)
        rows.append(
            {
                "action": action,
                "count": len(seconds),
                "p50": None if middle is None else round(float(middle), 4),
                "p95": None if high is None else round(float(high), 4),
                "slowest": round(max(seconds), 4) if seconds else None,
                "errors": sum(bool(act.problem) for act in of),
            }
        )
    return rows


def problems(acts: Sequence[Act]) -> list[Row]:
    """What went wrong, most frequent first: "what" and "count"."""
    found = Counter(f"{act.action}: {act.problem}" for act in acts if act.problem)
    return [{"what": what, "count": count} for what, count in found.most_common()]


def memory(samples: Sequence[Sample], warm_up: float) -> Row:
    """How memory goes on after the warm-up, by a straight line through all samples after it.

    Args:
        samples: In the order of time.
        warm_up: Seconds that do not count.

    Returns:
        "bytes_per_minute", the line's slope; "growth_bytes" along the line from the end of the
        warm-up to the last sample; "growth_share", what that is of the line's beginning;
        "resident_bytes" there; "peak_bytes" of all samples.

    Raises:
        ValueError: There are fewer than two samples after the warm-up.
    """
    after = [one for one in samples if one.seconds >= warm_up]
    if len(after) < 2:
        raise ValueError(f"{len(after)} samples after {warm_up:g} s: nothing can be said of growth")
    times = np.array([one.seconds for one in after])
    sizes = np.array([one.resident for one in after], dtype=np.float64)
    centred = times - times.mean()
    slope = float(centred @ (sizes - sizes.mean()) / (centred @ centred))
    span = float(times[-1] - times[0])
    begin = float(sizes.mean()) - slope * span / 2
    return {
        "bytes_per_minute": round(slope * 60),
        "growth_bytes": round(slope * span),
        "growth_share": round(slope * span / begin, 4),
        "resident_bytes": round(begin),
        "peak_bytes": max(one.resident for one in samples),
    }


def thinned(samples: Sequence[Sample], most: int) -> list[list[float]]:
    """At most so many samples, evenly: [seconds, MiB]."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(most, len(samples))).round())
    return [
        [round(samples[int(at)].seconds), round(samples[int(at)].resident / 2**20, 1)]
        for at in chosen
    ]
