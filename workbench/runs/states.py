"""The part of a run directory that tells how training goes: status and metrics."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from workbench.runs import readers
from workbench.runs.atomic import naming, to_json, write_json, write_text
from workbench.runs.folder import RunFolder
from workbench.runs.lock import is_locked

State = Literal["running", "done", "failed"]
_STALE_SECONDS: Final = 300.0
_BAD_BATCH: Final = "bad_batch.json"


class StateFiles(RunFolder):
    """Reads and writes `status.json` and `metrics.jsonl`."""

    def write_status(self, state: State, **fields: object) -> None:
        """Says what the run is doing, with the time of saying it (`heartbeat`).

        Args:
            state: "running", "done" or "failed".
            **fields: Usually step, steps, eta_seconds and message.
        """
        status = {"state": state, **fields, "heartbeat": time.time(), "pid": os.getpid()}
        write_json(self.path / "status.json", status)

    def status(self) -> dict[str, Any]:
        """Reads the status; never fails.

        Returns:
            The last fields written. `state` is also "interrupted" (it says running, but no
            process holds the run's lock) or "unknown" (nothing readable was written).
            `heartbeat` is in seconds since 1970, or None.
        """
        unknown = {"state": "unknown", "heartbeat": None}
        try:
            status = json.loads((self.path / "status.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return unknown
        if not isinstance(status, dict) or not isinstance(status.get("state"), str):
            return unknown
        status = {**unknown, **status}
        if status["state"] == "running" and not self._is_alive(status["heartbeat"]):
            status["state"] = "interrupted"
        return status

    def _is_alive(self, heartbeat: object) -> bool:
        locked = is_locked(self.path)
        if locked is not None:
            return locked
        return isinstance(heartbeat, (int, float)) and time.time() - heartbeat < _STALE_SECONDS

    def write_bad_batch(self, step: int, *, loss: str, images: Sequence[str]) -> Path:
        """Keeps which images a step was about whose loss is no number.

        Args:
            step: The step, 1-based.
            loss: What the loss was: "nan", "inf".
            images: Ids of all images of the step.

        Returns:
            The file.
        """
        path = self.path / _BAD_BATCH
        write_json(path, {"step": step, "loss": loss, "images": list(images)})
        return path

    def bad_batch(self) -> dict[str, Any] | None:
        """Reads what `write_bad_batch` kept: step, loss and images; None if no loss stopped it.

        Raises:
            RunError: The file is damaged.
        """
        path = self.path / _BAD_BATCH
        return readers.read_json(path, remedy="delete it") if path.exists() else None

    def forget_bad_batch(self) -> None:
        """Removes it, as training is taken up again."""
        (self.path / _BAD_BATCH).unlink(missing_ok=True)

    def append_metrics(self, record: Mapping[str, object]) -> None:
        """Adds one line to the metrics.

        Args:
            record: `step` and any figures, numbers or text.
        """
        path = self.path / "metrics.jsonl"
        line = to_json(record) + "\n"
        with naming(path), path.open("ab+") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # the writer before was killed within its line
                    line = "\n" + line
            file.write(line.encode("utf-8"))

    def metrics(self) -> pd.DataFrame:
        """Reads all whole lines of the metrics.

        Returns:
            One row per record, in the order written; a column per name, NaN where a record
            lacks it. Empty, with the column `step`, when there are none.
        """
        records = [record for _, record in self._metric_lines()]
        if not records:
            return pd.DataFrame({"step": pd.Series(dtype="int64")})
        # JSON has no NaN; as None it would turn a column of numbers into one of objects.
        return pd.DataFrame(
            {name: math.nan if value is None else value for name, value in record.items()}
            for record in records
        )

    def truncate_metrics(self, step: int) -> None:
        """Drops the records after a step, so that a resumed run does not log them twice."""
        kept = [line for line, record in self._metric_lines() if record.get("step", 0) <= step]
        if (self.path / "metrics.jsonl").exists():
            write_text(self.path / "metrics.jsonl", "".join(line + "\n" for line in kept))

    def _metric_lines(self) -> list[tuple[str, dict[str, Any]]]:
        try:
            text = (self.path / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        lines = []
        for line in text.split("\n"):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):  # cut by a kill, or being written right now
                continue
            if isinstance(record, dict):
                lines.append((line, record))
        return lines
