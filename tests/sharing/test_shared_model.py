"""A model that went through a folder or a hub is the model that was trained."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from workbench.errors import RunError
from workbench.inference import load_model, predict_labels
from workbench.runs import RunDirectory
from workbench.runs.pack import pack
from workbench.sharing import SharedModel

MakeRun = Callable[..., RunDirectory]
FILES = {"model.safetensors", "config.json", "vocabulary.json", "README.md"}


def same_model(run: RunDirectory, shared: SharedModel, images: torch.Tensor) -> torch.Tensor:
    model, step = load_model(run)
    with torch.inference_mode():
        one, other = model(images), shared.model(images)
    assert torch.equal(one.pixels, other.pixels)
    labels = predict_labels(model, images)
    assert torch.equal(labels, predict_labels(shared.model, images))
    assert shared.facts.step == step
    assert not shared.model.training
    pd.testing.assert_frame_equal(shared.vocabulary.table, run.vocabulary().table)
    return labels


def pictures(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.manual_seed(1))


def test_the_demo_run_comes_back_to_the_last_bit(repository: Path, tmp_path: Path) -> None:
    run = RunDirectory.open(repository / "runs" / "demo")
    assert SharedModel.from_run(run).save_pretrained(tmp_path / "shared") is None
    assert {path.name for path in (tmp_path / "shared").iterdir()} == FILES
    shared = SharedModel.from_pretrained(tmp_path / "shared")
    assert len(shared.vocabulary) == 1284
    picture, _, _ = run.read_sample("val", run.samples("val")[3])
    planes = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    labels = same_model(run, shared, planes[None])
    assert labels.max() > 255 and len(labels.unique()) > 3
    # As small as the packed weights it comes from.
    (kept,) = run.path.glob("checkpoints/*/model.safetensors")
    weights = (tmp_path / "shared" / "model.safetensors").stat().st_size
    assert weights <= 1.01 * kept.stat().st_size


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "dense"},
        {"distance": "linear", "temperature": 1.0},
        {"distance": "cosine", "learn_temperature": True, "temperature": 7.0},
        {"network": "deeplabv3plus", "backbone": "mobilenetv2_035"},
        {"network": "smp-segformer", "backbone": "mit_b0"},  # cannot be outlined
        {"network": "smp-fpn", "backbone": "test_resnet"},
    ],
)
def test_every_kind_of_model_comes_back(
    make_run: MakeRun, tmp_path: Path, options: dict[str, Any]
) -> None:
    """Also where pretrained weights are asked for: the tests' hub is closed."""
    run = make_run(**options)
    SharedModel.from_run(run).save_pretrained(tmp_path / "shared")
    shared = SharedModel.from_pretrained(str(tmp_path / "shared"))
    same_model(run, shared, pictures(2, 3, 37, 45))
    shared.save_pretrained(tmp_path / "again")  # and may be passed on
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "shared" / name).read_bytes()


def test_half_precision_is_kept_where_it_loses_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    pack(run, tmp_path / "packed")
    for source, kind in ((run.path, torch.float32), (tmp_path / "packed", torch.float16)):
        target = tmp_path / f"shared-{source.name}"
        SharedModel.from_run(source).save_pretrained(target)
        assert load_file(target / "model.safetensors")["table.weight"].dtype == kind
        same_model(
            RunDirectory(source), SharedModel.from_pretrained(target), pictures(1, 3, 33, 41)
        )


def test_nothing_says_where_files_lie(make_run: MakeRun, tmp_path: Path) -> None:
    start = tmp_path / "secret place" / "start.safetensors"
    run = make_run(pretrained=False, weights=str(start))
    assert str(run.config()).count("secret place") == 2
    SharedModel.from_run(run).save_pretrained(tmp_path / "shared")
    assert "started from | start.safetensors" in (tmp_path / "shared/README.md").read_text("utf-8")
    same_model(run, SharedModel.from_pretrained(tmp_path / "shared"), pictures(1, 3, 33, 41))
    for path in (tmp_path / "shared").iterdir():
        assert b"secret" not in path.read_bytes()
        assert str(tmp_path).encode() not in path.read_bytes()


def edit(path: Path, **values: object) -> None:
    content = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**content, **values}), "utf-8")


def spoil_settings(folder: Path, section: str, **values: object) -> None:
    content = json.loads((folder / "config.json").read_text("utf-8"))
    content["config"][section] |= values
    (folder / "config.json").write_text(json.dumps(content), "utf-8")


def without(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors.pop(name)
    save_file(tensors, folder / "model.safetensors")


def with_more(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "stowaway": torch.ones(3)}, folder / "model.safetensors")


