"""The few names a person needs: load, segment, look."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from workbench import Segmentation, Segmenter, config
from workbench.errors import ConfigError, DataError, RunError
from workbench.inference import Tiling, Views, predict_labels
from workbench.inference.vocabulary_edits import subset
from workbench.models import build_model
from workbench.runs import RunDirectory
from workbench.runs.class_file import write_class_file
from workbench.sharing import SharedModel
from workbench.vocabulary import Vocabulary

NARROW = Views(tiling=Tiling(tile=64, overlap=32, whole=0))


@pytest.fixture(scope="module")
def demo(repository: Path) -> Segmenter:
    return Segmenter.load(repository / "runs" / "demo", device="cpu")


@pytest.fixture(scope="module")
def sample(repository: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """A picture that the demo's model has not seen, and its truth."""
    run = RunDirectory.open(repository / "runs" / "demo")
    picture, truth, _ = run.read_sample("val", run.samples("val")[0])
    return np.asarray(picture), truth


@pytest.fixture(scope="module")
def found(demo: Segmenter, sample: tuple[npt.NDArray[np.uint8], object]) -> Segmentation:
    return demo.segment(sample[0])


def test_it_is_as_good_as_the_runs_evaluation(
    found: Segmentation, sample: tuple[object, npt.NDArray[np.int64]]
) -> None:
    truth = sample[1]
    assert found.labels.shape == truth.shape and found.labels.dtype == np.int64
    assert (found.labels == truth)[truth >= 0].mean() > 0.7
    assert found.labels.max() > 255


def test_labels_are_what_prediction_gives(demo: Segmenter, found: Segmentation) -> None:
    planes = torch.from_numpy(found.picture.transpose(2, 0, 1).copy())[None]
    expected = predict_labels(demo.model, planes)[0].numpy()
    assert (found.labels == expected).mean() > 0.999


def test_names_and_table_go_from_large_to_small(demo: Segmenter, found: Segmentation) -> None:
    counts = np.bincount(found.labels.ravel(), minlength=1284)
    assert found.names[0] == demo.vocabulary.names[int(counts.argmax())]
    assert found.table["pixels"].is_monotonic_decreasing
    assert int(found.table["pixels"].sum()) == found.labels.size
    assert found.table["share"].sum() == pytest.approx(1.0)
    first = found.table.iloc[0]
    assert found.mask(first["name"]).sum() == found.mask(int(first["class_id"])).sum()
    assert (found.mask(first["name"]) == (found.labels == first["class_id"])).all()
    absent = next(i for i in range(1284) if counts[i] == 0)
    assert not found.mask(absent).any()
    for wrong in ("no such thing", 1284, -1):
        with pytest.raises(DataError):
            found.mask(wrong)


def test_the_best_of_a_pixel_is_its_label(found: Segmentation) -> None:
    for x, y in ((0, 0), (found.labels.shape[1] - 1, 5), (40, found.labels.shape[0] - 1)):
        best = found.top_k(x, y, k=4)
        assert best["class_id"][0] == found.labels[y, x]
        assert best["probability"].is_monotonic_decreasing
        assert best["distance"].is_monotonic_increasing
        assert best["name"].iloc[0] == found.vocabulary.names[found.labels[y, x]]
        assert 0 < best["probability"].sum() <= 1 + 1e-6
    assert found.top_k(0, 0, k=1284)["probability"].sum() == pytest.approx(1.0)
    with pytest.raises(DataError, match="pixel -1, 0 lies outside of the picture of 128 x 128"):
        found.top_k(-1, 0)


def test_large_pictures_are_cut_and_answer_about_every_pixel(demo: Segmenter) -> None:
    torch.manual_seed(0)
    coarse = torch.rand(1, 3, 9, 14)
    smooth = torch.nn.functional.interpolate(coarse, (150, 211), mode="bicubic").clamp(0, 1)
    picture = (255 * smooth[0].permute(1, 2, 0)).to(torch.uint8).numpy()
    cut = demo.segment(picture, views=NARROW)
    assert cut.labels.shape == (150, 211)
    assert cut.features.size == (160, 224)  # padded to whole cells
    assert (cut.labels != demo.segment(picture).labels).any()
    for x, y in ((210, 149), (0, 149), (100, 75)):
        assert cut.top_k(x, y, k=1)["class_id"][0] == cut.labels[y, x]
    with pytest.raises(DataError):
        cut.top_k(211, 0)  # among the padding


