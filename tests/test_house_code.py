"""The rules of the house that code and files show: what is never written here.

Every rule is a pure function to findings, so that each is also shown to fail.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench.datasets import DATASETS

REPOSITORY = Path(__file__).resolve().parents[1]

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_TRAINER_LINES = 249
MAX_FILE_BYTES = 5_000_000
MAX_TREE_BYTES = 30_000_000

# Files that only workbench/runs may name: it alone knows the layout of a run directory.
ARTIFACTS = {
    *("metrics.jsonl", "status.json", "environment.json", "model.safetensors", "trainer.json"),
    *("optimizer.safetensors", "summary.json", "per_class.parquet", "per_image_class.parquet"),
    *("confusions.parquet", "projection.parquet"),
}

# In pieces, so that this file does not contain what it looks for.
MACHINE = re.compile(
    rb"(?<![\w.])(/wo" + rb"rk/|/tm" + rb"p/|/ro" + rb"ot/|/home/[a-z]|fa" + rb"rm-)"
    rb"|\.lib" + rb"rary/"
)
REGISTRY = re.compile(rb"https?://[^\s\"']*(simple/|registry\.|/pypi/|/whl/)")


def nodes(source: str) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(source))


def called(node: ast.Call) -> str:
    """Dotted name of what is called: `torch.load`, `eval`; `?.load` on anything unnamed."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        return f"{owner.id if isinstance(owner, ast.Name) else '?'}.{node.func.attr}"
    return "?"


PICKLING = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("jsonpickle", "runpy", "code", "imp"),
}
NEVER = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *(f"yaml.{kind}load{all_}" for kind in ("", "unsafe_", "full_") for all_ in ("", "_all")),
    *("torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("pandas.read_pickle", "pandas.eval", "numpy.lib.format.read_array"),
}
UNSAFE_LOADERS = {f"yaml.{kind}Loader" for kind in ("", "C", "Unsafe", "CUnsafe", "Full", "CFull")}


