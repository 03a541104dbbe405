"""``python -m helpers.mutations --json FILE``: break formulas one by one, and see who notices."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from helpers.mutations.breaks import guards_of, rotten
from helpers.mutations.of_losses import LOSSES
from helpers.mutations.of_metrics import METRICS
from helpers.mutations.trial import GOLDEN, Copy

REPOSITORY = Path(__file__).resolve().parents[3]
IN_TRAINING = (
    *("workbench/losses/", "workbench/kernels/", "workbench/distances.py"),
    "workbench/neighbours.py",
)
"""What a training on a CPU computes with, but for kernels that need a GPU."""


def main() -> int:
    """Tries the breaks; the exit code says whether one was not noticed."""
    parser = argparse.ArgumentParser(prog="helpers.mutations", description=__doc__)
    parser.add_argument("--only", default="", help="those whose words or file hold this text")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the file has")
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    breaks = [one for one in (*LOSSES, *METRICS) if options.only in f"{one.path} {one.what}"]
    if found := rotten(breaks, REPOSITORY):
        sys.exit("\n".join(found))

    from workbench.benchmarks.machine import describe_machine
    from workbench.runs import write_json

    before = json.loads(options.json.read_text("utf-8")) if options.resume else []
    known = {(row["path"], row["what"]): row for row in before}
    rows: list[dict[str, Any]] = []
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="mutations-") as place:
        copy = Copy(REPOSITORY, Path(place).resolve())
        if not copy.is_used():
            sys.exit("tests in the copy import another workbench")
        whole = sorted({GOLDEN, *(test for one in breaks for test in guards_of(one.path))})
        if failed := copy.pytest(whole)[0]:
            sys.exit(f"{failed} fails although nothing is broken")
        for one in breaks:
            if row := known.get((one.path, one.what)):
                rows.append(row)
                continue
            golden = one.path.startswith(IN_TRAINING) and "/gpu_" not in one.path
            outcome = copy.try_break(one, golden=golden)
            row = {"what": one.what, "path": one.path, **outcome._asdict()}
            sys.stderr.write(f"{row}\n")
            rows.append({**row, "machine": machine})
            write_json(options.json, rows)
    return int(not all(row["test"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
