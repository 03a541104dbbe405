"""What stands beside the code: contributing, citation, changelog, git's hook, issue forms."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
FORMS = sorted(REPOSITORY.glob(".github/ISSUE_TEMPLATE/*_*.yml"))
FIELDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def read_yaml(name: str) -> Any:
    return yaml.safe_load((REPOSITORY / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    return loaded["project"]


def pinned(name: str) -> str:
    (line,) = re.findall(
        rf"^{name}==(.+)$", (REPOSITORY / "constraints.txt").read_text(), flags=re.MULTILINE
    )
    return str(line)


def hooks() -> dict[str, dict[str, Any]]:
    return {repo["repo"]: repo for repo in read_yaml(".pre-commit-config.yaml")["repos"]}


def test_the_hook_runs_the_ruff_that_the_tests_run(project: dict[str, Any]) -> None:
    ruff = hooks()["https://github.com/astral-sh/ruff-pre-commit"]
    assert ruff["rev"] == f"v{pinned('ruff')}"
    tools = [Requirement(text) for text in project["optional-dependencies"]["test"]]
    (bound,) = [tool.specifier for tool in tools if tool.name == "ruff"]
    assert bound.contains(ruff["rev"].removeprefix("v"))
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]


def test_the_hook_leaves_the_notebooks_as_they_are() -> None:
    """Cell ids are kept; the notebooks hold no outputs, which is what would be removed."""
    (hook,) = hooks()["https://github.com/kynan/nbstripout"]["hooks"]
    assert hook == {"id": "nbstripout", "args": ["--keep-id"]}
    notebooks = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
    assert len(notebooks) >= 10
    for path in notebooks:
        for cell in yaml.safe_load(path.read_text("utf-8"))["cells"]:
            assert not cell.get("outputs") and cell.get("execution_count") is None, path.name


def test_pre_commit_takes_the_settings() -> None:
    pytest.importorskip("pre_commit", reason="pre-commit is not installed")
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one_that_github_shows(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    assert set(form) == {"name", "description", "labels", "body"}
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[a-z_]+", one) for one in ids)
    for field in form["body"]:
        assert field["type"] in FIELDS
        assert field["attributes"]["label"]
        if field["type"] == "checkboxes":
            assert all(option["label"] for option in field["attributes"]["options"])
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_the_form_for_defects_asks_for_the_run() -> None:
    assert [path.stem for path in FORMS] == ["bug_report", "feature_request"]
    assert read_yaml(".github/ISSUE_TEMPLATE/config.yml") == {"blank_issues_enabled": False}
    fields = {one["id"]: one for one in read_yaml(".github/ISSUE_TEMPLATE/bug_report.yml")["body"]}
    for field, file in (("config", "config.yaml"), ("environment", "environment.json")):
        assert file in fields[field]["attributes"]["label"]
        assert (REPOSITORY / "runs/demo" / file).is_file()
    for field in ("config", "environment", "command", "error", "what"):
        assert fields[field]["validations"] == {"required": True}


def test_the_citation_names_software_and_paper(project: dict[str, Any]) -> None:
    citation = read_yaml("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # those required
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    paper = citation["preferred-citation"]
    assert [one["family-names"] for one in paper["authors"]] == [
        *("Jain", "Paudel", "Danelljan", "Van Gool")
    ]
    assert paper["type"] == "conference-paper" and paper["year"] == 2021
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert paper["url"] in readme and paper["title"] in (REPOSITORY / "docs/method.md").read_text()


def test_the_changelog_keeps_its_format(project: dict[str, Any]) -> None:
    text = (REPOSITORY / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, flags=re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    assert len(versions) == len(re.findall(r"^## ", text, flags=re.MULTILINE))
    assert all(date for _, date in versions[1:])
    kinds = re.findall(r"^### (.+)$", text, flags=re.MULTILINE)
    assert kinds and set(kinds) <= {
        *("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
    }
    assert project["version"] in text


def typed(page: str) -> list[str]:
    """The lines of a page's shell blocks."""
    text = (REPOSITORY / page).read_text("utf-8")
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines()]


def test_what_contributing_tells_to_type_exists() -> None:
    from workbench.__main__ import _build_parser, _overrides

    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    lines, tried = typed("CONTRIBUTING.md"), 0
    for line in lines:
        words = [word for word in shlex.split(line) if "=" not in word or word.startswith("-")]
        if words[0] == "make":
            assert set(words[1:]) <= targets, line
        elif words[0] == ".venv/bin/workbench":
            options, unknown = _build_parser().parse_known_args(words[1:])
            _overrides(unknown, options)
        elif "pytest" in words:
            for test in words[words.index("pytest") + 1 :]:
                assert (REPOSITORY / test).exists(), line
        elif "-m" in words and words[2].startswith("helpers."):
            assert list((REPOSITORY / "tests").glob(words[2].replace(".", "/") + "*")), line
        else:
            continue
        tried += 1
    assert tried >= 9
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    for name in re.findall(r"`(tests/[\w/.]+|workbench/[\w/.]+)`", text):
        assert (REPOSITORY / name).exists(), name
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
