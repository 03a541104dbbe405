"""The pages of the repository and the site that is built of them."""

from __future__ import annotations

import importlib
import importlib.util
import posixpath
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", flags=re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
NOT_PUBLIC = {"benchmarks", "experiments", "kernels"}  # what measures, and inner loops


def pages() -> list[str]:
    names = [path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md")]
    return ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *sorted(names)]


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(text: str) -> set[str]:
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#{1,6} (.+)$", plain, flags=re.MULTILINE)
    return {slug(heading) for heading in headings}


def broken_links(text: str, page: str, read: Callable[[str], str | None]) -> list[str]:
    """Relative links of a page that lead nowhere.

    Args:
        text: Of the page.
        page: Its path in the repository.
        read: Path in the repository -> text, "" for a file that is none, None if it is missing.
    """
    found = []
    for target in LINK.findall(CODE.sub("", text)):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        place = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
        there = text if not path else read(place)
        if there is None or (anchor and anchor not in anchors(there)):
            found.append(target)
    return found


def read(place: str) -> str | None:
    path = REPOSITORY / place
    if not path.exists():
        return None
    return path.read_text("utf-8") if path.suffix == ".md" else ""


@pytest.mark.parametrize("page", pages())
def test_links_lead_somewhere(page: str) -> None:
    assert broken_links((REPOSITORY / page).read_text("utf-8"), page, read) == []


def test_pages_that_refer_to_each_other_are_looked_at() -> None:
    links = [link for page in pages() for link in LINK.findall((REPOSITORY / page).read_text())]
    assert len([link for link in links if "://" not in link]) > 60
    assert len([link for link in links if "#" in link]) > 10


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](b.md)", []),
        ("[a](c.md)", ["c.md"]),
        ("[a](b.md#the-1284-classes-of-it)", []),
        ("[a](b.md#of-it)", ["b.md#of-it"]),
        ("# Here\n[a](#here) [b](#there)", ["#there"]),
        ("![a](../x.png) and `[a](gone.md)`", []),
        ("[a](https://example.org/gone.md)", []),
        ("```\n[a](gone.md)\n```\n[b](also%20gone.md)", ["also%20gone.md"]),
    ],
)
def test_the_link_rule_can_fail(text: str, broken: list[str]) -> None:
    files = {"docs/b.md": "## The 1,284 classes: `of` [it](x.md)\n```\n# of it\n```", "x.png": ""}
    assert broken_links(text, "docs/a.md", files.get) == broken


def test_equations_survive_github() -> None:
    """Markdown takes a backslash before a sign for itself: ``\\,`` would become a comma."""
    plain = CODE.sub("", (REPOSITORY / "docs/method.md").read_text("utf-8"))
    assert plain.count("$$") >= 20
    assert re.findall(r"\\[^A-Za-z\s]", plain) == []


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script() -> ModuleType:
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    return load("build_site")


@pytest.mark.parametrize(
    ("target", "page", "found"),
    [
        ("using.md#from-python", "docs/training.md", "using.md#from-python"),
        ("docs/using.md", "README.md", "using.md"),
        ("../README.md#the-demo-run", "docs/datasets.md", "index.md#the-demo-run"),
        ("images/map.png", "docs/lvis.md", "images/map.png"),
        ("../notebooks/01_the_idea.ipynb", "docs/method.md", "notebooks/01_the_idea.html"),
        ("../notebooks/02_cityscapes.ipynb", "docs/method.md", None),
        ("../workbench/data/lvis_coco.csv", "docs/lvis.md", None),
        ("LICENSE", "README.md", None),
        ("#licence", "README.md", "#licence"),
        ("https://example.org/a.md", "README.md", "https://example.org/a.md"),
    ],
)
def test_links_of_the_repository_in_the_site(
    script: ModuleType, target: str, page: str, found: str | None
) -> None:
    assert script.in_site(target, page, ["01_the_idea"]) == found
    label = "a [b]" if found is None else f"[a [b]]({found})"
    text = f"See [a [b]]({target}), not `[a]({target})`.\n"
    assert script.staged(text, page, ["01_the_idea"]) == f"See {label}, not `[a]({target})`.\n"


def test_equations_become_mathml(script: ModuleType) -> None:
    page = (
        '<p>So <span class="arithmatex">\\(a &lt; b\\)</span></p>'
        '<div class="arithmatex">\\[\n\\frac{1}{C}\n\\]</div>'
    )
    made = script.with_mathml(page)
    assert "arithmatex" not in made and "\\" not in made
    inline, block = re.findall(r"<math.*?</math>", made)
    assert 'display="inline"' in inline and "<mi>a</mi><mo>&lt;</mo>" in inline.replace(
        "&#x0003C;", "&lt;"
    )
    assert 'display="block"' in block and "<mfrac><mrow><mn>1</mn></mrow>" in block


def test_the_api_lists_what_is_public(script: ModuleType) -> None:
    named = [name for modules in script.API.values() for name in modules]
    for name in named:
        importlib.import_module(f"workbench.{name}")
    packages = {path.parent.name for path in (REPOSITORY / "workbench").glob("*/__init__.py")}
    assert packages - NOT_PUBLIC <= set(named)


def test_the_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    """As `make docs-pages` does it, with one rendered notebook and one that is not."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    kept = tmp_path / "site/notebooks/01_the_idea.html"
    kept.parent.mkdir(parents=True)
    kept.write_text("<!doctype html><title>kept</title>")
    (tmp_path / "site/old.html").write_text("of an earlier build")
    command = [sys.executable, str(REPOSITORY / "docs/build_site.py"), str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    assert kept.read_text() == "<!doctype html><title>kept</title>"
    assert not (site / "old.html").exists()
    for page in pages():
        name = {"README.md": "index", "docs/README.md": "index"}.get(page, Path(page).stem.lower())
        assert (site / f"{name}.html").is_file(), page
    method = (site / "method.html").read_text("utf-8")
    assert method.count('display="block"') >= 10 and "arithmatex" not in method
    assert 'href="notebooks/01_the_idea.html"' in method
    losses = (site / "api/losses.html").read_text("utf-8")
    assert 'id="workbench.losses.streaming_cross_entropy"' in losses
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        fetched = re.findall(
            r'(?:src|srcset)="(?:https?:)?//[^"]*|<link[^>]+href="(?:https?:)?//', text
        )
        assert fetched == [], path.name


def test_a_broken_link_stops_the_build(
    script: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    script.stage(staging, tmp_path / "none")
    for page in (staging / "api").iterdir():
        page.write_text("# Short\n")
    with (staging / "using.md").open("a") as file:
        file.write("\n[gone](gone.md)\n")
    with pytest.raises(script.Abort, match="1 warnings in strict mode"):
        script.build_site(staging, tmp_path / "site")
    assert "gone.md" in caplog.text


def test_the_figure_of_the_method_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = load("method_figure")
    monkeypatch.setattr(script, "PICTURE", tmp_path / "method.png")
    script.main()
    assert (tmp_path / "method.png").stat().st_size > 20_000
