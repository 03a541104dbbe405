"""The rules of the house that imports show: who may know whom, and what loads when.

Every rule is a pure function from source text to findings, so that each is also shown to fail.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

BASE = {"constants", "errors", "plain_yaml", "plugins", "progress"}
PARTS = {"datasets", "models", "losses"}
RESULTS = {"evaluation", "inference"}
TABLES = {"class_index", "distances", "kernels", "neighbours"}

# Data flows datasets -> models -> losses -> trainers -> evaluation -> runs -> charts -> app.
# What each part of the library may import. Writing files atomically is in runs, which is why
# datasets and the vocabulary know it; runs itself knows nothing but the vocabulary.
MAY_IMPORT: dict[str, set[str]] = {
    "constants": set(),
    "errors": set(),
    "plain_yaml": set(),
    "processes": BASE,
    "progress": set(),
    "colors": BASE,
    "config": BASE,
    "presets": BASE | {"config"},
    "command": BASE | {"config"},
    "bench_commands": BASE | {"benchmarks", "command", "runs"},
    "data_commands": BASE | {"command", "datasets"},
    "experiment_commands": BASE | {"command", "experiments"},
    "export_commands": BASE | {"command", "export", "runs", "sharing"},
    "import_commands": BASE | {"command", "evaluation"},
    "memory_model": set(),
    "plugins": {"errors"},
    "model_commands": BASE | {"command", "models"},
    "predict_commands": BASE | {"command", "inference", "runs", "sharing"},
    "sharing_commands": BASE | {"command", "sharing"},
    "vocabulary_commands": BASE | {"command", "inference", "runs", "sharing"},
    "vocabulary": BASE | {"colors", "runs"},
    "kernels": BASE,
    "distances": BASE | {"kernels"},
    "neighbours": BASE | {"distances", "kernels"},
    "class_index": BASE | {"distances", "kernels", "neighbours"},
    "datasets": BASE | {"colors", "figure_style", "runs", "vocabulary"},
    "models": BASE | TABLES | {"config"},
    "losses": BASE | TABLES | {"config"},
    "runs": BASE | {"vocabulary"},
    "evaluation": BASE | PARTS | TABLES | RESULTS | {"config", "processes", "runs", "vocabulary"},
    "inference": BASE | PARTS | TABLES | {"config", "runs", "vocabulary"},
    "export": BASE | TABLES | {"inference", "models", "runs", "vocabulary"},
    # A shared model is a model with what is known about it, the terms of its data included.
    "sharing": BASE | RESULTS | {"config", "datasets", "models", "runs", "vocabulary"},
    "segmenter": BASE
    | {"datasets", "distances", "inference", "models", "runs", "sharing", "vocabulary"},
    "trainers": BASE | PARTS | TABLES | RESULTS | {"config", "processes", "runs", "vocabulary"},
    "benchmarks": BASE
    | PARTS
    | TABLES
    | RESULTS
    | {"colors", "config", "export", "figure_style", "runs", "trainers", "vocabulary"},
    # Experiments are trainings that are compared: they know everything below.
    "experiments": BASE
    | PARTS
    | TABLES
    | RESULTS
    | {"benchmarks", "colors", "config", "figure_style", "runs", "trainers", "vocabulary"},
    "figure_style": set(),
    "chart_style": BASE | {"colors"},
    "class_search": BASE,
    "charts": BASE | {"chart_style", "colors"},
    # Widgets show runs by charts; some compute (a clicked pixel), one listens to a training.
    "widgets": BASE
    | {"charts", "class_search", "distances", "inference", "losses", "runs", "trainers"}
    | {"vocabulary"},
}

# Third-party packages that only these parts may load, at any depth of nesting.
ONLY_FOR: dict[str, set[str]] = {
    "streamlit": set(),
    "ipywidgets": {"widgets"},
    "plotly": {"chart_style", "charts", "widgets"},
    "umap": {"evaluation"},
    "timm": {"models"},
    "segmentation_models_pytorch": {"models"},
    "accelerate": {"trainers"},
    "huggingface_hub": {"sharing"},
    "pycocotools": {"benchmarks", "datasets"},
    "matplotlib": {"benchmarks", "datasets", "experiments", "figure_style"},
    "safetensors": {"models", "runs"},  # weights to start from; everything that runs keep
    "faiss": {"class_index"},
    "numba": {"kernels"},
    "llvmlite": {"kernels"},
    "triton": {"kernels"},
    "onnx": {"export"},
    "onnxruntime": {"benchmarks", "export"},
    "onnxscript": {"export"},
}

HEAVY = (
    *("umap", "numba", "streamlit", "timm", "torchvision", "plotly", "accelerate", "pycocotools"),
    *("matplotlib", "faiss", "huggingface_hub", "segmentation_models_pytorch"),
    *("onnx", "onnxruntime", "onnxscript"),
)


def imports(source: str, module: str) -> Iterator[str]:
    """Absolute names of all imports in a module, those inside functions included."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            for alias in node.names:
                yield f"{base}.{alias.name}"


def part(module: str) -> str:
    """`workbench.losses.modules` -> `losses`; the package itself -> ``."""
    return module.split(".")[1].replace("__init__", "") if "." in module else ""


def known_parts() -> set[str]:
    return set(MAY_IMPORT) | {"__main__"}


def against_the_flow(source: str, module: str) -> list[str]:
    here = part(module)
    if here in ("", "__main__"):
        return []
    if here not in MAY_IMPORT:
        return [f"{module}: give {here!r} its place in MAY_IMPORT"]
    there = {part(name) for name in imports(source, module) if name.startswith("workbench.")}
    forbidden = (there & known_parts()) - MAY_IMPORT[here] - {here}
    return [f"{module} imports workbench.{name}" for name in sorted(forbidden)]


