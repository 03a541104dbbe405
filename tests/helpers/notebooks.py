"""Copies of the notebooks that tests may run: other parameters, a folder of their own."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client import BlockingKernelClient
from jupyter_client.connect import write_connection_file

from helpers.processes import Home, end_of

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
_LINKED = ("runs/demo", "benchmarks", "docs")
_FORKED = f"""
import pathlib, sys

from workbench.benchmarks import harness

def _fork(command, *, input, env):
    sys.path.append({str(REPOSITORY / "tests")!r})
    from helpers.processes import run_forked

    return run_forked(*command[1:], folder=pathlib.Path.cwd(), input=input, env=env)

harness._run_process = _fork
"""


def parameter_names(source: str) -> set[str]:
    """Names that a cell assigns at its top level."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
    return found


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def with_parameters(
    notebook: nbformat.NotebookNode, values: Mapping[str, object]
) -> nbformat.NotebookNode:
    """Inserts a cell after the parameters that assigns other values."""
    (place,) = [at for at, cell in enumerate(notebook.cells) if is_parameters(cell)]
    unknown = set(values) - parameter_names(notebook.cells[place].source)
    if unknown:
        raise ValueError(f"not among the notebook's parameters: {sorted(unknown)}")
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    if lines:
        cell = nbformat.v4.new_code_cell("\n".join(lines), id="injected-parameters")
        notebook.cells.insert(place + 1, cell)
    return notebook


def solution_blocks(cell: nbformat.NotebookNode) -> list[str]:
    """The Python in a cell that holds the solution of an exercise, else nothing."""
    if "solution" not in cell.metadata.get("tags", []):
        return []
    return re.findall(r"^```python\n(.*?)^```$", cell.source, flags=re.DOTALL | re.MULTILINE)


def with_solutions(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Puts the code of a solution behind its cell, to be run with the others."""
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        for number, block in enumerate(solution_blocks(cell)):
            cells.append(nbformat.v4.new_code_cell(block.rstrip(), id=f"solution-{number}"))
    notebook.cells = cells
    return notebook


def copy_notebook(
    path: Path, folder: Path, values: Mapping[str, object], *, solved: bool = False
) -> Path:
    """Writes FOLDER/notebooks/NAME, from where the demo run and the measurements are found."""
    for name in _LINKED:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(REPOSITORY / name)
    copy = folder / "notebooks" / path.name
    copy.parent.mkdir(exist_ok=True)
    notebook = with_parameters(nbformat.read(path, as_version=4), values)
    nbformat.write(with_solutions(notebook) if solved else notebook, copy)
    return copy


def run_cells(copy: Path, forks: Home, *, cell_timeout: float) -> nbformat.NotebookNode:
    """Runs a copy in place in a kernel that need not import anything anew.

    Raises:
        AssertionError: A cell failed; the message holds it and its traceback.
    """
    notebook = nbformat.read(copy, as_version=4)
    connection = copy.with_suffix(".kernel.json")
    write_connection_file(str(connection))
    kernel = forks.start("-m", "ipykernel_launcher", "-f", connection, cwd=copy.parent)
    client = BlockingKernelClient(connection_file=str(connection))
    client.load_connection_file()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        # Measurements in processes of their own, which else would import everything anew.
        _run_cell(client, nbformat.v4.new_code_cell(_FORKED), cell_timeout)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                _run_cell(client, cell, cell_timeout)
    finally:
        client.shutdown()
        client.stop_channels()
        end_of([kernel], timeout=30)
    return notebook


def _run_cell(client: BlockingKernelClient, cell: nbformat.NotebookNode, timeout: float) -> None:
    def keep(message: dict[str, Any]) -> None:
        if message["msg_type"] in ("display_data", "execute_result", "stream", "error"):
            cell.outputs.append(nbformat.v4.output_from_msg(message))

    reply = client.execute_interactive(
        cell.source, allow_stdin=False, timeout=timeout, output_hook=keep
    )["content"]
    trace = "\n".join(reply.get("traceback", []))
    assert reply["status"] == "ok", f"{cell.source}\n{trace}"


def run_notebook(copy: Path, *, cell_timeout: int, timeout: float) -> nbformat.NotebookNode:
    """Runs a copy in place by nbmake, from nothing, in a process of its own.

    Raises:
        AssertionError: A cell failed; the message ends as pytest's output.
    """
    (copy.parent / "pytest.ini").write_text("[pytest]\n")
    options = ["--nbmake", "--overwrite", f"--nbmake-timeout={cell_timeout}"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", copy.name]
    done = subprocess.run(
        command, cwd=copy.parent, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return nbformat.read(copy, as_version=4)
