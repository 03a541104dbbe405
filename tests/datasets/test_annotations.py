from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco
from pycocotools.coco import COCO

from workbench.datasets.annotations import Region, RunLengths, load_annotations, paint, run_lengths
from workbench.datasets.mask_jobs import MaskJob, make_masks, map_chunks
from workbench.errors import DataError

SIZE = (60, 80)
# The oracle's decode warns under numpy 2 with each call.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def file_of(path: Path, annotations: list[dict[str, Any]], ids: tuple[int, ...] = (1,)) -> Path:
    images = [{"id": image_id, "height": SIZE[0], "width": SIZE[1]} for image_id in ids]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    return path


def annotation(segmentation: object, category: int = 5, **more: object) -> dict[str, Any]:
    return {"id": 9, "image_id": 1, "category_id": category, "segmentation": segmentation} | more


def rectangle(left: float, top: float, right: float, bottom: float) -> list[float]:
    return [left, top, right, top, right, bottom, left, bottom]


def random_polygons(seed: int, count: int = 12) -> list[list[list[float]]]:
    rng = np.random.default_rng(seed)
    scale = np.array([SIZE[1], SIZE[0]])
    return [
        [
            (rng.random((int(rng.integers(3, 9)), 2)) * scale).round(2).ravel().tolist()
            for _ in range(int(rng.integers(1, 4)))
        ]
        for _ in range(count)
    ]


def test_overlaps_follow_the_order_of_painting(tmp_path: Path) -> None:
    polygons = random_polygons(0)
    path = file_of(tmp_path / "a.json", [annotation(p, 1000 + i) for i, p in enumerate(polygons)])
    regions = load_annotations(path).regions[1]
    painted = paint(regions, *SIZE, fill=65535)
    # Oracle: COCO's own annToMask, one annotation at a time.
    expected = np.full(SIZE, 65535)
    for index, polygon in enumerate(polygons):
        merged = coco.merge(coco.frPyObjects(polygon, *SIZE))
        expected[coco.decode(merged) == 1] = 1000 + index
    assert painted.dtype == np.uint16
    assert (painted == expected).all()


def test_rectangles_agree_with_pillow(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.json", [annotation([rectangle(10, 20, 30, 45)], 1283)])
    painted = paint(load_annotations(path).regions[1], *SIZE, fill=0)
    drawn = Image.new("I", (SIZE[1], SIZE[0]))
    # COCO's rectangles end before their last column and row, Pillow's include them.
    ImageDraw.Draw(drawn).rectangle((10, 20, 29, 44), fill=1283)
    assert (painted == np.asarray(drawn)).all()


def test_run_lengths_compressed_and_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, two = (np.asfortranarray(rng.random(SIZE) < 0.3, dtype=np.uint8) for _ in range(2))
    packed = coco.encode(one)
    packed["counts"] = packed["counts"].decode()
    flat = np.concatenate([[0], two.ravel(order="F"), [2]])
    changes = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], changes])).tolist()
    unpacked = {"size": list(SIZE), "counts": counts}
    path = file_of(tmp_path / "a.json", [annotation(packed, 300), annotation(unpacked, 400)])
    painted = paint(load_annotations(path).regions[1], *SIZE, fill=0)
    expected = np.where(two == 1, 400, np.where(one == 1, 300, 0))
    assert (painted == expected).all()


@pytest.mark.parametrize("seed", range(30))
def test_run_lengths_agree_with_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(value) for value in rng.integers(1, 300, 2))
    coarse = rng.random((height, width)) < rng.choice([0.0, 0.001, 0.1, 0.5, 0.99, 1.0])
    mask = np.asfortranarray(coarse, dtype=np.uint8)
    packed = RunLengths(height, width, coco.encode(mask)["counts"])
    lengths = run_lengths(packed, height, width)
    values = np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(width, height).T
    assert (values == mask).all()
    assert (paint([Region(1, packed)], height, width, fill=0) == mask).all()


@pytest.mark.parametrize("counts", [b"", b"P", b"0", b"zzzzzzzzzzzzzz0", b"1", b"O" * 9])
def test_damaged_run_lengths_are_refused(counts: bytes) -> None:
    with pytest.raises(ValueError, match="run lengths"):
        paint([Region(1, RunLengths(*SIZE, counts))], *SIZE, fill=0)


def test_ids_beyond_16_bits_take_32() -> None:
    runs = coco.encode(np.ones(SIZE, np.uint8, order="F"))["counts"]
    painted = paint([Region(999_999, RunLengths(*SIZE, runs))], *SIZE, fill=2**31 - 1)
    assert painted.dtype == np.int32
    assert (painted == 999_999).all()


def test_polygons_without_area_paint_nothing(tmp_path: Path) -> None:
    # pycocotools would take [x0, y0, x1, y1] for a box, and fill it.
    flat = [annotation([[5, 5, 40, 40]]), annotation([]), annotation([[1, 1]])]
    path = file_of(tmp_path / "a.json", flat)
    assert (paint(load_annotations(path).regions[1], *SIZE, fill=7) == 7).all()


