"""Runs that are half written, damaged or deleted while open, and three people at once."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from helpers.runs import add_checkpoint

from workbench.runs import RunDirectory, write_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

LINKS = (
    "Overview",
    "Predictions",
    "Classes",
    "Rare-class failures",
    "Class map",
    "Vocabulary",
    "Memory",
)
OpenPage = Callable[..., Any]
Settle = Callable[..., None]


def invented_run(path: Path) -> None:
    """The run of tests/app/conftest.py: whole, without a checkpoint."""
    source = Path(__file__).resolve().parents[1] / "app" / "conftest.py"
    spec = importlib.util.spec_from_file_location("app_fixtures_broken", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write_run(path)


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, serve: Callable[..., Any]
) -> Iterator[tuple[str, Path]]:
    """Address of an app, and its folder of runs: "demo" whole, "half" and "torn" not."""
    folder = tmp_path_factory.mktemp("broken")
    runs = folder / "runs"
    invented_run(runs / "demo")
    whole = RunDirectory.open(runs / "demo")
    classes = whole.vocabulary()
    half = RunDirectory.create(runs / "half", config=whole.config(), vocabulary=classes)
    half.write_status("running", step=3, steps=100)
    half.append_metrics({"step": 1, "loss": 7.0})
    shutil.copytree(runs / "demo", runs / "torn")
    for file in (runs / "torn").rglob("*"):
        if file.is_file() and file.suffix != ".jpg":
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with serve(runs, folder / "server.log") as address:
        yield address, runs


def is_calm(page: Page) -> None:
    """Something is said, and nothing of it is an exception or a JavaScript error."""
    assert page.locator('[data-testid="stException"]').count() == 0
    assert page.watch.faults == []  # type: ignore[attr-defined]
    assert len(page.locator('[data-testid="stMain"]').inner_text().split()) > 3
    assert "Traceback" not in page.content()


def visit_all(page: Page, settle: Settle) -> None:
    for link in LINKS:
        page.get_by_role("link", name=link, exact=True).click()
        page.wait_for_function(
            "link => document.querySelector('[data-testid=stSidebarNavLink][aria-current=page]')"
            "?.innerText.includes(link)",
            arg=link,
        )
        settle(page)
        is_calm(page)


@pytest.mark.parametrize("name", ["half", "torn"])
def test_broken_runs_open_on_every_page(
    open_page: OpenPage, settle: Settle, served: tuple[str, Path], name: str
) -> None:
    page = open_page(f"/?run={name}", address=served[0])
    assert page.locator('[data-testid="stMain"] h1').inner_text() == name
    visit_all(page, settle)
    page.wait_for_url(re.compile(f"run={name}"))


def test_a_run_deleted_while_open(
    open_page: OpenPage, settle: Settle, served: tuple[str, Path]
) -> None:
    """The pages say so once, and go on with another run."""
    address, runs = served
    shutil.copytree(runs / "demo", runs / "doomed")
    page = open_page("/classes?run=doomed&class=1283", address=address)
    page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
    shutil.rmtree(runs / "doomed")
    visit_all(page, settle)
    assert "run=doomed" not in page.url
    page = open_page("/predictions?run=doomed", address=address)
    page.get_by_text("There is no run doomed here").wait_for()
    is_calm(page)


@pytest.mark.parametrize("loss", ["deleted", "torn"])
def test_a_run_lost_while_its_classes_are_edited(
    open_page: OpenPage, served: tuple[str, Path], loss: str
) -> None:
    """A click runs a part of the page alone, past what looks at the run when the page opens."""
    address, runs = served
    name = f"edited-{loss}"
    shutil.copytree(runs / "demo", runs / name)
    add_checkpoint(runs / name)
    page = open_page(f"/vocabulary?run={name}", address=address)
    page.locator(".picker[data-ready]").wait_for()
    if loss == "deleted":
        shutil.rmtree(runs / name)
    else:
        (model,) = (runs / name).glob("checkpoints/*/model.safetensors")
        write_bytes(model.parent.with_name("last"), b"torn")  # changes the folder's time
        model.write_bytes(model.read_bytes()[:1000])
    page.get_by_test_id("stButtonGroup").get_by_text("Merge", exact=True).click()
    said = "This run is no longer there" if loss == "deleted" else "cannot be read"
    page.get_by_text(said).wait_for()
    is_calm(page)
    page.close()


def test_the_last_run_deleted_while_open(
    open_page: OpenPage, settle: Settle, tmp_path: Path, serve: Callable[..., Any]
) -> None:
    runs = tmp_path / "runs"
    invented_run(runs / "only")
    with serve(runs, tmp_path / "server.log") as address:
        page = open_page("/classes", address=address)
        page.locator('[data-testid="stDataFrame"] canvas').first.wait_for()
        shutil.rmtree(runs / "only")
        page.get_by_role("link", name="Class map").click()
        page.get_by_text("No runs yet").wait_for()
        is_calm(page)
        page.close()
    assert "Traceback" not in (tmp_path / "server.log").read_text("utf-8")


@pytest.mark.slow
def test_three_sessions_at_once(
    open_page: OpenPage, settle: Settle, served: tuple[str, Path]
) -> None:
    """Each keeps its own choices while all click in turn."""
    address, _ = served
    chosen = ("3", "700", "1283")
    pages = [open_page(f"/classes?class={number}", address=address) for number in chosen]
    for link in ("Class map", "Rare-class failures", "Classes"):
        for page in pages:
            page.get_by_role("link", name=link, exact=True).click()
        for page in pages:
            page.wait_for_function(
                "link => document.querySelector('[data-testid=stMain] h1')?.innerText === link",
                arg=link,
            )
            settle(page)
    for page, number in zip(pages, chosen, strict=True):
        assert f"class={number}" in page.url
        assert page.get_by_text(f"class {number} ").count() > 0
        is_calm(page)
