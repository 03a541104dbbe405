"""What an exported file does, against all scores at once in float64."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.export_models import CLASSES, make_model, pictures, vocabulary
from helpers.fuzz import seeds

from workbench.errors import ConfigError, DataError, RunError
from workbench.export import export_model, load_exported
from workbench.export.facts import from_text, table_of
from workbench.models import SegmentationModel
from workbench.runs.class_file import ClassSet

Exported = Callable[[str, str], Path]
REPOSITORY = Path(__file__).resolve().parents[2]

KINDS = pytest.mark.parametrize(
    ("distance", "format"),
    [
        ("euclidean", "onnx"),
        ("euclidean", "pt2"),
        ("linear", "onnx"),
        pytest.param("linear", "pt2", marks=pytest.mark.slow),
    ],
)


def scores(
    model: SegmentationModel, images: np.ndarray, weight: torch.Tensor, bias: torch.Tensor | None
) -> np.ndarray:
    """(B, H, W, C) in float64, written out: a cosine, or a product with a bias."""
    with torch.no_grad():
        output = model(torch.from_numpy(images))
    full = torch.nn.functional.interpolate(
        output.pixels.double(), images.shape[-2:], mode="bilinear"
    )
    pixels, rows = full.permute(0, 2, 3, 1), weight.double()
    if bias is not None:
        return (pixels @ rows.T + bias.double()).numpy()
    length = pixels.norm(dim=-1, keepdim=True) * rows.norm(dim=1)
    return ((pixels @ rows.T) / length).numpy()


def check(labels: np.ndarray, distances: np.ndarray, wanted: np.ndarray, linear: bool) -> None:
    assert labels.dtype == np.int64 and labels.shape == distances.shape == wanted.shape[:-1]
    best = wanted.max(axis=-1)
    chosen = np.take_along_axis(wanted, labels[..., None], axis=-1)[..., 0]
    assert (best - chosen).max() < 1e-5  # near ties have no order in fp32
    assert (labels == wanted.argmax(axis=-1)).mean() > 0.999
    truth = -best if linear else np.sqrt(np.maximum(2 - 2 * best, 1e-6))
    np.testing.assert_allclose(distances, truth, atol=2e-4)


@KINDS
def test_pictures_of_any_size(exported: Exported, distance: str, format: str) -> None:
    """Odd sides, several pictures, a side longer than a strip of the search."""
    model, run = make_model(distance), load_exported(exported(distance, format), trusted=True)
    assert model.table is not None
    weight, bias, _ = (None if t is None else t.detach() for t in model.table())
    assert weight is not None
    for shape in ((1, 3, 64, 64), (3, 3, 65, 131), (1, 3, 70, 2100)):
        images = pictures(*shape)
        labels, distances = run(images)
        check(labels, distances, scores(model, images, weight, bias), distance == "linear")
        assert len(np.unique(labels)) > 5


@KINDS
@pytest.mark.parametrize("count", [2, 300, 1284])
def test_other_classes_need_no_new_export(
    exported: Exported, distance: str, format: str, count: int
) -> None:
    """Fewer and more than a chunk of the search, and the nearest one among the last of them."""
    linear = distance == "linear"
    rows = torch.randn(count, 6, generator=torch.Generator().manual_seed(3)) * 3
    bias = torch.linspace(-1, 1, count) if linear else None
    other = ClassSet(rows, bias, 1.0, distance, vocabulary(count, "other"))
    run = load_exported(exported(distance, format), classes=other, trusted=True)
    images = pictures(1, 3, 64, 96)
    labels, distances = run(images)
    check(labels, distances, scores(make_model(distance), images, rows, bias), linear)
    assert run.vocabulary.names[count - 1] == f"other é<{count - 1}>"
    if count == 1284:
        assert labels.max() > 1023


def test_temperature_weighs_products_against_a_bias(exported: Exported) -> None:
    rows, bias = torch.randn(300, 6), torch.randn(300)
    other = ClassSet(rows, bias, 2.0, "linear", vocabulary(300))
    images = pictures(1, 3, 64, 64)
    labels, distances = load_exported(exported("linear", "onnx"), classes=other)(images)
    check(labels, distances, scores(make_model("linear"), images, 2 * rows, bias), True)


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_what_a_file_says_of_itself(exported: Exported, format: str) -> None:
    run = load_exported(exported("euclidean", format), trusted=True)
    assert run.vocabulary.table.equals(vocabulary(CLASSES).table)
    wanted = {"classes": 300, "embedding_dim": 6, "distance": "euclidean", "source_run": "mine"}
    assert {key: run.facts[key] for key in wanted} == wanted
    assert run.facts["temperature"] == pytest.approx(20.0)
    content = exported("euclidean", format).read_bytes()
    assert str(REPOSITORY).encode() not in content and b"embedding.py" not in content


def test_equal_classes_give_the_first(exported: Exported) -> None:
    """As everywhere in the library; also across chunks."""
    rows = torch.ones(1284, 6)
    for format in ("onnx", "pt2"):
        other = ClassSet(rows, None, 20.0, "euclidean", vocabulary(1284))
        run = load_exported(exported("euclidean", format), classes=other, trusted=True)
        assert run(pictures(1, 3, 64, 64))[0].max() == 0


def test_onnx_without_this_library(exported: Exported) -> None:
    """The table is a default that plain onnxruntime overrides by name."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(exported("euclidean", "onnx")))
    assert [one.name for one in session.get_inputs()] == ["images"]
    [table] = session.get_overridable_initializers()
    assert table.name == "class_embeddings"
    images, rows = pictures(1, 3, 64, 64), np.eye(6, dtype=np.float32)
    labels, _ = session.run(None, {"images": images, "class_embeddings": rows})
    wanted = scores(make_model(), images, torch.from_numpy(rows), None).argmax(axis=-1)
    assert (labels == wanted).mean() > 0.999


