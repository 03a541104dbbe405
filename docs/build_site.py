"""Builds the site from the pages in docs/, the README and the library's docstrings: `make docs`.

    python docs/build_site.py OUT

Pages are staged in a temporary folder, where links fit the site; links in the sources are those
of the repository. Notebooks rendered before (docs/render_notebooks.py OUT/notebooks) are kept
and linked. A broken link or anchor is an error. Nothing is fetched, and nothing need be to read
the pages; equations are MathML.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import nbformat
from latex2mathml.converter import convert

# Read by mkdocs-material as it is imported: what it says of MkDocs 2 is not for our readers.
os.environ.setdefault("NO_MKDOCS_2_WARNING", "true")

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import Abort

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent

OTHER_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages outside docs/ -> where they stand in the site; docs/README.md is what its menu is."""

API = {
    "Using a model": ("segmenter", "inference", "sharing", "export"),
    "Data": ("vocabulary", "datasets", "datasets.base", "datasets.folder", "datasets.transforms"),
    "Models": ("models", "models.backbones"),
    "Distances": ("distances", "neighbours", "class_index"),
    "Losses": ("losses", "losses.one_pixel", "memory_model"),
    "Training": ("config", "presets", "trainers", "trainers.hooks", "trainers.schedules"),
    "Evaluation": ("evaluation", "evaluation.iou", "evaluation.compare", "evaluation.gains"),
    "Runs": ("runs", "runs.class_file", "errors", "plugins"),
    "Charts and widgets": ("charts", "widgets", "colors"),
}
"""Page of the API -> its modules."""

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", flags=re.DOTALL | re.MULTILINE)
_MATH = re.compile(
    r'<(span|div) class="arithmatex">(?:\\\((.*?)\\\)|\\\[(.*?)\\\])</\1>', flags=re.DOTALL
)
_BARS = "<mo>&#x02016;</mo>"  # of a norm, which would grow with what is beside them
_FUNCTION = re.compile("<m[io]>(?:log|exp)</m[io]>")  # set too close to what it is of


def in_site(target: str, page: str, rendered: Iterable[str] = ()) -> str | None:
    """Where a link of the repository leads to in the site.

    Args:
        target: As written, relative, perhaps with an anchor.
        page: The page it stands on, relative to the repository: "docs/using.md".
        rendered: Names of the notebooks that have a page.

    Returns:
        Relative to the page's place in the site; None for a file that is no part of it.
    """
    path, hash_, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return target
    place = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    stem = Path(place).stem
    if place in OTHER_PAGES:
        found = OTHER_PAGES[place]
    elif place.startswith("docs/images/") or re.fullmatch(r"docs/(?!README)\w+\.md", place):
        found = place.removeprefix("docs/")
    elif place.startswith("notebooks/") and stem in rendered:
        found = f"notebooks/{stem}.html"
    else:
        return None
    return f"{found}{hash_}{anchor}"


def staged(text: str, page: str, rendered: Iterable[str] = ()) -> str:
    """A page's text with the links of the site; links to files that are no part of it are text."""

    def replace(match: re.Match[str]) -> str:
        image, label, target = match.groups()
        found = in_site(target, page, rendered)
        return label if found is None else f"{image}[{label}]({found})"

    parts = _CODE.split(text)  # code stands at odd places
    return "".join(part if i % 2 else _LINK.sub(replace, part) for i, part in enumerate(parts))


def with_mathml(page: str) -> str:
    """HTML whose LaTeX has become MathML, which browsers draw without a script."""

    def replace(match: re.Match[str]) -> str:
        _, inline, block = match.groups()
        latex = inline if inline is not None else block
        latex = latex.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        drawn = str(convert(latex.strip(), display="inline" if block is None else "block"))
        drawn = drawn.replace(_BARS, _BARS.replace("<mo>", '<mo stretchy="false">'))
        return _FUNCTION.sub(r'\g<0><mspace width="0.17em"/>', drawn)

    return _MATH.sub(replace, page)


def stage(folder: Path, notebooks: Path) -> None:
    """Writes all sources of the site into a folder.

    Args:
        folder: Empty.
        notebooks: Folder of rendered notebooks; what is missing there is not linked.
    """
    rendered = sorted(path.stem for path in notebooks.glob("[0-9]*.html"))
    pages = {f"docs/{path.name}": path.name for path in DOCS.glob("*.md")} | OTHER_PAGES
    del pages["docs/README.md"]
    for source, name in pages.items():
        text = (REPOSITORY / source).read_text("utf-8")
        (folder / name).write_text(staged(text, source, rendered), "utf-8")
    shutil.copytree(DOCS / "images", folder / "images", ignore=shutil.ignore_patterns("variants"))
    shutil.copy(DOCS / "site.css", folder / "site.css")
    (folder / "notebooks").mkdir()
    for stem in rendered:
        shutil.copy(notebooks / f"{stem}.html", folder / "notebooks")
    (folder / "notebooks.md").write_text(notebook_list(rendered), "utf-8")
    (folder / "api").mkdir()
    for title, modules in API.items():
        (folder / api_file(title)).write_text(api_page(title, modules), "utf-8")


def notebook_list(rendered: Iterable[str]) -> str:
    """The page that lists the notebooks, with links to those that were rendered."""
    lines = []
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        first = str(nbformat.read(path, as_version=4).cells[0].source).splitlines()[0]
        title = first.lstrip("# ")
        name = f"`{path.name}`"
        lines.append(
            f"- [{title}](notebooks/{path.stem}.html), {name}"
            if path.stem in rendered
            else f"- {title}, {name} (not rendered here: `make docs ARGS={path.stem}`)"
        )
    return "# Notebooks\n\n`make notebooks` opens them to run and change.\n\n" + "\n".join(lines)


def api_file(title: str) -> str:
    """The source of an API page, relative to the site's."""
    return f"api/{title.lower().replace(' ', '_')}.md"


def api_page(title: str, modules: Iterable[str]) -> str:
    """A page of the API: its modules, drawn by mkdocstrings."""
    parts = [
        f"## `workbench.{name}`\n\n::: workbench.{name}\n    options:\n      heading_level: 3"
        for name in modules
    ]
    return f"# {title}\n\n" + "\n\n".join(parts) + "\n"


def site_config(staging: Path, out: Path) -> MkDocsConfig:
    """The configuration with the staged folder, the place to write and the API's pages."""
    config = load_config(str(DOCS / "mkdocs.yml"), docs_dir=str(staging), site_dir=str(out))
    pages = [{title: api_file(title)} for title in API]
    config.nav = [{"API": pages} if entry == {"API": "api"} else entry for entry in config.nav]
    return config


def build_site(staging: Path, out: Path) -> None:
    """Builds what is staged.

    Raises:
        Abort: A link or an anchor is broken, or a name of the API does not exist; what it was
            is logged.
    """
    config = site_config(staging, out)
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    finally:
        config.plugins.on_shutdown()
    for page in out.rglob("*.html"):
        if page.parent.name != "notebooks":
            page.write_text(with_mathml(page.read_text("utf-8")), "utf-8")


def main(arguments: list[str]) -> int:
    """Builds the site into a folder; what else lies there is removed, rendered notebooks stay."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    out = Path(arguments[0]).resolve()
    with tempfile.TemporaryDirectory() as name:
        staging = Path(name)
        stage(staging, out / "notebooks")
        try:
            build_site(staging, out)
        except Abort as error:
            sys.stderr.write(f"{error}\n")
            return 1
    sys.stderr.write(
        f"open {out / 'index.html'}; for its search: python3 -m http.server -d {out}\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