def out_of_place(source: str, module: str) -> list[str]:
    used = {name.split(".")[0] for name in imports(source, module)}
    return [
        f"{module} imports {name}"
        for name, parts in ONLY_FOR.items()
        if name in used and part(module) not in parts
    ]


def reads_files(source: str, module: str) -> list[str]:
    """App code that opens artifacts itself instead of asking workbench.runs."""
    readers = {
        *("open", "read_text", "read_bytes", "read_parquet", "read_csv", "read_json"),
        *("safe_load", "load_file", "safe_open", "glob", "rglob", "iterdir"),
    }
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in readers:
                found.append(f"{module}:{node.lineno} calls {name}()")
    return found


def view_imports(source: str, module: str) -> list[str]:
    """App code that gets at artifacts past app/data.py; a record or a list of columns does not."""
    harmless = re.compile(r"workbench\.runs\.(RunInfo|[A-Z_]+)")
    names = [n for n in imports(source, module) if n.startswith(("workbench.runs", "pyarrow"))]
    return [f"{module} imports {name}" for name in names if not harmless.fullmatch(name)]


def modules(folder: str) -> dict[str, str]:
    """Dotted name -> source of all modules below a folder of the checkout."""
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path.read_text("utf-8")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    }


def test_data_flows_one_way() -> None:
    library = modules("workbench").items()
    assert len(library) > 20
    assert [finding for name, source in library for finding in against_the_flow(source, name)] == []


def test_third_party_packages_stay_where_they_belong() -> None:
    library = modules("workbench").items()
    assert [finding for name, source in library for finding in out_of_place(source, name)] == []


def test_the_three_parts_do_not_know_each_other() -> None:
    """The rule itself, whatever becomes of the table above."""
    for one in PARTS:
        assert not MAY_IMPORT[one] & PARTS
    combining = {name for name, allowed in MAY_IMPORT.items() if len(allowed & PARTS) > 1}
    running = {"trainers", "evaluation", "inference", "benchmarks", "experiments"}
    assert combining == running | {"segmenter", "sharing"}


def test_views_read_only_through_app_data() -> None:
    app = modules("app")
    assert "app.main" in app and "app.data" in app
    door = re.compile(r"app\.data(_[a-z]+)?")  # the readers, and those of one topic each
    views = {name: source for name, source in app.items() if not door.fullmatch(name)}
    assert [f for name, source in views.items() for f in view_imports(source, name)] == []
    # Pictures handed in come as bytes, never as a path; Pillow's function for them is "open".
    paths = {name: source for name, source in app.items() if name != "app.uploads"}
    assert [f for name, source in paths.items() for f in reads_files(source, name)] == []
    assert app["app.uploads"].count("open(") == app["app.uploads"].count("open(io.BytesIO(") == 1


def test_the_entry_point_only_navigates() -> None:
    """app/main.py navigates; it computes nothing and imports no library code."""
    names = list(imports(modules("app")["app.main"], "app.main"))
    assert [name for name in names if name.startswith("workbench")] == []


@pytest.mark.parametrize(
    "names",
    ["workbench", "workbench.config, workbench.runs", "workbench.evaluation, workbench.datasets"],
)
def test_import_is_quick(names: str) -> None:
    assert loaded_by(names) == set()


def loaded_by(names: str) -> set[str]:
    """Which of the heavy packages a new interpreter has loaded after an import."""
    code = f"import {names}, sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("workbench.losses.bad", "from workbench.datasets.base import Sample"),
        ("workbench.datasets.bad", "def f():\n    import workbench.models"),
        ("workbench.models.bad", "from ..losses import cross_entropy"),
        ("workbench.models.bad", "from workbench import losses"),
        ("workbench.runs.bad", "from workbench.evaluation import evaluate"),
        ("workbench.charts", "from workbench.models import build"),
        ("workbench.novelty", "x = 1"),
    ],
)
def test_the_flow_rule_can_fail(module: str, source: str) -> None:
    assert len(against_the_flow(source, module)) == 1


def test_the_flow_rule_can_pass() -> None:
    source = "from workbench import config\nfrom workbench.losses.modules import build"
    assert against_the_flow(source, "workbench.losses.streaming") == []
    assert against_the_flow(source, "workbench.trainers.trainer") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("workbench.charts", "import streamlit as st"),
        ("workbench.evaluation.iou", "def f():\n    from streamlit import cache_data"),
        ("workbench.runs.directory", "import plotly.graph_objects as go"),
        ("workbench.models.small", "from umap import UMAP"),
    ],
)
def test_the_place_rule_can_fail(module: str, source: str) -> None:
    assert len(out_of_place(source, module)) == 1


def test_the_app_rules_can_fail() -> None:
    assert view_imports("from workbench.runs import RunDirectory", "app.views.bad") != []
    assert view_imports("from workbench import runs", "app.views.bad") != []
    assert view_imports("from workbench import charts", "app.views.good") == []
    assert view_imports("from workbench.runs import COLUMNS, RunInfo", "app.views.good") == []
    assert len(reads_files("import pandas as pd\npd.read_parquet('x')", "app.views.bad")) == 1
    assert len(reads_files("from pathlib import Path\nPath('x').read_text()", "app.main")) == 1


def test_the_quick_import_rule_can_fail() -> None:
    assert loaded_by("plotly") == {"plotly"}
