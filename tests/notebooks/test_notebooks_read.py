"""What every notebook is held to, read from its file alone.

Every rule is a pure function to findings, so that each is also shown to fail.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from helpers.notebooks import (
    NOTEBOOKS,
    REPOSITORY,
    copy_notebook,
    is_parameters,
    parameter_names,
    solution_blocks,
    with_parameters,
    with_solutions,
)
from notebooks.parameters import TEST_PARAMETERS

MOST_LINES = 15
MOST_FUNCTION_LINES = 5
LOCAL = re.compile(r"(?<![\w.:/])/(?:home|root|tmp|mnt|work|Users|data)/|\b[A-Z]:\\\\|file://")

Notebook = nbformat.NotebookNode
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook: Notebook) -> list[Notebook]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def long_cells(notebook: Notebook) -> list[str]:
    sizes = [(cell.id, len(cell.source.splitlines())) for cell in code_cells(notebook)]
    return [f"cell {name}: {lines} lines" for name, lines in sizes if lines > MOST_LINES]


def stored(notebook: Notebook) -> list[str]:
    """Traces of a run: outputs, counts, the state of widgets."""
    found = [cell.id for cell in code_cells(notebook) if cell.outputs or cell.execution_count]
    return found + (["widgets"] if "widgets" in notebook.metadata else [])


def definitions(notebook: Notebook) -> list[str]:
    """Functions that belong in the library, and classes."""
    found = []
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ClassDef):
                found.append(f"class {node.name}")
            elif isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found += [f"def {node.name}"] if lines > MOST_FUNCTION_LINES else []
    return found


def local_paths(notebook: Notebook) -> list[str]:
    return [match.group() for cell in notebook.cells for match in LOCAL.finditer(cell.source)]


def silent_stretches(notebook: Notebook) -> list[str]:
    """Four code cells in a row with no word between them."""
    kinds = "".join("c" if cell.cell_type == "code" else "m" for cell in notebook.cells)
    return [f"cell {match.start()}" for match in re.finditer("c{4,}", kinds)]


def parameter_cells(notebook: Notebook) -> list[str]:
    cells = [cell for cell in notebook.cells if is_parameters(cell)]
    if len(cells) != 1:
        return [f"{len(cells)} cells are tagged parameters"]
    return [] if parameter_names(cells[0].source) else ["the parameters cell assigns nothing"]


def exercises(notebook: Notebook) -> list[str]:
    """One exercise, and behind it a cell that is its solution, closed, and nothing else."""
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    places = [at for at, found in enumerate(tags) if "solution" in found]
    if len(places) != 1:
        return [f"{len(places)} cells are tagged solution"]
    asked, told = (notebook.cells[at].source for at in (places[0] - 1, places[0]))
    closed = told.startswith("<details><summary>Solution</summary>\n")
    whole = told.count("<details") == 1 and told.endswith("\n</details>")
    found = [] if asked.startswith("## Exercise\n") else ["no exercise before the solution"]
    found += [] if closed and whole else ["the solution is not one closed <details>"]
    return found + ([] if solution_blocks(notebook.cells[places[0]]) else ["no code solves it"])


def missing_names(notebook: Notebook) -> list[str]:
    """Names of workbench that a notebook uses and the library does not offer."""
    found, modules = [], {}
    for cell in code_cells(notebook):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                names = [a for a in node.names if a.name.split(".")[0] == "workbench"]
                for alias in names:
                    found += [] if _module(alias.name) else [alias.name]
                    modules[alias.asname or "workbench"] = alias.name
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench"):
                for alias in node.names:
                    dotted = f"{node.module}.{alias.name}"
                    found += [] if _offered(str(node.module), alias.name) else [dotted]
                    if _module(dotted):
                        modules[alias.asname or alias.name] = dotted
    for cell in code_cells(notebook):
        found += list(_missing_attributes(ast.parse(cell.source), modules))
    return found


def _missing_attributes(tree: ast.Module, modules: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = modules.get(node.value.id)
            if owner is not None and not _offered(owner, node.attr):
                yield f"{owner}.{node.attr}"


def _module(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def _offered(module: str, name: str) -> bool:
    """Whether a name is public and at home there: listed in `__all__`, or made in the module."""
    if any(part.startswith("_") for part in (*module.split("."), name)):
        return False
    home = _module(module)
    if home is None:
        return False
    if _module(f"{module}.{name}") is not None:
        return True
    if hasattr(home, "__all__"):
        return name in home.__all__
    value = getattr(home, name, None)
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__module__ == module
    return hasattr(home, name)


RULES: list[Callable[[Notebook], list[str]]] = [
    *(long_cells, stored, definitions, local_paths, silent_stretches),
    *(parameter_cells, exercises, missing_names),
]


@every_notebook
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_notebook_keeps_the_rules(rule: Callable[[Notebook], list[str]], path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert rule(with_solutions(notebook)) == []


def test_notebooks_are_ruff_clean() -> None:
    for arguments in (["check"], ["format", "--check"]):
        command = [str(Path(sys.executable).parent / "ruff"), *arguments, "notebooks"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_the_table_of_test_parameters_fits() -> None:
    assert sorted(TEST_PARAMETERS) == [path.stem for path in NOTEBOOKS]
    for path in NOTEBOOKS:
        with_parameters(nbformat.read(path, as_version=4), TEST_PARAMETERS[path.stem])


def test_the_readme_lists_every_notebook() -> None:
    for readme in ("README.md", "notebooks/README.md"):
        text = (REPOSITORY / readme).read_text("utf-8")
        assert [path.name for path in NOTEBOOKS if path.stem not in text] == [], readme


def test_a_copy_takes_other_parameters(tmp_path: Path) -> None:
    made = nbformat.v4.new_code_cell("steps, size = 10, 20", metadata={"tags": ["parameters"]})
    path = tmp_path / "one.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[made]), path)
    copy = nbformat.read(copy_notebook(path, tmp_path, {"size": 3}), as_version=4)
    assert [cell.source for cell in copy.cells] == ["steps, size = 10, 20", "size = 3"]
    assert (tmp_path / "runs/demo/config.yaml").is_file()
    with pytest.raises(ValueError, match="epochs"):
        copy_notebook(path, tmp_path, {"epochs": 3})


def notebook_of(*sources: str) -> Notebook:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources])


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (long_cells, "x = 1\n" * 16),
        (definitions, "class A:\n    pass"),
        (definitions, "def f():\n" + "    x = 1\n" * 5),
        (local_paths, "root = '/ho" + "me/me/data'"),
        (parameter_cells, "x = 1"),
        (missing_names, "from workbench.runs import NoSuchThing"),
        (missing_names, "from workbench.runs import _private"),
        (missing_names, "from workbench.losses.one_pixel import ClassEmbeddings"),
        (missing_names, "from workbench import runs\nruns.no_such_thing()"),
        (missing_names, "import workbench.nothing"),
    ],
)
def test_a_rule_can_fail(rule: Callable[[Notebook], list[str]], source: str) -> None:
    assert len(rule(notebook_of(source))) == 1


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (definitions, "def f():\n    return 1"),
        (local_paths, "root = '../runs'\nurl = 'https://example.org/data/x'"),
        (missing_names, "from workbench import runs\nfrom workbench.runs import RunDirectory"),
    ],
)
def test_a_rule_can_pass(rule: Callable[[Notebook], list[str]], source: str) -> None:
    assert rule(notebook_of(source)) == []


def exercise(*, asked: str = "## Exercise\n\nHow?", told: str) -> Notebook:
    cells = [nbformat.v4.new_markdown_cell(asked), nbformat.v4.new_markdown_cell(told)]
    cells[1].metadata["tags"] = ["solution"]
    return nbformat.v4.new_notebook(cells=cells)


SOLUTION = (
    "<details><summary>Solution</summary>\n\n```python\nx = 1\ny = 2\n```\n\nSo.\n\n</details>"
)


def test_a_solution_is_found_and_run_behind_its_cell() -> None:
    good = exercise(told=SOLUTION)
    assert exercises(good) == []
    kinds = [(cell.cell_type, cell.source) for cell in with_solutions(good).cells]
    assert kinds[2:] == [("code", "x = 1\ny = 2")]
    assert exercises(exercise(asked="A word.", told=SOLUTION)) != []
    assert exercises(exercise(told=SOLUTION.replace("<details>", "<details open>"))) != []
    assert exercises(exercise(told=SOLUTION + "\n\nMore.")) != []
    assert exercises(exercise(told=SOLUTION.replace("```python", "```"))) != []
    assert exercises(notebook_of("1")) != []


def test_what_a_run_stores_is_found() -> None:
    notebook = notebook_of("1", "2")
    notebook.cells[0].outputs = [nbformat.v4.new_output("stream", text="1")]
    notebook.cells[1].execution_count = 2
    assert len(stored(notebook)) == 2


def test_a_silent_stretch_is_found() -> None:
    assert silent_stretches(notebook_of("1", "2", "3")) == []
    assert silent_stretches(notebook_of("1", "2", "3", "4")) == ["cell 0"]
