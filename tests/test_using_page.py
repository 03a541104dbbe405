"""Everything that the page about using a model tells to type, typed."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from workbench.runs import RunDirectory
from workbench.runs.class_file import read_class_file

SIZE = (96, 72)


@pytest.fixture
def desk(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, cli: Any) -> Path:
    """What the page takes for granted: the demo run, photos, marked pictures, another tool's files.

    The run is a copy: evaluations are written into it.
    """
    monkeypatch.chdir(tmp_path)
    shutil.copytree(repository / "runs" / "demo", "runs/demo")
    demo = RunDirectory.open(Path("runs/demo"))
    for path, name in zip(
        ("photos/beach.jpg", "photos/2024/street.jpg"), demo.samples("val"), strict=False
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        demo.read_picture("val", name).resize(SIZE).save(path, quality=95)
        marked = np.zeros(SIZE[::-1], dtype=np.uint8)
        marked[10:50, 20:60] = 255
        Image.fromarray(marked).save(f"{Path(path).stem}-kiosk.png")
    classes = 3
    dim = demo.read_embeddings().shape[1]
    pd.DataFrame({"name": ["dog", "cat", "sofa"]}).to_csv("names.csv", index=False)
    save_file(
        {"weight": torch.randn(classes, dim, generator=torch.Generator().manual_seed(0))},
        "text.safetensors",
    )
    for command in (
        "sample shapeworld data/small --images 2 --val-images 2 --size 128",
        "prepare shapeworld data/small --workers 1",
    ):
        assert cli(*command.split()).returncode == 0
    return tmp_path


def test_what_the_page_says_works(
    repository: Path, desk: Path, monkeypatch: pytest.MonkeyPatch, cli: Any
) -> None:
    text = (repository / "docs" / "using.md").read_text("utf-8")
    kinds = re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert {kind for kind, _ in kinds} == {"sh", "python"}
    said = io.StringIO()
    images = np.zeros((1, 3, 128, 160), dtype=np.uint8)
    known: dict[str, Any] = {"images": images}
    typed = 0
    for kind, block in kinds:
        if kind == "python":
            with contextlib.redirect_stdout(said):
                exec(block, known)
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command = line.partition("   #")[0]
            if command.startswith("pip install"):
                continue
            listed, pipe, rest = command.partition(" | ")
            if pipe:
                found = sorted(str(path) for path in Path("photos").rglob("*.jpg"))
                assert listed == "find photos -name '*.jpg'"
                monkeypatch.setattr(
                    "sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(found).encode()))
                )
                command = rest
            words = shlex.split(command)
            assert words[0] == "workbench"
            done = cli(*words[1:])
            assert done.returncode == 0, f"{line}: {done.stderr}"
            typed += 1
    assert typed > 15
    for mask in ("masks/beach.png", "masks/2024/street.png", "one/beach.png", "listed/street.png"):
        with Image.open(mask) as image:
            assert image.mode == "I;16" and image.size == SIZE
    assert set(np.unique(np.asarray(Image.open("few/beach.png")))) <= {0, 1, 2}
    added = read_class_file("more.safetensors")
    assert added.vocabulary.names[-1] == "kiosk"
    assert read_class_file("new.safetensors").vocabulary.names == ["dog", "cat", "sofa"]
    assert len(json.loads(Path("results/segments.json").read_text("utf-8"))["images"]) == 2
    shown = said.getvalue()
    assert "Segmentation(96 x 72" in shown and "(72, 96)" in shown
    assert set(RunDirectory.open(Path("runs/demo")).evaluations()) >= {"often", "windows", "val"}
    assert known["labels"].shape == (1, 128, 160)