def test_overlay_is_half_picture_half_colours(found: Segmentation) -> None:
    image = found.overlay()
    expected = (found.picture.astype(float) + found.vocabulary.colors[found.labels]) / 2
    assert np.abs(np.asarray(image) - expected).max() <= 1
    shown = Image.open(io.BytesIO(found._repr_png_()))
    assert shown.width == 512 and shown.height > 512  # enlarged, with names below
    assert shown.getpixel((shown.width - 1, shown.height - 1)) == (255, 255, 255)


def test_pictures_come_in_many_forms(demo: Segmenter, found: Segmentation, tmp_path: Path) -> None:
    image = Image.fromarray(found.picture)
    image.save(tmp_path / "picture.png")
    for form in (str(tmp_path / "picture.png"), tmp_path / "picture.png", image):
        assert (demo.segment(form).labels == found.labels).all()
    grey = np.asarray(image.convert("L"))
    three = np.repeat(grey[:, :, None], 3, axis=2)
    assert (demo.segment(grey).labels == demo.segment(three).labels).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert (demo.segment(tmp_path / "turned.png").labels == found.labels).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4, 3)),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
        np.zeros(4, dtype=np.uint8),
    ],
)
def test_other_pixels_are_refused(demo: Segmenter, wrong: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"a picture's pixels are \(H, W, 3\)"):
        demo.segment(wrong)


def test_what_is_no_picture_is_said(demo: Segmenter, found: Segmentation, tmp_path: Path) -> None:
    Image.fromarray(found.picture).save(tmp_path / "whole.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "whole.png").read_bytes()[:900])
    with Image.open(tmp_path / "torn.png") as torn, pytest.raises(DataError, match="decoded"):
        demo.segment(torn)
    for wrong in (b"PNG", [[0]]):
        with pytest.raises(DataError, match="a file, a Pillow image or an array"):
            demo.segment(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        found.top_k(1.5, 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="device: 'gpu' is not here"):
        Segmenter.load("nowhere", device="gpu")


def test_an_array_may_change_afterwards(demo: Segmenter, found: Segmentation) -> None:
    mine = found.picture.copy()
    kept = demo.segment(mine)
    mine[:] = 0
    assert (kept.picture == found.picture).all()


def test_other_classes_without_training(
    demo: Segmenter, found: Segmentation, tmp_path: Path
) -> None:
    kept = [int(class_id) for class_id in found.table["class_id"][:3]]
    few = subset(demo.classes, kept)
    path = write_class_file(tmp_path / "few", few.classes)
    for classes in (few.classes, path, str(path)):
        other = demo.with_classes(classes).segment(found.picture)
        assert set(other.names) <= set(found.names[:3])
        was_kept = np.isin(found.labels, kept)
        assert (other.labels == few.lookup[found.labels])[was_kept].all()
    settings = config.Model(network="small", width=8, embedding_dim=5)
    model = build_model(settings, 300).eval()
    with pytest.raises(DataError, match="embedding_dim"):
        Segmenter(model, Vocabulary(demo.vocabulary.table[:300])).with_classes(path)


def test_a_dense_model_segments_too(demo: Segmenter) -> None:
    torch.manual_seed(0)
    settings = config.Model(network="small", width=8)
    model = build_model(settings, 300, class_table=False).eval()
    dense = Segmenter(model, Vocabulary(demo.vocabulary.table[:300]))
    found = dense.segment(np.zeros((20, 30, 3), dtype=np.uint8))
    assert found.labels.shape == (20, 30)
    assert found.top_k(3, 4)["distance"].isna().all()
    assert found.top_k(3, 4)["class_id"][0] == found.labels[4, 3]
    with pytest.raises(ConfigError, match="this model is dense"):
        _ = dense.classes


def test_a_shared_model_loads_as_a_run_does(
    demo: Segmenter, found: Segmentation, repository: Path, tmp_path: Path
) -> None:
    SharedModel.from_run(repository / "runs" / "demo").save_pretrained(tmp_path / "shared")
    again = Segmenter.load(tmp_path / "shared", device="cpu")
    assert (again.segment(found.picture).labels == found.labels).all()
    with pytest.raises(RunError):
        Segmenter.load(tmp_path / "nothing")


def test_the_package_still_loads_quickly() -> None:
    code = "import workbench, sys; assert 'torch' not in sys.modules; workbench.Segmenter"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'Segmentr'"):
        import workbench

        _ = workbench.Segmentr
