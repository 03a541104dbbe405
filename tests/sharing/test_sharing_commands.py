"""The commands, and everything the page about sharing tells to type."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workbench.runs import RunDirectory
from workbench.sharing import SharedModel

MakeRun = Callable[..., RunDirectory]


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object, str]]:
    """(name, private, license on the card) of what would have gone to the hub."""
    calls: list[tuple[str, object, str]] = []

    class Hub:
        def __init__(self, token: object = None) -> None:
            self.private: object = "not asked"

        def create_repo(self, *, repo_id: str, private: object, exist_ok: bool) -> Any:
            self.private = private
            return type("Url", (), {"repo_id": repo_id})()

        def upload_folder(self, *, repo_id: str, folder_path: Path, **_: object) -> str:
            license = SharedModel.from_pretrained(folder_path).facts.license
            calls.append((repo_id, self.private, license))
            return f"https://hub.example/{repo_id}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    return calls


def test_save_pretrained(make_run: MakeRun, tmp_path: Path, cli: Any) -> None:
    run, out = make_run(), tmp_path / "shared"
    done = cli("save-pretrained", run.path, out, "--license", "mit", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["classes"] == 300 and values["step"] == 40
    assert values["miou"] == {"val": 0.375}  # two thirds of 0.5, a third of 0.125
    assert values["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    assert SharedModel.from_pretrained(out).facts.license == "mit"
    again = cli("save-pretrained", run.path, out)
    assert again.returncode == 2 and "--replace" in again.stderr
    assert cli("save-pretrained", run.path, out, "--replace").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nosuch", "out"], "nosuch"),
        (["mine", "mine"], "mine"),
        (["mine", "out", "--license", "My Own"], "license"),
        (["mine", "out", "--checkpoint", "best"], "best"),
    ],
)
def test_errors_are_one_line(
    make_run: MakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Any,
    arguments: list[str],
    word: str,
) -> None:
    make_run()
    monkeypatch.chdir(tmp_path)
    done = cli("save-pretrained", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and word in done.stderr
    assert not Path("out").exists()


def test_push(make_run: MakeRun, cli: Any, pushed: list[tuple[str, object, str]]) -> None:
    run = make_run()
    done = cli("push", run.path, "me/model", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["address"] == "https://hub.example/me/model"
    assert cli("push", run.path, "me/model", "--private", "--license", "mit").returncode == 0
    assert pushed == [("me/model", None, ""), ("me/model", True, "mit")]


def test_push_without_a_network_is_one_line(make_run: MakeRun, cli: Any) -> None:
    done = cli("push", make_run().path, "me/model")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1 and "hf auth login" in done.stderr


def test_what_the_page_says_works(
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli: Any,
    pushed: list[tuple[str, object, str]],
) -> None:
    text = (repository / "docs" / "sharing.md").read_text("utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(repository / "runs")
    demo = RunDirectory.open(repository / "runs" / "demo")
    demo.read_picture("val", demo.samples("val")[0]).save("picture.jpg")
    for kind, block in blocks:
        if kind == "python":
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(block, {})
            names = set(demo.vocabulary().names)
            shown = set(re.findall(r"'([^']+)'", said.getvalue()))
            assert shown and shown <= names
        for line in block.splitlines() if kind == "" else ():
            done = cli(*shlex.split(line)[1:])
            assert done.returncode == 0, f"{line}: {done.stderr}"
    assert pushed == [("NAME/shapeworld-1284", True, "apache-2.0")]
    files = set(re.findall(r"^\| `([\w.]+)` \|", text, flags=re.MULTILINE))
    assert files == {path.name for path in Path("shared/demo").iterdir()}


def test_the_card_shows_code_that_runs(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    SharedModel.from_run(make_run()).save_pretrained("shared")
    Image.fromarray(np.full((37, 53, 3), 99, np.uint8)).save("picture.jpg")
    card = Path("shared/README.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code.replace("FOLDER, OR NAME ON THE HUB", "shared"), {})
    assert "'class " in said.getvalue()
