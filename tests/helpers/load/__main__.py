"""``python -m helpers.load --sessions 20 --minutes 10 --json FILE``: the app under load."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1")


def main() -> int:
    """Loads the app; the exit code says whether anybody saw an error."""
    from helpers.load.work import THINK, run_load
    from workbench.benchmarks import app
    from workbench.benchmarks.app_data import IMAGES
    from workbench.benchmarks.machine import describe_machine
    from workbench.runs import write_json

    parser = argparse.ArgumentParser(prog="helpers.load", description=__doc__)
    parser.add_argument("--sessions", type=int, default=20, help="one of them a real Chromium")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=0.0, help="minutes before, acting quickly")
    parser.add_argument("--think", type=float, default=THINK, help="seconds between acts, mean")
    parser.add_argument("--images", type=int, default=IMAGES, help="of the evaluation")
    parser.add_argument("--runs", type=Path, help="folder to make the runs in, or to find them")
    parser.add_argument("--log", type=Path, help="keep what the server says in this file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.runs or Path(scratch) / "runs"
        facts = app.make_runs(folder, options.images)
        machine = describe_machine()
        rows = run_load(
            folder,
            app.RUN,
            options.log or Path(scratch) / "server.log",
            sessions=options.sessions,
            seconds=options.minutes * 60,
            warm_up=options.warm_up * 60,
            think=options.think,
            seed=options.seed,
        )
    write_json(options.json, [{**row, **facts, "machine": machine} for row in rows])
    for row in rows:
        shown = {name: value for name, value in row.items() if name != "samples"}
        sys.stderr.write(f"{shown}\n")
    return int(rows[0]["errors"] > 0)


if __name__ == "__main__":
    sys.exit(main())
