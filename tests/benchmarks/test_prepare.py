from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.benchmarks.prepare import paint_full_size
from workbench.benchmarks.prepare_data import write_root
from workbench.benchmarks.process_tree import ProcessTree
from workbench.datasets.annotations import Region, load_annotations, paint
from workbench.datasets.lvis_coco import prepare
from workbench.vocabulary import load_table

MIB = 2**20
# pycocotools' decode, which the reference's way needs, warns under numpy 2 with each call.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.usefixtures("forked_workers"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated") / "root"
    write_root(folder, 300, 12.7, stuff=True)
    return folder


def things(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "lvis_v1_train.json").read_text())
    return content


def test_generated_annotations_are_of_the_official_form(root: Path, realdata: Path) -> None:
    official = json.loads((realdata / "lvis/annotations/lvis_v1_val.json").read_text())
    generated = things(root)
    assert generated.keys() == official.keys()
    for key in ("images", "annotations"):
        assert generated[key][0].keys() == official[key][0].keys()
    assert {"id", "name"} <= generated["categories"][0].keys()


def test_generated_annotations_have_the_sizes_of_lvis(root: Path) -> None:
    content = things(root)
    assert len(content["images"]) == len({image["id"] for image in content["images"]}) == 300
    assert len(list((root / "train2017").iterdir())) == 300
    # The real file: 1.1 GB, 100,170 images, 1.27 million annotations.
    count = len(content["annotations"])
    assert count / 300 == pytest.approx(12.7, rel=0.2)
    size = (root / "lvis_v1_train.json").stat().st_size
    assert size / count == pytest.approx(1.1e9 / 1.27e6, rel=0.1)
    areas = np.sqrt([item["area"] for item in content["annotations"]])
    assert 20 < np.median(areas) < 33
    assert np.percentile(areas, 95) > 110
    per_image = Counter(item["image_id"] for item in content["annotations"])
    assert max(per_image.values()) > 40
    assert {item["category_id"] for item in content["annotations"]} <= set(range(1, 1204))
    numbers = [
        x for item in content["annotations"][:200] for part in item["segmentation"] for x in part
    ]
    assert all(x == round(x, 2) for x in numbers)
    assert all(len(image["neg_category_ids"]) == 9 for image in content["images"])


def test_stuff_covers_every_picture(root: Path, tmp_path: Path) -> None:
    content = json.loads((root / "annotations/stuff_train2017.json").read_text())
    per_image: dict[int, list[int]] = {}
    for item in content["annotations"]:
        per_image.setdefault(item["image_id"], []).append(item["category_id"])
    assert len(per_image) == 300
    table = load_table("lvis-coco")
    known = set(table.loc[table["source"] == "stuff", "raw_id"])
    assert all(set(raw) <= known and len(set(raw)) == 7 for raw in per_image.values())
    regions = load_annotations(root / "annotations/stuff_train2017.json").regions
    for image_id in list(regions)[:5]:
        covered = [Region(1, region.segmentation) for region in regions[image_id]]
        assert (paint(covered, 480, 640, fill=0) == 1).all()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        written = write_root(tmp_path / name, 20, 5, seed=seed)
        data = (tmp_path / name / "lvis_v1_train.json").read_bytes()
        assert (written.json_bytes, written.stuff_annotations) == (len(data), 0)
        assert written.annotations == len(things(tmp_path / name)["annotations"])
        digests.append(hashlib.sha256(data).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_generated_roots_can_be_prepared(tmp_path: Path) -> None:
    write_root(tmp_path / "root", 10, 12.7, stuff=True)
    report = prepare(tmp_path / "root", workers=1)
    assert (report.images, report.missing_images, report.classes) == (10, 0, 1284)


def test_the_reference_paints_what_we_paint(root: Path) -> None:
    for name in ("lvis_v1_train.json", "annotations/stuff_train2017.json"):
        for regions in list(load_annotations(root / name).regions.values())[:5]:
            shifted = [Region(r.class_id + 300, r.segmentation) for r in regions]
            expected = paint(shifted, 480, 640, fill=65535)
            assert (paint_full_size(shifted, 480, 640, fill=65535) == expected).all()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_of_a_tree_is_that_of_its_members() -> None:
    parent = (
        "import subprocess, sys, time; data = b'x' * (60 * 2**20);"
        "subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"
    )
    child = (
        "import time; data = b'x' * (40 * 2**20); end = time.process_time() + 0.3\n"
        "while time.process_time() < end: pass\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, child], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        tree = ProcessTree(process.pid)
        tree.sample()
        assert 60 * MIB < tree.main_peak_bytes < 90 * MIB
        assert 100 * MIB < tree.peak_bytes < 160 * MIB
        assert tree.main_cpu_seconds < tree.cpu_seconds
        assert tree.cpu_seconds >= 0.29
        assert tree.running() == 2
    finally:
        for pid in [*children(process.pid), process.pid]:
            os.kill(pid, 9)
        process.communicate()
    end = time.monotonic() + 20
    while tree.running() and time.monotonic() < end:
        time.sleep(0.01)
    before = tree.cpu_seconds
    tree.sample()
    assert (tree.running(), tree.cpu_seconds) == (0, before)  # what it was, not 0


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_rows_of_a_small_run(cli: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    command = ("bench", "prepare", "--images", 150, "--workers", 2, "--stuff", "--json", file)
    done = cli(*command)
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads(file.read_text())}
    assert list(rows) == ["load", "until the kill", "resumed", "reference"]
    for row in rows.values():
        assert row["bench"] == "prepare"
        assert row["data"]["images"] == 150
        assert row["data"]["stuff_annotations"] == 150 * 7
        assert row["machine"]["cpu_count"] >= 1 and row["machine"]["load"] >= 0
    killed, resumed = rows["until the kill"], rows["resumed"]
    assert 75 <= killed["whole_masks"] == killed["new_masks"] <= 150
    assert killed["reused_masks"] is None
    assert killed["left_running"] == resumed["left_running"] == 0
    assert resumed["reused_masks"] == killed["whole_masks"]
    assert resumed["new_masks"] == 150 - killed["whole_masks"]
    assert resumed["whole_masks"] == 150
    for row in (killed, resumed):
        # Without torch, and three processes together take more than one.
        assert 50 * MIB < row["main_peak_bytes"] < 400 * MIB
        assert row["main_peak_bytes"] < row["peak_bytes"] < 1000 * MIB
    reference = rows["reference"]
    assert reference["same_pixels"] is True
    assert reference["times_reference"] > 1
    assert reference["paint_times_reference"] > reference["times_reference"]
    assert rows["load"]["json_bytes"] < rows["load"]["data"]["json_bytes"]
    assert "reused_masks" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--images", 1), "--images"),
        (("--annotations-per-image", "nan"), "--annotations-per-image"),
        (("--annotations-per-image", 0.5), "--annotations-per-image"),
    ],
)
def test_errors_are_one_line(cli: Any, arguments: tuple[object, ...], words: str) -> None:
    done = cli("bench", "prepare", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
    assert words in done.stderr
