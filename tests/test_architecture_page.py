"""What docs/architecture.md adds to the workbench, added as it stands there."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.processes import Home
from PIL import Image
from streamlit.testing.v1 import AppTest

from workbench.datasets import prepare, write_sample
from workbench.runs import RunDirectory

pytestmark = pytest.mark.usefixtures("one_look_for_components")

CLASSES = 300
MOST_LINES = 30


@pytest.fixture(scope="module")
def examples(repository: Path) -> dict[str, dict[str, Any]]:
    """File name -> its text and the commands that are typed after it."""
    page = (repository / "docs/architecture.md").read_text("utf-8")
    blocks = re.findall(
        r"`(my_\w+\.py)`[^\n]*\n(?:[^`\n][^\n]*\n)*\n```python\n(.*?)```\n\n```sh\n(.*?)```",
        page,
        flags=re.DOTALL,
    )
    assert len(blocks) == len(re.findall("```python", page)) == 4
    return {name: {"text": text, "commands": typed} for name, text, typed in blocks}


@pytest.fixture
def desk(tmp_path: Path, examples: dict[str, dict[str, Any]]) -> Path:
    for name, example in examples.items():
        (tmp_path / name).write_text(example["text"], "utf-8")
    return tmp_path


def write_pairs(root: Path) -> None:
    """Photos of two halves, with a mask of ids up to 299 beside each."""
    for split, number in (("train", 6), ("val", 2)):
        (root / split).mkdir(parents=True)
        for index in range(number):
            mask = np.full((80, 80), 299 - index, dtype=np.uint16)
            mask[:, 40:] = index
            Image.fromarray(mask).save(root / split / f"{index:03}.png")
            color = np.stack([mask % 256, mask // 2, 255 - mask % 256], axis=-1).astype(np.uint8)
            Image.fromarray(color).save(root / split / f"{index:03}.jpg")
    names = "\n".join(f"thing {number}" for number in range(CLASSES))
    (root / "classes.csv").write_text(f"name\n{names}\n")


def type_in(forks: Home, folder: Path, commands: str, *more: str) -> list[str]:
    """Runs the commands of a block with its variables; trainings get two steps. What was said."""
    environment, said = {}, []
    for line in commands.splitlines():
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = value
            continue
        words = shlex.split(line)
        assert words[0] == "workbench"
        if words[1] == "train":
            words += ["--train.steps", "2", *more]
        done = forks.run("-m", *words, cwd=folder, env=environment)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        said.append(done.stdout)
    assert said
    return said


def losses(run: Path) -> list[float]:
    found = RunDirectory.open(run).metrics()["loss"].tolist()
    assert len(found) == 2 and np.isfinite(found).all()
    return [float(value) for value in found]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "small"
    write_sample("shapeworld", root, images=12, val_images=3, size=64, classes=CLASSES)
    prepare("shapeworld", root, workers=1)
    return root


def test_each_takes_less_than_thirty_lines(examples: dict[str, dict[str, Any]]) -> None:
    assert set(examples) == {"my_dataset.py", "my_loss.py", "my_backbone.py", "my_page.py"}
    for name, example in examples.items():
        code = [line for line in example["text"].splitlines() if line.strip()]
        assert 5 < len(code) < MOST_LINES, name
        assert name in example["commands"]


def test_a_dataset(forks: Home, desk: Path, examples: dict[str, dict[str, Any]]) -> None:
    """Images are loaded by a process of their own, which has to find the class as well."""
    write_pairs(desk / "data/pairs")
    checked, _ = type_in(forks, desk, examples["my_dataset.py"]["commands"], "--data.workers", "1")
    assert "300 classes" in checked
    losses(desk / "runs/pairs")
    run = RunDirectory.open(desk / "runs/pairs")
    assert run.config()["data"]["dataset"] == "pairs"
    table = run.vocabulary().table
    assert table["name"].tolist()[299] == "thing 299"
    assert table["train_pixels"].tolist()[299] == table["train_pixels"].tolist()[5] == 3200
    assert table["train_pixels"].sum() == 6 * 6400


def test_without_its_file_a_dataset_is_unknown(desk: Path, cli: Any) -> None:
    done = cli("data", "check", "pairs", desk)
    assert done.returncode == 2
    assert "no dataset is called 'pairs'" in done.stderr and "register_dataset" in done.stderr


def test_a_loss(forks: Home, desk: Path, small: Path, examples: dict[str, dict[str, Any]]) -> None:
    (desk / "data").mkdir()
    (desk / "data/small").symlink_to(small)
    commands = examples["my_loss.py"]["commands"]
    type_in(forks, desk, commands)
    (line,) = [line for line in commands.splitlines() if line.startswith("workbench train")]
    plain = line.replace("--loss.name focal", "--loss.name streaming").replace("/focal", "/plain")
    type_in(forks, desk, plain, "--loss.balance", "inverse_sqrt")
    focal, exact = losses(desk / "runs/focal"), losses(desk / "runs/plain")
    # At the start nothing is known: every factor (1 - p)^2 is just below 1.
    assert 0.9 * exact[0] < focal[0] < exact[0]


def test_a_backbone(
    forks: Home, desk: Path, small: Path, examples: dict[str, dict[str, Any]]
) -> None:
    (desk / "data").mkdir()
    (desk / "data/small").symlink_to(small)
    type_in(forks, desk, examples["my_backbone.py"]["commands"])
    losses(desk / "runs/stairs")
    state = RunDirectory.open(desk / "runs/stairs").load_checkpoint("last").model
    assert state["network.backbone.step4.conv.weight"].shape == (64, 48, 3, 3)


@pytest.fixture
def own_page(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from app import pages

    before = dict(pages.PAGES)
    monkeypatch.setenv("WORKBENCH_PLUGINS", str(desk / "my_page.py"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("my_page", None)
    pages.PAGES.clear()
    pages.PAGES.update(before)


def test_a_page_of_the_app(
    repository: Path, own_page: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app import pages

    monkeypatch.setattr(sys, "argv", ["main.py", "--runs", str(repository / "runs")])
    main = str(repository / "app/main.py")
    first = AppTest.from_file(main, default_timeout=60).run()
    assert not first.exception and first.title[0].value == "demo"
    assert list(pages.PAGES)[-1] == "largest"
    # AppTest goes to files only; the first page is the one that it opens.
    in_front = {"largest": pages.PAGES["largest"], **pages.PAGES}
    pages.PAGES.clear()
    pages.PAGES.update(in_front)
    app = AppTest.from_file(main, default_timeout=60).run()
    assert not app.exception and not app.error
    assert app.title[0].value == "Largest classes"
    shown = app.dataframe[0].value
    truth = RunDirectory.open(repository / "runs/demo").read_per_class("val")
    largest = truth.sort_values("truth_pixels", ascending=False).head(20)
    assert sorted(shown["truth_pixels"]) == sorted(largest["truth_pixels"])


def test_a_broken_page_is_a_line(desk: Path, own_page: None, repository: Path) -> None:
    (desk / "my_page.py").write_text("import no_such_module_of_mine\n")
    app = AppTest.from_file(str(repository / "app/main.py"), default_timeout=60).run()
    assert not app.exception
    (error,) = app.error
    assert "no\\_such\\_module\\_of\\_mine" in error.value
