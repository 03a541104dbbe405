"""Real LVIS annotations, prepared and compared with pycocotools, pixel by pixel."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from workbench.constants import IGNORE_INDEX
from workbench.datasets.counts import count_classes
from workbench.datasets.lvis_coco import LvisCoco, PrepareReport, prepare

# The oracle's decode warns under numpy 2 with each call.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Prepared = tuple[PrepareReport, LvisCoco, COCO]


@pytest.fixture(scope="module")
def prepared(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The report, the loader and COCO's own reader of the same file."""
    out = tmp_path_factory.mktemp("real") / "prepared"
    root = realdata / "lvis"
    before = sorted(root.rglob("*"))
    report = prepare(root, out=out)
    assert sorted(root.rglob("*")) == before
    with redirect_stdout(io.StringIO()):
        oracle = COCO(str(root / "annotations" / "lvis_v1_val.json"))
    return report, LvisCoco(root, "val", prepared=out), oracle


def expected_mask(oracle: COCO, image_id: int) -> np.ndarray:
    """Annotation by annotation, the first on top: what is taken is not painted again."""
    (entry,) = oracle.loadImgs(image_id)
    mask = np.full((entry["height"], entry["width"]), IGNORE_INDEX, dtype=np.int64)
    for item in oracle.loadAnns(oracle.getAnnIds(imgIds=image_id)):
        inside = oracle.annToMask(item).astype(bool)
        mask[inside & (mask == IGNORE_INDEX)] = item["category_id"] - 1
    return mask


def test_every_pixel_is_that_of_pycocotools(prepared: Prepared) -> None:
    _, dataset, oracle = prepared
    pixels = np.zeros(1284, dtype=np.int64)
    images = np.zeros(1284, dtype=np.int64)
    for index, name in enumerate(dataset.ids):
        expected = expected_mask(oracle, int(name))
        sample = dataset[index]
        assert (sample["mask"].numpy() == expected).all()
        with Image.open(dataset.image_path(index)) as photo:
            assert photo.size == (expected.shape[1], expected.shape[0])
        found, counts = np.unique(expected[expected >= 0], return_counts=True)
        pixels[found] += counts
        images[found] += 1
        assert dataset.classes_in(index).tolist() == found.tolist()
    assert np.flatnonzero(pixels).max() > 255
    counted = count_classes(dataset)
    assert counted.pixels.tolist() == dataset.known_counts().pixels.tolist() == pixels.tolist()
    assert counted.images.tolist() == dataset.known_counts().images.tolist() == images.tolist()


def test_missing_photos_are_counted_and_named(prepared: Prepared, realdata: Path) -> None:
    report, dataset, oracle = prepared
    there = {path.name for path in (realdata / "lvis" / "val2017").iterdir()}
    names = [entry["coco_url"].split("/")[-1] for entry in oracle.loadImgs(oracle.getImgIds())]
    absent = [f"val2017/{name}" for name in names if name not in there]
    assert (report.images, report.missing_images) == (len(there), len(absent)) == (7, 93)
    assert (report.out / "missing_val.txt").read_text().splitlines() == absent
    (note,) = [note for note in report.notes if note.startswith("split val")]
    assert note.startswith(f"split val: 93 of 100 images are missing ({', '.join(absent[:3])}, ")
    (shown,) = dataset.notes()
    assert shown.startswith("val: 93 images left out")


def test_federated_ids_are_those_of_the_json(prepared: Prepared) -> None:
    _, dataset, oracle = prepared
    listed = 0
    for index, name in enumerate(dataset.ids):
        (entry,) = oracle.loadImgs(int(name))
        verdicts = dataset.federated(index)
        assert verdicts is not None
        for key in ("neg", "not_exhaustive"):
            raw = entry[f"{key}_category_ids"]
            assert [value + 1 for value in verdicts[key]] == raw
            listed += len(raw)
    assert listed > 0


def test_names_of_what_is_seen(prepared: Prepared) -> None:
    _, dataset, oracle = prepared
    for index, name in enumerate(dataset.ids):
        items = oracle.loadAnns(oracle.getAnnIds(imgIds=int(name)))
        listed = {oracle.cats[item["category_id"]]["name"] for item in items}
        shown = {dataset.vocabulary.names[value] for value in dataset.classes_in(index)}
        assert shown <= listed
        assert len(shown) >= len(listed) - 1  # a small one may lie wholly under another
