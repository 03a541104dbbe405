from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.datasets import open_dataset
from workbench.datasets.coco_panoptic import CocoPanoptic, decode_segments
from workbench.datasets.counts import count_classes
from workbench.datasets.twins import write_twin
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, load_table

Json = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_twin("coco-panoptic", tmp_path / "coco", images=3)


def json_of(root: Path, split: str = "train") -> Path:
    return root / "annotations" / f"panoptic_{split}2017.json"


def png_of(root: Path, number: int = 1) -> Path:
    return root / "annotations" / "panoptic_train2017" / f"{number:012d}.png"


def edit(root: Path, change: Callable[[Json], object]) -> None:
    content = json.loads(json_of(root).read_text())
    change(content)
    json_of(root).write_text(json.dumps(content))


def opened(root: Path, split: str = "train") -> CocoPanoptic:
    dataset = open_dataset("coco-panoptic", root, split)
    assert isinstance(dataset, CocoPanoptic)
    return dataset


def refusal(root: Path, *, read: bool = False) -> str:
    """What opening the train split, or reading its first image, says."""
    with pytest.raises(DataError) as caught:
        dataset = opened(root)
        if read:
            dataset[0]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def oracle(png: Path, segments: list[Json]) -> tuple[Any, Any]:
    """Category id of each pixel, one segment at a time, and the pixels of each segment."""
    colors = np.asarray(Image.open(png)).astype(np.int64)
    ids = colors[..., 0] + 256 * colors[..., 1] + 65536 * colors[..., 2]
    categories = np.zeros(ids.shape, np.int64)
    areas = {}
    for segment in segments:
        inside = ids == segment["id"]
        categories[inside] = segment["category_id"]
        areas[segment["id"]] = int(inside.sum())
    assert ((categories == 0) == (ids == 0)).all()
    return categories, areas


def test_roots_and_splits(root: Path) -> None:
    for place in (root, root.parent):
        assert opened(place).ids == ["000000000001", "000000000002", "000000000003"]
        assert opened(place, "val").ids == ["000000000005", "000000000006", "000000000007"]


def test_pixels_take_the_category_of_their_segment(root: Path) -> None:
    content = json.loads(json_of(root).read_text())
    raw_ids = sorted(category["id"] for category in content["categories"])
    dataset = opened(root)
    for index, annotation in enumerate(content["annotations"]):
        categories, areas = oracle(png_of(root, index + 1), annotation["segments_info"])
        assert max(areas) > 65535  # all three channels count
        assert {s["id"]: s["area"] for s in annotation["segments_info"]} == areas
        expected = [raw_ids.index(c) if c else IGNORE_INDEX for c in categories.ravel().tolist()]
        assert dataset[index]["mask"].numpy().ravel().tolist() == expected
        assert (categories == 0).any()
        classes = dataset.classes_in(index)
        assert classes.tolist() == sorted(set(expected) - {IGNORE_INDEX})
    crowds = [s for a in content["annotations"] for s in a["segments_info"] if s["iscrowd"]]
    assert crowds


def test_what_is_left_out_is_counted_and_named(root: Path) -> None:
    dataset = opened(root)
    assert dataset.skipped == {"unannotated": 1, "missing": 0}
    assert dataset.notes() == ["train: photos left out because the json has no entry for them: 1"]
    assert opened(root, "val").notes() == []
    (root / "train2017" / "000000000002.jpg").unlink()
    dataset = opened(root)
    assert dataset.ids == ["000000000001", "000000000003"]
    assert dataset.skipped == {"unannotated": 1, "missing": 1}
    assert "lacks their photo: 1," in dataset.notes()[1]
    assert dataset.notes()[1].endswith("first 000000000002.jpg")
    categories, _ = oracle(
        png_of(root, 3), json.loads(json_of(root).read_text())["annotations"][2]["segments_info"]
    )
    assert ((dataset.read_mask(1) == IGNORE_INDEX) == (categories == 0)).all()
    for name in ("000000000001.jpg", "000000000003.jpg"):
        (root / "train2017" / name).unlink()
    assert "train2017: none of the 3 photos of the split 'train' is there" in refusal(root)