Spoil = Callable[[Path], object]
SPOILED: list[tuple[Spoil, str]] = [
    (lambda f: (f / "model.safetensors").unlink(), "model.safetensors"),
    (lambda f: (f / "config.json").unlink(), "config.json"),
    (lambda f: (f / "vocabulary.json").unlink(), "vocabulary.json"),
    (lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04N."), "model.safetensors"),
    (lambda f: (f / "config.json").write_text("{"), "config.json"),
    (lambda f: (f / "config.json").write_text("[1]"), "config.json"),
    (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "config.json"),
    (lambda f: edit(f / "config.json", format="bert"), "config.json"),
    (lambda f: edit(f / "config.json", version=99), "99"),
    (lambda f: edit(f / "config.json", classes=True), "classes"),
    (lambda f: edit(f / "config.json", classes=299), "vocabulary.json"),
    (lambda f: edit(f / "config.json", config=None), "config"),
    (lambda f: edit(f / "config.json", facts=None), "facts.source"),
    (lambda f: edit(f / "config.json", facts={"source": "a", "step": "b"}), "facts.step"),
    (lambda f: (f / "vocabulary.json").write_text("{}"), "vocabulary.json"),
    (lambda f: edit(f / "vocabulary.json", name=[{}] * 300), "vocabulary.json"),
    (lambda f: spoil_settings(f, "model", network="nosuch"), "model.network"),
    (lambda f: spoil_settings(f, "model", widht=8), "model.width"),
    (lambda f: spoil_settings(f, "model", width=16), "does not fit"),
    (lambda f: spoil_settings(f, "loss", name="dense"), "does not fit"),
    (lambda f: (f / "config.json").write_text("[" + " " * 2**24), "16 MB"),
    (lambda f: os.truncate(f / "vocabulary.json", 2**29 + 2**20), "513 MB"),
    (lambda f: without(f, "table.weight"), "table.weight"),
    (lambda f: without(f, "mean"), "mean"),
    (with_more, "stowaway"),
]


@pytest.mark.parametrize(
    ("loss", "values"),
    [
        ("streaming", {"embedding_dim": 10**7}),
        ("streaming", {"width": 10**5}),
        ("dense", {"width": 10**5}),
        ("streaming", {"network": "deeplabv3plus", "backbone": "vit_giant_patch14_dinov2"}),
        ("streaming", {"embedding_dim": 10**30}),
        ("streaming", {"network": "smp-fpn", "backbone": "mit_b0", "embedding_dim": 10**7}),
    ],
)
def test_settings_of_a_stranger_take_no_more_memory_than_the_weights_have(
    make_run: MakeRun, tmp_path: Path, loss: str, values: dict[str, Any]
) -> None:
    SharedModel.from_run(make_run(loss=loss)).save_pretrained(tmp_path / "shared")
    spoil_settings(tmp_path / "shared", "model", **values)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(RunError, match=r"does not fit|cannot be built") as error:
        SharedModel.from_pretrained(tmp_path / "shared")
    assert "\n" not in str(error.value) and str(tmp_path / "shared") in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_the_length_of_embeddings_means_nothing_without_a_class_table(
    make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(loss="dense")
    SharedModel.from_run(run).save_pretrained(tmp_path / "shared")
    spoil_settings(tmp_path / "shared", "model", embedding_dim=10**9)  # 1.2 TB with 300 classes
    same_model(run, SharedModel.from_pretrained(tmp_path / "shared"), pictures(1, 3, 33, 41))


@pytest.mark.parametrize("case", range(len(SPOILED)))
def test_what_is_wrong_with_a_folder_is_one_line(
    make_run: MakeRun, tmp_path: Path, case: int
) -> None:
    spoil, word = SPOILED[case]
    SharedModel.from_run(make_run()).save_pretrained(tmp_path / "shared")
    spoil(tmp_path / "shared")
    with pytest.raises(RunError) as error:
        SharedModel.from_pretrained(tmp_path / "shared")
    message = str(error.value)
    assert "\n" not in message and len(message) < 700
    assert word in message and str(tmp_path / "shared") in message


def test_a_run_is_no_shared_model(make_run: MakeRun) -> None:
    with pytest.raises(RunError, match="save-pretrained"):
        SharedModel.from_pretrained(make_run().path)


def test_a_folder_is_replaced_only_when_told(make_run: MakeRun, tmp_path: Path) -> None:
    target = tmp_path / "shared"
    SharedModel.from_run(make_run("first")).save_pretrained(target)
    second = SharedModel.from_run(make_run("second"))
    before = (target / "README.md").read_bytes()
    with pytest.raises(RunError, match="--replace"):
        second.save_pretrained(target)
    assert (target / "README.md").read_bytes() == before
    second.save_pretrained(target, replace=True)
    assert "# second" in (target / "README.md").read_text("utf-8")  # the old card is gone too


@pytest.mark.parametrize("name", ["thesis.txt", ".git"])
def test_a_folder_with_anything_else_stays(make_run: MakeRun, tmp_path: Path, name: str) -> None:
    target = tmp_path / "shared"
    shared = SharedModel.from_run(make_run())
    shared.save_pretrained(target)
    (target / name).mkdir()
    with pytest.raises(RunError, match=name.replace(".", r"\.")):
        shared.save_pretrained(target, replace=True)
    assert {path.name for path in target.iterdir()} == FILES | {name}


def test_a_write_that_fails_leaves_the_old_model(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out" / "shared"
    shared = SharedModel.from_run(make_run())
    shared.save_pretrained(target)
    before = {path.name: path.read_bytes() for path in target.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("workbench.sharing.model.card_text", full)
    with pytest.raises(OSError, match="no space"):
        shared.save_pretrained(target, replace=True)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    assert [path.name for path in target.parent.iterdir()] == ["shared"]


class Hub:
    """A stand-in for the hub that keeps what is uploaded in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls: list[dict[str, Any]] = []
        self.token: object = None

    def __call__(self, token: object = None) -> Hub:
        self.token = token
        return self

    def create_repo(self, *, repo_id: str, private: bool | None, exist_ok: bool) -> Any:
        self.calls.append({"made": repo_id, "private": private, "exist_ok": exist_ok})
        return type("Url", (), {"repo_id": repo_id})()

    def upload_folder(self, *, repo_id: str, folder_path: Path, **options: object) -> str:
        shutil.copytree(folder_path, self.folder / repo_id)
        self.calls.append({"uploaded": repo_id, **options})
        return f"https://hub.example/{repo_id}/commit/1"

    def snapshot_download(self, repo_id: str, *, allow_patterns: list[str], **options: Any) -> str:
        self.calls.append({"downloaded": repo_id, **options})
        target = self.folder / "cache" / repo_id
        target.mkdir(parents=True)
        for name in allow_patterns:
            shutil.copy(self.folder / repo_id / name, target / name)
        return str(target)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", stand_in)
    monkeypatch.setattr("workbench.sharing.model.snapshot_download", stand_in.snapshot_download)
    return stand_in


def test_through_the_hub_and_back(make_run: MakeRun, hub: Hub) -> None:
    run = make_run()
    address = SharedModel.from_run(run).push_to_hub("me/model", private=True, token="t")
    assert address == "https://hub.example/me/model/commit/1"
    assert hub.calls[0] == {"made": "me/model", "private": True, "exist_ok": True}
    assert hub.token == "t"
    assert {path.name for path in (hub.folder / "me/model").iterdir()} == FILES
    shared = SharedModel.from_pretrained("me/model", revision="v2", token="t")
    assert hub.calls[-1]["downloaded"] == "me/model"
    assert hub.calls[-1]["revision"] == "v2" and hub.calls[-1]["token"] == "t"
    same_model(run, shared, pictures(1, 3, 40, 40))


def test_saving_may_push_too(make_run: MakeRun, hub: Hub, tmp_path: Path) -> None:
    shared = SharedModel.from_run(make_run())
    shared.save_pretrained(tmp_path / "shared", push_to_hub=True, commit_message="first")
    assert hub.calls[-1]["uploaded"] == "shared"
    assert hub.calls[-1]["commit_message"] == "first"


def test_what_the_hub_refuses_is_one_line(make_run: MakeRun, tmp_path: Path) -> None:
    """The real client, in its offline mode: the tests' hub is closed."""
    shared = SharedModel.from_run(make_run())
    with pytest.raises(RunError, match=r"me/model cannot be uploaded.*hf auth login") as error:
        shared.push_to_hub("me/model")
    assert "\n" not in str(error.value)
    with pytest.raises(RunError, match=r"me/model is no folder.*hf auth login") as error:
        SharedModel.from_pretrained("me/model", cache_dir=tmp_path / "cache")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["no/such/folder", "../nowhere", "a b"])
def test_what_is_neither_folder_nor_name_is_one_line(name: str) -> None:
    with pytest.raises(RunError, match=r"no folder here.*NAME/MODEL") as error:
        SharedModel.from_pretrained(name)
    assert "\n" not in str(error.value)


def test_a_hub_folder_without_its_files_is_called_by_its_name(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(
        "workbench.sharing.model.snapshot_download", lambda *_, **__: str(tmp_path / "empty")
    )
    with pytest.raises(RunError, match=r"^them/bert is no shared model .*model\.safetensors"):
        SharedModel.from_pretrained("them/bert")