def test_polygons_beyond_the_image_are_cut(tmp_path: Path) -> None:
    path = file_of(tmp_path / "a.json", [annotation([rectangle(-2, -1.5, 82, 30)], 600)])
    painted = paint(load_annotations(path).regions[1], *SIZE, fill=0)
    assert (painted[:30] == 600).all()
    assert (painted[31:] == 0).all()


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        ((-2.5, 0, 30, 30), r"annotation 9: a polygon has the coordinate -2\.5, outside"),
        ((0, -50, 30, 30), r"annotation 9: a polygon has the coordinate -50, outside"),
        ((0, 0, 82.5, 30), r"image 1: a polygon reaches to x = 82\.5, outside .* 80 pixels"),
        ((0, 0, 30, 63), r"image 1: a polygon reaches to y = 63, outside .* 60 pixels"),
        ((0, 0, 1e12, 30), r"image 1: a polygon reaches to x = 10{12}\.0"),
        ((0, 0, float("inf"), 30), r"image 1: a polygon reaches to x = inf"),
    ],
)
def test_polygons_far_outside_the_image_are_refused(
    tmp_path: Path, corners: tuple[float, float, float, float], message: str
) -> None:
    items = [annotation([rectangle(0, 0, 9, 9)]), annotation([rectangle(*corners)])]
    path = file_of(tmp_path / "far.json", items)
    with pytest.raises(DataError, match=rf"far\.json: {message}"):
        load_annotations(path)


def test_annotations_without_area_are_listed_and_paint_nothing(tmp_path: Path) -> None:
    # The first is in COCO's own instances_train2017.json (annotation 918).
    line = [296.65, 38.33, 296.65, 38.33, 297.68, 38.33, 297.68, 38.33]
    line = [x - 250 if n % 2 == 0 else x for n, x in enumerate(line)]
    items = [
        annotation([line], id=1, area=0.0, bbox=[46.65, 38.33, 1.03, 0.0]),
        annotation([], id=2),
        annotation([rectangle(0, 0, 9, 9)], 700, id=3, area=81.0, bbox=[0, 0, 9, 9]),
        # Only the segmentation is painted: a box that contradicts it does no harm.
        annotation([rectangle(20, 0, 29, 9)], 800, id=4, bbox=[20, 0, 0, 9]),
    ]
    loaded = load_annotations(file_of(tmp_path / "a.json", items))
    assert loaded.without_area == [1, 2, 4]
    painted = paint(loaded.regions[1], *SIZE, fill=0)
    expected = np.zeros(SIZE)
    expected[:9, :9], expected[:9, 20:29] = 700, 800
    assert (painted == expected).all()


@pytest.mark.parametrize("keep", [None, frozenset({1}), frozenset({7})])
def test_annotations_of_unlisted_images_are_refused(
    tmp_path: Path, keep: frozenset[int] | None
) -> None:
    items = [annotation([]), annotation([], id=10, image_id=7)]
    path = file_of(tmp_path / "a.json", items)
    with pytest.raises(DataError, match=r"a\.json: annotation 10: image_id 7 is not in the list"):
        load_annotations(path, keep=keep)