def test_pt2_without_this_library(exported: Exported) -> None:
    code = (
        "import sys, torch\n"
        "program = torch.export.load(sys.argv[1])\n"
        "images = torch.zeros(1, 3, 80, 72, dtype=torch.uint8)\n"
        "table = program.state_dict['class_embeddings']\n"
        "labels, distances = program.module()(images=images, class_embeddings=table)\n"
        "assert not any(name.startswith('workbench') for name in sys.modules)\n"
        "print(*labels.shape, *table.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported("euclidean", "pt2"))],
        capture_output=True,
        text=True,
        check=False,
        cwd=exported("euclidean", "pt2").parent,
        timeout=120,
    )
    assert done.stdout.split() == ["1", "80", "72", "300", "6"], done.stderr


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_dense_models(tmp_path: Path, format: str) -> None:
    model = make_model(dense=True)
    report = export_model(model, vocabulary(CLASSES), tmp_path / f"a.{format}", format)
    assert report.embedding_dim is None and report.agreement > 0.999
    run = load_exported(tmp_path / f"a.{format}", trusted=True)
    images = pictures(2, 3, 65, 71)
    labels, distances = run(images)
    with torch.no_grad():
        output = model(torch.from_numpy(images)).pixels
    full = torch.nn.functional.interpolate(output, (65, 71), mode="bilinear").numpy()
    assert (labels == full.argmax(axis=1)).mean() > 0.999
    np.testing.assert_allclose(distances, -full.max(axis=1), atol=1e-5)
    other = ClassSet(torch.ones(3, 6), None, 20.0, "euclidean", vocabulary(3))
    with pytest.raises(DataError, match="dense"):
        load_exported(tmp_path / f"a.{format}", classes=other, trusted=True)


@pytest.mark.parametrize(
    ("network", "backbone"),
    [
        pytest.param("deeplabv3plus", "vit_tiny_patch16_224", marks=pytest.mark.slow),
        pytest.param("smp-fpn", "resnet18", marks=pytest.mark.slow),
    ],
)
def test_padded_networks(tmp_path: Path, network: str, backbone: str) -> None:
    """Sides that are no multiples of a stride, of networks that pad them."""
    model = make_model("cosine", network=network, backbone=backbone)
    export_model(model, vocabulary(CLASSES), tmp_path / "a.pt2", "pt2")
    run = load_exported(tmp_path / "a.pt2", trusted=True)
    assert model.table is not None
    images = pictures(1, 3, 67, 98)
    labels, distances = run(images)
    weight = model.table.weight.detach()
    check(labels, distances, scores(model, images, weight, None), linear=False)