def origins(source: str) -> dict[str, str]:
    """What the names of imports stand for: `np` -> `numpy`, `load` -> `torch.load`."""
    found = {"pd": "pandas", "np": "numpy"}
    for node in nodes(source):
        if isinstance(node, ast.Import):
            found |= {one.asname: one.name for one in node.names if one.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return found


def dotted(node: ast.expr, known: dict[str, str]) -> str:
    """The full name of an expression: `torch.jit.load`; `?.load` on anything unnamed."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value, known)}.{node.attr}"
    return "?"


def dangerous(source: str) -> list[str]:
    """Code that can run what a file says: pickle in all its disguises, eval, a shell."""
    found, known = [], origins(source)
    for node in nodes(source):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.split(".")[0] for alias in node.names}
            origin = getattr(node, "module", None) or ""
            absolute = not getattr(node, "level", 0)
            bad = (names if isinstance(node, ast.Import) else {origin.split(".")[0]}) & PICKLING
            found += [f"line {node.lineno}: imports {name}" for name in sorted(bad) if absolute]
        elif isinstance(node, ast.Attribute | ast.Name):
            if dotted(node, known) in UNSAFE_LOADERS:
                found.append(f"line {node.lineno}: names {dotted(node, known)}")
        elif isinstance(node, ast.Call):
            name = dotted(node.func, known).removeprefix("builtins.")
            options = {one.arg: one.value for one in node.keywords}
            # What is not written out as safe is not safe.
            pickles = "allow_pickle" in options and not is_false(options["allow_pickle"])
            shell = "shell" in options and not is_false(options["shell"])
            whole = not isinstance(options.get("weights_only"), ast.Constant) or is_false(
                options["weights_only"]
            )
            if (
                name in NEVER
                or name.endswith(".to_pickle")
                or (name == "torch.load" and whole)
                or pickles
                or shell
            ):
                found.append(f"line {node.lineno}: calls {name}")
    return found


def is_false(node: ast.expr) -> bool:
    """Whether an argument is written out as False."""
    return isinstance(node, ast.Constant) and node.value is False


def ignore_index(source: str) -> list[str]:
    """Assignments of IGNORE_INDEX or of its file twin, and their values written out."""
    found = []
    for node in nodes(source):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            name = getattr(target, "id", getattr(target, "attr", ""))
            if name.upper().startswith("IGNORE_"):
                found.append(f"line {target.lineno}: assigns {name}")
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if getattr(node.operand, "value", None) == 100:
                found.append(f"line {node.lineno}: -100 written out")
        elif isinstance(node, ast.Constant) and node.value == 65535:
            found.append(f"line {node.lineno}: 65535 written out")
    return found


def dataset_names(source: str) -> list[str]:
    """Comparisons and matches with a dataset's key."""

    def keys(node: ast.AST) -> set[str]:
        return {
            str(part.value)
            for part in ast.walk(node)
            if isinstance(part, ast.Constant) and part.value in DATASETS
        }

    found = []
    for node in nodes(source):
        tested: set[str] = set()
        if isinstance(node, ast.Compare):
            tested = keys(node)
        elif isinstance(node, ast.match_case):
            tested = keys(node.pattern)
        elif isinstance(node, ast.Call) and called(node).endswith(("startswith", "endswith")):
            tested = {key for argument in node.args for key in keys(argument)}
        found += [f"tests the dataset's name {key!r}" for key in sorted(tested)]
    return found


def artifact_names(source: str) -> list[str]:
    """File names of the run directory, as whole strings or the end of a path."""
    return [
        f"line {node.lineno}: names {node.value}"
        for node in nodes(source)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.rpartition("/")[2] in ARTIFACTS
    ]


def prints(source: str) -> list[str]:
    return [
        f"line {node.lineno}: prints"
        for node in nodes(source)
        if isinstance(node, ast.Call) and called(node) in ("print", "sys.stdout.write")
    ]


def too_long(source: str) -> list[str]:
    lines = source.count("\n")
    found = [f"{lines} lines"] if lines > MAX_FILE_LINES else []
    for node in nodes(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"{node.name}() has {length} lines")
    return found


def of_this_machine(content: bytes) -> list[str]:
    """Paths of the machine it was written on, and addresses of package registries."""
    return [
        match.group().decode("utf-8", "replace")
        for pattern in (MACHINE, REGISTRY)
        for match in pattern.finditer(content)
    ]


Rule = Callable[[str], list[str]]


def broken(rule: Rule, *patterns: str, but: str = "") -> str:
    """Findings of a rule in the checkout's modules, a line each; `but` is a prefix left out."""
    paths = sorted(path for pattern in patterns for path in REPOSITORY.glob(pattern))
    assert paths
    return "\n".join(
        f"{name}: {finding}"
        for path in paths
        if not (name := path.relative_to(REPOSITORY).as_posix()).startswith(but or "-")
        for finding in rule(path.read_text("utf-8"))
    )


LIBRARY, APP, TESTS = "workbench/**/*.py", "app/**/*.py", "tests/**/*.py"


def test_nothing_runs_what_a_file_says() -> None:
    assert broken(dangerous, LIBRARY, APP) == ""


def test_one_ignore_index() -> None:
    assert broken(ignore_index, LIBRARY, APP, but="workbench/constants.py") == ""
    constants = (REPOSITORY / "workbench/constants.py").read_text("utf-8")
    assert len([f for f in ignore_index(constants) if "assigns IGNORE_INDEX" in f]) == 1


def test_no_dataset_name_is_tested_outside_datasets() -> None:
    assert broken(dataset_names, LIBRARY, APP, but="workbench/datasets/") == ""


def test_only_runs_names_the_artifacts() -> None:
    assert broken(artifact_names, LIBRARY, APP, but="workbench/runs/") == ""


def test_only_the_command_line_prints() -> None:
    assert broken(prints, LIBRARY, but="workbench/__main__.py") == ""


def test_files_and_functions_are_short() -> None:
    assert broken(too_long, LIBRARY, APP, TESTS) == ""


def test_the_trainer_is_one_short_loop() -> None:
    lines = (REPOSITORY / "workbench/trainers/trainer.py").read_text("utf-8").count("\n")
    assert lines <= MAX_TRAINER_LINES


@pytest.fixture(scope="module")
def tree() -> dict[str, bytes]:
    """Name -> content of all files that are, or would be, under version control."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout: there is no list of its files")
    names = [name for name in listing.stdout.decode().split("\0") if name]
    paths = {name: REPOSITORY / name for name in names}
    return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}


def test_no_trace_of_a_machine(tree: dict[str, bytes]) -> None:
    assert {n: found for n, content in tree.items() if (found := of_this_machine(content))} == {}


def test_the_checkout_stays_small(tree: dict[str, bytes]) -> None:
    sizes = {name: len(content) for name, content in tree.items()}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES} == {}
    assert sum(sizes.values()) < MAX_TREE_BYTES


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (dangerous, "import pickle"),
        (dangerous, "def f():\n    from joblib import load"),
        (dangerous, "eval('1')"),
        (dangerous, "import yaml\nyaml.load(text, Loader)"),
        (dangerous, "torch.load(path)"),
        (dangerous, "torch.load(path, weights_only=False)"),
        (dangerous, "np.load(path, allow_pickle=True)"),
        (dangerous, "frame[['a']].to_pickle(path)"),
        (dangerous, "subprocess.run(command, shell=True)"),
        (dangerous, "subprocess.run(command, shell=flag)"),
        (dangerous, "np.load(path, allow_pickle=flag)"),
        (dangerous, "from torch import load as read\nread(path)"),
        (dangerous, "import torch as t\nt.load(path, weights_only=flag)"),
        (dangerous, "import yaml as y\ny.unsafe_load_all(text)"),
        (dangerous, "from yaml import full_load\nfull_load(text)"),
        (dangerous, "import yaml\nloader = yaml.UnsafeLoader(text)"),
        (dangerous, "import builtins\nbuiltins.eval('1')"),
        (dangerous, "torch.jit.load(path)"),
        (dangerous, "subprocess.getoutput('ls')"),
        (dangerous, "import marshal"),
        (ignore_index, "IGNORE_INDEX = -1"),
        (ignore_index, "class A:\n    ignore_index: int = 255"),
        (ignore_index, "mask[mask < 0] = -100"),
        (ignore_index, "mask == 65535"),
        (dataset_names, "if key == 'voc': pass"),
        (dataset_names, "x = key in ('ade20k', other)"),
        (dataset_names, "x = key.startswith('ade20k')"),
        (dataset_names, "match key:\n    case 'shapeworld':\n        pass"),
        (artifact_names, "path / 'metrics.jsonl'"),
        (artifact_names, "open('runs/demo/evaluation/val/summary.json')"),
        (prints, "print('loss', loss)"),
        (too_long, "\n" * 401),
        (too_long, "def f():\n" + "    x = 1\n" * 60),
    ],
)
def test_a_rule_can_fail(rule: Rule, source: str) -> None:
    assert len(rule(source)) == 1


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (dangerous, "model.eval()\nyaml.safe_load(text)\ntorch.load(path, weights_only=True)"),
        (
            dangerous,
            "np.load(path, allow_pickle=False)\nrun(command, shell=False)\nyaml.SafeLoader",
        ),
        (ignore_index, "from workbench.constants import IGNORE_INDEX\nx = 100"),
        (dataset_names, "data = Data(dataset='voc')\nif name == 'other': pass"),
        (artifact_names, "help = 'writes summary.json and more'"),
        (prints, "figure.print()"),
        (too_long, "\n" * 400),
    ],
)
def test_a_rule_can_pass(rule: Rule, source: str) -> None:
    assert rule(source) == []


def test_the_machine_rule_can_fail() -> None:
    for bad in ("/wo" + "rk/main/x.py", "/tm" + "p/x", "https://pypi.org/sim" + "ple/torch"):
        assert len(of_this_machine(bad.encode())) == 1
    assert of_this_machine(b"see https://arxiv.org/abs/1 and homework/x, ~/data") == []
