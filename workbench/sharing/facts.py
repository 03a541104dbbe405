"""What is known about a trained model beside its weights: when, on what and how well."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workbench.errors import RunError
from workbench.evaluation.failures import FINE_IOU
from workbench.runs import RunDirectory

_LICENSE: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,49}")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Numbers and words of a run, for the card; none of them changes a prediction.

    Attributes:
        source: Name of the run.
        step: Training steps of these weights.
        seconds: Time these steps took; None if not recorded.
        environment: Versions and hardware of the training.
        evaluations: Headline numbers by split, of exactly these weights; with "weak_classes",
            the number of classes below an IoU of 0.25.
        stale: Splits that were evaluated with other weights, whose numbers are left out.
        license: Terms of the weights as hubs call them, "apache-2.0"; "" is not stated.
    """

    source: str
    step: int
    seconds: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    license: str = ""

    def __post_init__(self) -> None:
        """Checks the license, which goes into the head of a card.

        Raises:
            RunError: It is no name that hubs know.
        """
        if self.license and not _LICENSE.fullmatch(self.license):
            raise RunError(
                f"license {self.license[:60]!r}: give a short name in lower case, as apache-2.0"
            )


def facts_of_run(run: RunDirectory, step: int, *, license: str = "") -> Facts:
    """Collects what a run recorded about one of its checkpoints.

    Args:
        run: With a checkpoint.
        step: Of the checkpoint.
        license: Terms of the weights; "" leaves them open.

    Raises:
        RunError: A file of the run is damaged, or the license is no name.
    """
    evaluations, stale = {}, []
    for split in run.evaluations():
        summary = run.read_summary(split)
        if summary.get("checkpoint_step") != step:
            stale.append(split)
            continue
        iou = run.read_per_class(split)["iou"]
        evaluations[split] = {**summary, "weak_classes": int((iou < FINE_IOU).sum())}
    metrics = run.metrics()
    done = metrics[metrics["step"] <= step]
    seconds = float(done["seconds"].max()) if "seconds" in done else math.nan
    return Facts(
        source=run.name,
        step=step,
        seconds=seconds if math.isfinite(seconds) else None,
        environment=run.environment(),
        evaluations=evaluations,
        stale=stale,
        license=license,
    )


def facts_from_dict(values: object, *, label: str) -> Facts:
    """Reads facts from a file that somebody else made.

    Args:
        values: As ``dataclasses.asdict`` gives them; unknown ones are ignored.
        label: How errors call the file.

    Raises:
        RunError: A value has another type.
    """
    given = values if isinstance(values, Mapping) else {}
    known = {entry.name for entry in dataclasses.fields(Facts)}
    chosen = {str(name): value for name, value in given.items() if name in known}
    kinds: dict[str, type | tuple[type, ...]] = {
        "source": str,
        "step": int,
        "seconds": (int, float, type(None)),
        "environment": dict,
        "evaluations": dict,
        "stale": list,
        "license": str,
    }
    for name, kind in kinds.items():
        if name in chosen and not isinstance(chosen[name], kind):
            raise RunError(f"{label}: facts.{name} is of another type; share the model again")
    for name in ("source", "step"):
        if name not in chosen:
            raise RunError(f"{label}: facts.{name} is missing; share the model again")
    if not all(isinstance(summary, dict) for summary in chosen.get("evaluations", {}).values()):
        raise RunError(f"{label}: facts.evaluations is of another type; share the model again")
    return Facts(**chosen)