def test_where_files_may_lie(root: Path) -> None:
    before = opened(root).read_mask(0)
    masks = root / "annotations" / "panoptic_train2017"
    masks.rename(root / "panoptic_train2017")
    (root / "images").mkdir()
    (root / "train2017").rename(root / "images" / "train2017")
    dataset = opened(root)
    assert (dataset[0]["mask"].numpy() == before).all()
    assert dataset.skipped == {"unannotated": 1, "missing": 0}
    (root / "panoptic_train2017").rename(root / "elsewhere")
    assert f"{masks}: the folder of PNGs is missing; unpack panoptic_train2017.zip" in refusal(root)
    archive = root / "annotations" / "panoptic_train2017.zip"
    archive.touch()
    assert refusal(root) == f"{archive}: is not unpacked; unpack it into {archive.parent}"


def test_a_copy_for_a_loader_worker_is_small_and_whole(root: Path) -> None:
    dataset = opened(root)
    copied = pickle.dumps(dataset)
    assert len(copied) < 30_000  # most of it the vocabulary
    again = pickle.loads(copied)
    assert all((again.read_mask(i) == dataset.read_mask(i)).all() for i in range(3))


def first(content: Json) -> Json:
    annotation: Json = content["annotations"][0]
    return annotation


def segment(content: Json) -> Json:
    part: Json = first(content)["segments_info"][0]
    return part


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda c: c.pop("annotations"), "the list 'annotations' is missing"),
        (lambda c: c.pop("categories"), "the list 'categories' is missing"),
        (lambda c: c.update(images=5), "the list 'images' is missing"),
        (lambda c: c["images"].append("x"), "the image 'x' is no object"),
        (lambda c: c["annotations"].append([1]), "the annotation [1] is no object"),
        (lambda c: c["images"][0].update(id="1"), "an image: 'id' is '1', not a whole number"),
        (lambda c: c["images"][0].update(height=0), "image 1: 'height' is 0, not a whole number"),
        (lambda c: c["images"][0].update(width=10**9), "image 1: 'width' is 1000000000, not"),
        (lambda c: c["images"][0].update(width=True), "image 1: 'width' is True, not a whole"),
        (lambda c: c["images"][0].pop("file_name"), "image 1: 'file_name' is None"),
        (lambda c: c["images"].append(c["images"][1]), "image 2 is listed twice"),
        (lambda c: c["images"].pop(0), "image 1 is annotated but not in 'images'"),
        (lambda c: c["annotations"].append(first(c)), "image 1 (000000000001.png) is annotated tw"),
        (lambda c: first(c).update(image_id=2.0), "'image_id' is 2.0, not a whole number"),
        (lambda c: first(c).update(file_name="a.jpg"), "'a.jpg' is no PNG"),
        (lambda c: first(c).pop("segments_info"), "image 1: 'segments_info' is no list"),
        (lambda c: first(c).update(segments_info=[3]), "image 1: 'segments_info' is no list"),
        (lambda c: segment(c).update(id=2**24), "image 1: 'id' is 16777216, not a whole number"),
        (lambda c: segment(c).update(id=0), "image 1: 'id' is 0, not a whole number"),
        (lambda c: segment(c).update(category_id="1"), "'category_id' is '1', not a whole number"),
        (lambda c: segment(c).update(category_id=12), "category_id 12 is none of COCO's 133"),
        (lambda c: first(c)["segments_info"].append(segment(c)), "is listed twice"),
        (lambda c: c["categories"][0].update(name="road"), "is not COCO's"),
        (lambda c: c["categories"].append({"id": []}), "is not COCO's"),
        *(
            (lambda c, n=name: c["images"][0].update(file_name=n), "not a name without a folder")
            for name in ("../1.jpg", "/etc/1.jpg", "train2017/1.jpg", "..", ".", "")
        ),
        (lambda c: first(c).update(file_name="../1.png"), "not a name without a folder"),
        (lambda c: c["images"][0].update(file_name="a\nb.jpg"), "'a\\nb.jpg', not printable"),
    ],
)
def test_malformed_jsons(root: Path, change: Callable[[Json], object], complaint: str) -> None:
    edit(root, change)
    text = refusal(root)
    assert text.startswith(f"{json_of(root)}: ")
    assert complaint in text
    assert text.endswith("; use the official file")