@pytest.mark.slow
def test_a_padded_network_as_onnx(tmp_path: Path) -> None:
    model = make_model("cosine", network="deeplabv3plus", backbone="resnet18")
    report = export_model(model, vocabulary(CLASSES), tmp_path / "a.onnx", "onnx")
    assert report.agreement > 0.999 and report.largest_error < 1e-3 and report.opset == 18
    assert report.bytes == (tmp_path / "a.onnx").stat().st_size


class OneSize(torch.nn.Module):
    """A network that knows no other pictures than 64 x 96."""

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = 6
        self.conv = torch.nn.Conv2d(3, 6, 4, stride=4)
        self.place = torch.nn.Parameter(torch.randn(6, 16, 24))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.conv(images) + self.place
        return outputs


def test_a_network_of_one_size(tmp_path: Path) -> None:
    model, out, format = make_model(), tmp_path / "a.pt2", "pt2"
    model.network = OneSize()
    with pytest.raises(RunError, match="--size HEIGHT WIDTH"):
        export_model(model, vocabulary(CLASSES), out, format)
    assert list(tmp_path.iterdir()) == []
    report = export_model(model, vocabulary(CLASSES), out, format, size=(64, 96))
    assert report.size == "64 x 96" and report.agreement > 0.999
    run = load_exported(out, trusted=True)
    assert run(pictures(3, 3, 64, 96))[0].shape == (3, 64, 96)
    with pytest.raises(RunError, match="1 x 3 x 64 x 97"):
        run(pictures(1, 3, 64, 97))


class Astray(torch.nn.Module):
    """Something else exported than used."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.network(images)
        return outputs.flip(-1) if torch.compiler.is_exporting() else outputs


def test_a_file_that_differs_is_not_written(tmp_path: Path) -> None:
    out, format = tmp_path / "a.pt2", "pt2"
    out.write_bytes(b"the old one")
    model = make_model(dense=True)
    model.network = Astray(model.network)
    with pytest.raises(RunError, match="nothing was written"):
        export_model(model, vocabulary(CLASSES), out, format)
    assert out.read_bytes() == b"the old one" and len(list(tmp_path.iterdir())) == 1


def test_errors_are_one_line(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, names = make_model(), vocabulary(CLASSES)
    with pytest.raises(ConfigError, match=r"ends in \.onnx, got a\.pt2"):
        export_model(model, names, tmp_path / "a.pt2", "onnx")
    with pytest.raises(DataError, match="trusted=True"):
        load_exported(exported("euclidean", "pt2"))
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no sound ONNX"):
        load_exported(tmp_path / "a.onnx")
    wrong = ClassSet(torch.ones(3, 7), None, 20.0, "euclidean", vocabulary(3))
    with pytest.raises(DataError, match="embedding_dim is 7"):
        load_exported(exported("euclidean", "onnx"), classes=wrong)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'segmentation-workbench\[export\]'"):
        export_model(model, names, tmp_path / "b.onnx", "onnx")


@pytest.mark.parametrize("damage", [{"classes": 2}, {"axis": 2}])
def test_results_that_cannot_be_right_are_refused(tmp_path: Path, damage: dict[str, int]) -> None:
    """A damaged graph may still run."""
    path = tmp_path / "model.onnx"
    images = pictures(1, 3, 4, 5)
    path.write_bytes(seeds.exported()[0])
    labels, _ = load_exported(path)(images)
    np.testing.assert_array_equal(labels, images.argmax(1))
    path.write_bytes(seeds.exported(**damage)[0])
    with pytest.raises(RunError, match="its file is damaged"):
        load_exported(path)(images)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "was not made by workbench export"),
        ("[" * 5000, "was not made by workbench export"),
        ('{"version": 2}', "'version' of the metadata is not 1"),
        ('{"version": 1, "classes": "9", "distance": "dense"}', "'classes' or 'distance'"),
        ('{"version": 1, "classes": 2, "distance": "dense"}', "export it again"),
        ('{"version": 1, "classes": 2, "distance": "dense", "vocabulary": [1]}', "export it again"),
    ],
)
def test_metadata_of_strangers_are_refused_in_a_line(text: str, word: str) -> None:
    with pytest.raises(DataError, match=f"^a file.*{word}"):
        from_text(text, "a file")


def test_a_linear_table_without_its_bias_is_refused() -> None:
    classes = ClassSet(torch.ones(300, 4), None, 1.0, "linear", vocabulary(300), "mine", 5)
    with pytest.raises(DataError, match="no 'bias'"):
        table_of(classes)
