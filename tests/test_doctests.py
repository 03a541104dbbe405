"""The examples in docstrings, run from the checkout as a reader would."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FEWEST = 20
MODULES = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("workbench", "app")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


def examples(module: str) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module))
    return [test for test in found if test.examples]


def complaints(tests: list[doctest.DocTest]) -> str:
    """What doctest says of examples that give something else; "" if none does."""
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in tests:
        runner.run(test, out=said.append)
    return "".join(said)


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    found = examples(module)
    assert found, f"{module}: its examples are in no docstring"
    assert complaints(found) == ""


@pytest.mark.parametrize(("answer", "heard"), [("4", ""), ("5", "Got:\n    4")])
def test_an_example_can_fail(answer: str, heard: str) -> None:
    text = f">>> 2 + 2\n{answer}\n"
    made = doctest.DocTestParser().get_doctest(text, {}, "made", None, None)
    said = complaints([made])
    assert heard in said and bool(said) == bool(heard)


def test_what_is_used_most_has_an_example() -> None:
    names = {test.name for module in MODULES for test in examples(module)}
    assert len(names) >= FEWEST
    assert {
        "workbench.segmenter.Segmenter",
        "workbench.losses.cross_entropy",
        "workbench.losses.modules.build_loss",
        "workbench.losses.regularizers.separation_penalty",
        "workbench.distances.logits",
        "workbench.evaluation.iou.StreamingIoU",
        "workbench.evaluation.confusions.SparseConfusions",
        "workbench.vocabulary.Vocabulary",
        "workbench.runs.directory.RunDirectory",
        "workbench.datasets.open_dataset",
        "workbench.models.build_model",
        "workbench.config.reading.from_overrides",
        "workbench.trainers",
    } <= names
