"""The process a measurement runs in: ``python -m workbench.benchmarks.worker ANSWER``.

Reads one request as JSON from standard input and writes the answer to the file named;
standard output is left to whatever libraries have to say.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from workbench.benchmarks.harness import answer_request
from workbench.plugins import load_plugins

if __name__ == "__main__":
    load_plugins()
    answer_request(json.load(sys.stdin), Path(sys.argv[1]))
