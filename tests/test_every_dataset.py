"""Each dataset's twin: trained 20 steps, evaluated, opened in the app; and its bad files."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from workbench import config
from workbench.datasets import DATASETS, open_dataset, prepare, write_sample
from workbench.datasets.twins import TWINS, write_twin
from workbench.errors import DataError
from workbench.evaluation.run import evaluate_run
from workbench.presets import PRESETS, get_preset
from workbench.trainers import train

pytestmark = pytest.mark.usefixtures("one_look_for_components")

CLASSES = {
    "ade20k": 150,
    "cityscapes": 19,
    "coco-panoptic": 133,
    "coco-stuff10k": 171,
    "folder": 300,
    "lvis-coco": 1284,
    "shapeworld": 300,
    "voc": 21,
}
PREPARED = ("lvis-coco", "shapeworld")


def write_data(key: str, root: Path) -> Path:
    """The twin of a dataset, ready to train on."""
    if key == "shapeworld":
        write_sample(key, root, images=12, val_images=4, size=48, classes=300)
    else:
        write_twin(key, root, images=4)
    if key in PREPARED:
        prepare(key, root, workers=1)
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Twins, each written once; their folder's name is not ASCII."""
    top = tmp_path_factory.mktemp("Straßenbilder 图像")

    def root(key: str) -> Path:
        return top / key if (top / key).exists() else write_data(key, top / key)

    return root


def test_the_mission_names_eight() -> None:
    assert set(DATASETS) == set(CLASSES)
    assert set(TWINS) == set(CLASSES) - {"shapeworld"}


@pytest.mark.parametrize("key", CLASSES)
def test_trains_evaluates_and_opens_in_the_app(
    key: str, data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = data(key)
    settings = {
        "data.dataset": key,
        "data.root": str(root),
        "data.crop": "32",
        "data.scale": "[0.5, 2.0]",
        "data.color_jitter": "0.2",
        "data.repeat_threshold": "0.3",
        "model.width": "8",
        "loss.pixels": "512",
        "train.steps": "20",
        "train.log_every": "1",
    }
    run = train(config.from_overrides(get_preset("smoke"), settings), tmp_path / "runs" / key)
    losses = run.metrics()["loss"].to_numpy()
    assert len(losses) == 20
    # Guessing costs log C; what colour says can be learned.
    assert losses[-5:].mean() < losses[:3].mean()

    summary = evaluate_run(run, save=2)
    assert summary["dataset"] == key
    assert len(run.read_per_class("val")) == CLASSES[key]
    truth = open_dataset(key, root, "val")
    labelled = sum(int((truth.read_mask(index) >= 0).sum()) for index in range(len(truth)))
    assert summary["labelled_pixels"] == labelled > 0

    monkeypatch.setattr(sys, "argv", ["app/main.py", "--runs", str(tmp_path / "runs")])
    repository = Path(__file__).parents[1]
    for page in ("overview", "predictions", "classes"):
        app = AppTest.from_file(str(repository / "app" / "main.py"), default_timeout=60)
        app.switch_page(f"views/{page}.py").run()
        assert not app.exception
        assert not app.error
        assert app.selectbox(key="choice_run").value == key


def papers_presets() -> list[Any]:
    """Those of the larger backbones in `make test-slow`."""
    names = [name for name in PRESETS if name.startswith("paper/")]
    return [pytest.param(n, marks=[pytest.mark.slow] * ("-resnet" in n)) for n in names]


@pytest.mark.parametrize("name", papers_presets())
def test_the_papers_settings_train_on_the_twin(
    name: str, data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two steps; weights from the hub, pictures and batch aside, all is as in the preset."""
    preset = get_preset(name)
    settings = {
        "data.root": str(data(preset.data.dataset)),
        "data.crop": "48",
        "data.workers": "0",
        "model.pretrained": "false",
        "train.batch_size": "2",
        "train.steps": "2",
        "train.log_every": "1",
    }
    run = train(config.from_overrides(preset, settings), tmp_path / "run")
    rows = run.metrics()
    assert rows["step"].tolist() == [1, 2]
    assert (rows["loss"] > 0).all()
    assert run.read_embeddings().shape == (CLASSES[preset.data.dataset], preset.model.embedding_dim)


@pytest.mark.parametrize("key", CLASSES)
def test_samples_are_what_the_contract_says(key: str, data: Callable[[str], Path]) -> None:
    for split in ("train", "val"):
        dataset = open_dataset(key, data(key), split)
        assert len(dataset.vocabulary) == CLASSES[key]
        assert len(set(dataset.ids)) == len(dataset)
        for index in range(len(dataset)):
            sample = dataset[index]
            assert str(sample["image"].dtype) == "torch.uint8"
            assert str(sample["mask"].dtype) == "torch.int64"
            assert sample["image"].shape[1:] == sample["mask"].shape
            found = np.unique(sample["mask"].numpy())
            found = found[found >= 0]
            assert found.max() < CLASSES[key]
            assert dataset.classes_in(index).tolist() == found.tolist()
        highest = max(int(dataset.classes_in(index).max()) for index in range(len(dataset)))
        if CLASSES[key] > 255:
            assert highest > 255  # ids that 8 bits would have wrapped


@pytest.mark.parametrize("key", CLASSES)
def test_bad_files_are_named(
    key: str, tmp_path: Path, png_header: Callable[[int, int], bytes]
) -> None:
    root = write_data(key, tmp_path / key)

    def message(index: int) -> str:
        with pytest.raises(DataError) as caught:
            open_dataset(key, root, "train")[index]
        assert "\n" not in str(caught.value)
        return str(caught.value)

    dataset = open_dataset(key, root, "train")
    photo, mask = dataset.image_path(0), dataset.mask_path(0)
    whole = photo.read_bytes()
    photo.write_bytes(whole[: len(whole) // 2])
    assert "cannot be decoded" in message(0)
    assert photo.name in message(0)
    photo.write_bytes(png_header(50_000, 50_000))
    assert photo.name in message(0)
    photo.write_bytes(whole)
    with Image.open(photo) as picture:
        picture.resize((picture.width + 8, picture.height)).save(photo)
    assert f"{picture.width + 8} x {picture.height} pixels" in message(0)
    photo.write_bytes(whole)
    torn = mask.read_bytes()
    mask.write_bytes(torn[: len(torn) // 2])
    assert mask.name in message(0)
    if mask.suffix == ".png":
        mask.write_bytes(png_header(50_000, 50_000))
        assert mask.name in message(0)
    mask.write_bytes(torn)
    open_dataset(key, root, "train")[0]  # and whole again it reads


@pytest.mark.parametrize("key", TWINS)
def test_twins_are_reproducible(key: str, tmp_path: Path) -> None:
    one, two, other = (
        write_twin(key, tmp_path / name, seed=seed, images=2)
        for name, seed in (("one", 3), ("two", 3), ("other", 4))
    )
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) >= 6
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)
    assert any((one / file).read_bytes() != (other / file).read_bytes() for file in files)
