"""Fixtures that every test may use: places, the command line, a browser, fewer threads."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before torch and numba are imported. One thread adds up in the same order on every machine,
# and tests are too small to gain from more. The hub is closed: no test may need a download.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["NUMBA_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import hypothesis
import pytest

if TYPE_CHECKING:
    from helpers.processes import Home
    from playwright.sync_api import Browser

REPOSITORY = Path(__file__).resolve().parents[1]

LONG_FILES = ("test_jupyterlab.py", "test_notebooks_run.py", "test_processes.py", "test_pages.py")

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

# A machine that is busy with something else is slow, and no test is wrong for that.
hypothesis.settings.register_profile("workbench", deadline=None)
hypothesis.settings.load_profile("workbench")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots",
        metavar="DIR",
        default=None,
        help="keep the browser tests' screenshots here (default: a temporary folder)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where browser tests alone are asked for, files without any are not even imported."""
    wanted = str(config.option.markexpr).startswith("browser")
    if wanted and collection_path.match("test_*.py"):
        return "mark.browser" not in collection_path.read_text("utf-8") or None
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files come first: one that begins last keeps a core busy while the others idle."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def one_look_for_components() -> Iterator[None]:
    """Streamlit reads what every installed package says of itself anew for every AppTest."""
    from streamlit.components.v2 import manifest_scanner

    once = functools.cache(manifest_scanner.scan_component_manifests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", once)
        yield


@pytest.fixture(scope="session")
def png_header() -> Callable[[int, int], bytes]:
    """A PNG of a few bytes that claims a size and has no pixels."""

    def make(width: int, height: int) -> bytes:
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
        return b"\x89PNG\r\n\x1a\n" + chunk

    return make


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Real files in the official layouts; they lie beside the checkout and are never committed."""
    root = REPOSITORY.parent / "shared" / "realdata"
    if not root.is_dir():
        pytest.skip("no real data: ../shared/realdata is not there")
    return root


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the system's Chromium."""
    from workbench.benchmarks.app_browser import BROWSERS

    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    pytest.skip("no Chromium found: run `make browser`")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """A headless Chromium that talks to this machine only."""
    from playwright.sync_api import sync_playwright

    from workbench.benchmarks.app_browser import FLAGS

    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield instance
        instance.close()


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for screenshots: `--screenshots=DIR`, else a temporary one."""
    chosen = request.config.getoption("--screenshots")
    if chosen is None:
        return tmp_path_factory.mktemp("screenshots")
    folder = Path(str(chosen))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Runs the command line in this process: `cli("evaluate", run, "--json")`.

    Returns a CompletedProcess with returncode, stdout and stderr, as `cli_subprocess` does.
    """

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        from workbench.__main__ import main

        command = [str(argument) for argument in arguments]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: object = main(command)
            except SystemExit as stop:
                code = stop.code
        if isinstance(code, str):  # sys.exit("message") prints it and exits with 1
            err.write(code + "\n")
            code = 1
        returncode = code if isinstance(code, int) else 0
        return subprocess.CompletedProcess(command, returncode, out.getvalue(), err.getvalue())

    return run


@pytest.fixture(scope="session")
def cli_subprocess() -> Cli:
    """Runs `python -m workbench` as a user would; `cwd=` and `timeout=` as in subprocess.run."""

    def run(
        *arguments: object, cwd: Path | None = None, timeout: float = 240.0
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workbench", *(str(argument) for argument in arguments)]
        return subprocess.run(
            command,
            cwd=cwd,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Runs `python COMMAND` in processes of their own that need not import anything anew."""
    from helpers.processes import Home

    with contextlib.closing(Home(tmp_path_factory.mktemp("said"))) as made:
        yield made


@pytest.fixture(scope="session")
def forked_workers(forks: Home) -> Iterator[None]:
    """Measurements run in such processes; where a notebook makes them, see helpers.notebooks."""
    from workbench.benchmarks import harness

    def run(command: list[str], *, input: str, env: dict[str, str]) -> object:
        return forks.run(*command[1:], input=input, env=env, timeout=280)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "_run_process", run)
        yield