def test_damaged_jsons(root: Path) -> None:
    whole = json_of(root).read_text()
    for text in (whole[: len(whole) // 2], "", "[" * 10_000, "{", "\udcff" + whole):
        json_of(root).write_bytes(text.encode("utf-8", "surrogateescape"))
        assert str(json_of(root)) in refusal(root)
    assert "is not valid JSON" in refusal(root)
    json_of(root).write_text(whole.replace('"annotations": [', '"annotations": [], "x": [', 1))
    assert "the split 'train' of coco-panoptic has no image" in refusal(root)
    json_of(root).unlink()
    assert "No such file" in refusal(root)


def test_damaged_pngs(root: Path) -> None:
    whole = Image.open(png_of(root))
    whole.load()
    whole.convert("L").save(png_of(root))
    assert "8-bit RGB picture whose colours are numbers, but has the mode L" in refusal(
        root, read=True
    )
    whole.convert("RGBA").save(png_of(root))
    assert "has the mode RGBA" in refusal(root, read=True)
    whole.resize((60, 48)).save(png_of(root))
    assert "the PNG is 60 x 48 but the json says 64 x 48 pixels" in refusal(root, read=True)
    pixels = np.array(whole)
    pixels[:2, :4] = (255, 255, 255)
    pixels[5, :3] = (7, 0, 0)
    Image.fromarray(pixels).save(png_of(root))
    text = refusal(root, read=True)
    assert f"{png_of(root)}: the PNG holds segments that the json lacks: 7 (3 pixels), " in text
    assert "16777215 (8 pixels)" in text
    png_of(root, 2).unlink()
    assert "1 of 3 PNGs are missing, first 000000000002.png" in refusal(root)


def test_an_image_without_segments_is_void(root: Path) -> None:
    edit(root, lambda c: first(c).update(segments_info=[]))
    Image.new("RGB", (64, 48)).save(png_of(root))
    dataset = opened(root)
    assert (dataset.read_mask(0) == IGNORE_INDEX).all()
    assert dataset.classes_in(0).tolist() == []
    assert len(dataset.classes_in(1)) > 0


def test_real_files(realdata: Path) -> None:
    source = realdata / "coco"
    dataset = opened(source)
    photos = list((source / "train2017").glob("*.jpg"))
    assert len(dataset) == 100
    assert dataset.skipped == {"unannotated": len(photos) - 100, "missing": 0}
    content = json.loads(json_of(source).read_text())
    pixels = np.zeros(256, np.int64)
    images = np.zeros(256, np.int64)
    areas: dict[int, int] = {}
    for annotation in content["annotations"]:
        png = source / "annotations" / "panoptic_train2017" / annotation["file_name"]
        categories, found = oracle(png, annotation["segments_info"])
        counts = np.bincount(categories.ravel(), minlength=256)
        pixels += counts
        images += counts > 0
        for part in annotation["segments_info"]:
            assert found[part["id"]] == part["area"]
            areas[part["category_id"]] = areas.get(part["category_id"], 0) + part["area"]
    raw = sorted(category["id"] for category in content["categories"])
    counted = count_classes(dataset)
    assert (counted.pixels == pixels[raw]).all()
    assert (counted.images == images[raw]).all()
    assert counted.pixels.tolist() == [areas.get(category, 0) for category in raw]
    listed = np.zeros(133, np.int64)
    for index in range(len(dataset)):
        listed[dataset.classes_in(index)] += 1
    assert (listed == counted.images).all()
    for index in range(0, len(dataset), 10):  # with their photos
        assert (dataset[index]["mask"].numpy() == dataset.read_mask(index)).all()


def test_the_authors_two_channel_pngs(realdata: Path) -> None:
    """panopticapi's other form of the same masks: R is the category, 0 void."""
    source = realdata / "coco_panopticapi_sample"
    content = json.loads((source / "panoptic_examples.json").read_text())
    for annotation in content["annotations"]:
        parts = sorted(annotation["segments_info"], key=lambda part: part["id"])
        ids, categories = (
            np.array([part[key] for part in parts], np.int32) for key in ("id", "category_id")
        )
        png = source / "panoptic_examples" / annotation["file_name"]
        two = source / "panoptic_examples_2ch_format" / annotation["file_name"]
        decoded = decode_segments(np.asarray(Image.open(png)), ids, categories, png)
        expected = np.asarray(Image.open(two))[..., 0]
        assert (np.where(decoded == IGNORE_INDEX, 0, decoded) == expected).all()
        assert (expected == 0).any()


def test_table_is_the_official_one(realdata: Path) -> None:
    facts = json.loads((realdata / "classes" / "coco_panoptic_133.json").read_text())
    facts.sort(key=lambda fact: fact["id"])
    table = load_table("coco-panoptic")
    assert table["raw_id"].tolist() == [fact["id"] for fact in facts]
    vocabulary = Vocabulary.from_table(table)
    assert vocabulary.names == [fact["name"] for fact in facts]
    assert vocabulary.colors.tolist() == [fact["color"] for fact in facts]
    assert vocabulary.table["supercategory"].tolist() == [fact["supercategory"] for fact in facts]