def test_only_wanted_images_are_kept(tmp_path: Path) -> None:
    items = [annotation([rectangle(0, 0, 9, 9)], image_id=image_id) for image_id in (1, 2, 2)]
    path = file_of(tmp_path / "a.json", items, ids=(1, 2))
    assert set(load_annotations(path).regions) == {1, 2}
    kept = load_annotations(path, keep=frozenset({2})).regions
    assert {image_id: len(regions) for image_id, regions in kept.items()} == {2: 2}


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ([[1, 2, 3, 4, 5]], "list x0, y0"),
        ([[1, 2, 3, 4, 5, float("nan")]], "is not a number"),
        ([[float("inf"), 2, 3, 4, float("-inf"), 6]], "is not a number"),
        ([["a", 2, 3, 4, 5, 6]], "could not convert"),
        ({"size": [60, 80]}, "'counts' is missing"),
        ({"size": [60, 80], "counts": [4, 5]}, "do not add up"),
        ({"size": [60, 80], "counts": 7}, "must be text"),
        ("polygon", "must be a list"),
    ],
)
def test_malformed_segmentations_are_named(
    tmp_path: Path, segmentation: object, message: str
) -> None:
    path = file_of(tmp_path / "bad.json", [annotation(segmentation)])
    with pytest.raises(DataError, match=rf"bad\.json: annotation 9: .*{message}"):
        load_annotations(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ('{"images": [], "annotations": [{"id": 3, "image_id": 1, "categ', "not valid JSON"),
        ("[]", "holds no annotations"),
        ('{"images": []}', "list 'annotations' is missing"),
        ('{"images": [], "annotations": [{"id": 3}]}', "annotation 3 has no 'segmentation'"),
        ('{"images": [{"id": 4}], "annotations": []}', "image 4: 'width' must be"),
        (
            '{"images": [{"id": 4, "width": 1, "height": 1}, {"id": 4, "width": 1, "height": 1}],'
            ' "annotations": []}',
            "image 4 is listed twice",
        ),
        (
            '{"images": [], "annotations": [{"id": 3, "segmentation": [], "image_id": 1}]}',
            "annotation 3: 'category_id' is missing",
        ),
        (
            '{"images": [], "annotations": [{"id": 3, "segmentation": [], "image_id": [1],'
            ' "category_id": 2}]}',
            "annotation 3: image_id and category_id must be whole numbers",
        ),
        (
            '{"images": [], "annotations": [{"id": 3, "segmentation": [], "image_id": 1,'
            ' "category_id": 2, "bbox": null}]}',
            "annotation 3: area must be a number and bbox",
        ),
        (
            '{"images": [], "annotations": [{"id": 3, "image_id": 1, "category_id": 2,'
            ' "segmentation": [[1' + "0" * 400 + ", 1, 1, 1, 1, 1]]}]}",
            "annotation 3: int too large to convert to float",
        ),
        ('{"images": [{"id": "a\\nb"}], "annotations": []}', "image a b: 'id' must be"),
        ('{"images": [], "annotations": [{"id": "a\\n"}]}', "annotation a has no 'segm"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        load_annotations(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        load_annotations(tmp_path / "none.json")


def jobs_of(folder: Path, count: int) -> list[MaskJob]:
    folder.mkdir(exist_ok=True)
    jobs = []
    for number in range(count):
        regions = [
            Region(1283 - index, [np.array(part).tobytes() for part in polygons])
            for index, polygons in enumerate(random_polygons(number, 4))
        ]
        jobs.append(MaskJob(folder / f"{number:012d}.png", *SIZE, regions, "a.json"))
    return jobs


def test_masks_and_counts_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    totals = []
    for workers in (1, 2):
        pixels = np.zeros(1284, dtype=np.int64)
        images = np.zeros(1284, dtype=np.int64)
        for count in map_chunks(jobs_of(tmp_path / str(workers), 70), 65535, workers):
            pixels[count.ids] += count.pixels
            images[count.ids] += count.images
        totals.append((images.tolist(), pixels.tolist()))
    files = sorted(path.name for path in (tmp_path / "1").iterdir())
    assert len(files) == 70
    for name in files:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    masks = [np.asarray(Image.open(tmp_path / "1" / name)) for name in files]
    counted = np.bincount(np.concatenate(masks).ravel(), minlength=65536)[:1284]
    assert totals[0] == totals[1]
    assert totals[0][1] == counted.tolist()
    assert totals[0][0][1283] == sum(bool((mask == 1283).any()) for mask in masks)


def test_run_lengths_of_another_size_are_named(tmp_path: Path) -> None:
    packed = coco.encode(np.ones((5, 6), np.uint8, order="F"))["counts"]
    path = file_of(tmp_path / "a.json", [annotation({"size": [5, 6], "counts": packed.decode()})])
    with pytest.raises(DataError, match=r"a\.json: image 1: .* is of 6 x 5, .* of 80 x 60 pixels"):
        load_annotations(path)


@pytest.mark.parametrize(
    "runs",
    [
        RunLengths(5, 5, coco.encode(np.ones((5, 5), np.uint8, order="F"))["counts"]),
        RunLengths(*SIZE, b"damaged"),
    ],
)
def test_run_lengths_that_do_not_fit_name_file_and_image(tmp_path: Path, runs: RunLengths) -> None:
    job = MaskJob(tmp_path / "000000000077.png", *SIZE, [Region(1, runs)], "a.json")
    with pytest.raises(DataError, match=r"a\.json: image 000000000077: .* does not fit 80 x 60"):
        make_masks([job], 65535)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "images"),
    [("lvis/annotations/lvis_v1_val.json", 20), ("cocostuff/json_examples/stuff_examples.json", 2)],
)
def test_real_annotations_agree_with_pycocotools(
    realdata: Path, name: str, images: int, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = load_annotations(realdata / name)
    oracle = COCO(str(realdata / name))
    capsys.readouterr()
    assert any(loaded.regions.get(entry["id"]) for entry in loaded.images[:images])
    for entry in loaded.images[:images]:
        regions = loaded.regions.get(entry["id"], [])
        painted = paint(reversed(regions), entry["height"], entry["width"], fill=0)
        expected = np.zeros((entry["height"], entry["width"]), dtype=np.int64)
        for item in oracle.loadAnns(oracle.getAnnIds(imgIds=entry["id"])):
            inside = (oracle.annToMask(item) == 1) & (expected == 0)  # the first wins
            expected[inside] = item["category_id"]
        assert (painted == expected).all()
