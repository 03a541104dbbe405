"""Whole datasets from a server on this machine, from the archives that twins are packed into."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from workbench.datasets import DATASETS, download, open_dataset
from workbench.datasets.archives import INSTEAD, SOURCES, Archive, Source
from workbench.datasets.download import FOLDER, NOTE, download_dataset
from workbench.datasets.twins import write_twin
from workbench.errors import ConfigError, DataError
from workbench.runs.lock import acquire, release

if TYPE_CHECKING:
    from conftest import Shop


VOC = "VOCtrainval_11-May-2012.tar"


@pytest.fixture
def voc(shop: Shop, tmp_path: Path) -> Shop:
    twin = write_twin("voc", tmp_path / "twin", images=3)
    (twin / "VOCdevkit" / "noise.bin").write_bytes(os.urandom(600_000))
    shop.offer("voc", {VOC: shop.pack(tmp_path / VOC, twin, "VOCdevkit")})
    return shop


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "Straßenbilder 图像"


def message(key: str, root: Path) -> str:
    with pytest.raises(DataError) as caught:
        download_dataset(key, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_table_is_sound() -> None:
    assert set(SOURCES) | set(INSTEAD) == set(DATASETS)
    assert not set(SOURCES) & set(INSTEAD)
    facts: dict[str, Archive] = {}
    for key, source in SOURCES.items():
        for archive in source.archives:
            assert facts.setdefault(archive.name, archive) == archive
            assert archive.unpacked > archive.size or archive.name == "val2017.zip"
            assert archive.content
            if key == "cityscapes":
                assert not archive.url
                continue
            assert re.fullmatch(r"https?://[a-z.-]+(/[\w.-]+)+", archive.url)
            assert archive.url.endswith(f"/{archive.name}")
            if archive.hash is not None:
                algorithm, digest = archive.hash.split(":")
                length = hashlib.new(algorithm, b"").digest_size * 2
                assert re.fullmatch(f"[0-9a-f]{{{length}}}", digest)


def test_voc_from_nothing_to_training_data(
    voc: Shop, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = download_dataset("voc", root)
    assert "SegmentationClassAug" in report.pop("hint")
    assert report == {
        "dataset": "voc",
        "root": str(root),
        "result": "complete",
        "downloaded": [VOC],
        "unpacked": [VOC],
        "next": f"workbench data check voc '{root}'",
    }
    assert len(open_dataset("voc", root, "train")) == 2
    assert (
        "voc: 0.0 GB to download; archives and files need up to 0.0 GB of disk"
        in capsys.readouterr().err
    )
    assert sorted(os.listdir(root)) == ["VOCdevkit", NOTE]  # the archive is gone
    note = json.loads((root / NOTE).read_text())["archives"][VOC]
    fact = SOURCES["voc"].archives[0]
    assert note == {"size": fact.size, "hash": fact.hash, "files": [6, 5, 3], "kept": False}

    again = download_dataset("voc", root)
    assert again["result"] == "nothing to do, everything is there"
    inside = download_dataset("voc", root / "VOCdevkit" / "VOC2012")
    assert again["downloaded"] == again["unpacked"] == inside["downloaded"] == []
    assert len(voc.server.asked) == 1


def test_what_was_deleted_is_fetched_again(voc: Shop, root: Path) -> None:
    download_dataset("voc", root)
    (root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_000001.png").unlink()
    assert download_dataset("voc", root)["downloaded"] == [VOC]
    assert len(open_dataset("voc", root, "train")) == 2
    assert len(voc.server.asked) == 2


def test_ade20k_keeps_its_archive(shop: Shop, root: Path, tmp_path: Path) -> None:
    name = "ADEChallengeData2016.zip"
    twin = write_twin("ade20k", tmp_path / "twin", images=2)
    shop.offer(
        "ade20k", {name: shop.pack(tmp_path / name, twin, "ADEChallengeData2016")}, hashed=False
    )
    inside = root / "ADEChallengeData2016"  # the dataset's own folder is a root, too
    download_dataset("ade20k", inside, keep_archives=True)
    assert len(open_dataset("ade20k", inside, "val")) == 2
    kept = root / FOLDER / name
    assert kept.read_bytes() == (tmp_path / name).read_bytes()
    note = json.loads((root / NOTE).read_text())["archives"][name]
    assert note["hash"] == f"sha256:{hashlib.sha256(kept.read_bytes()).hexdigest()}"
    shutil.rmtree(inside)
    report = download_dataset("ade20k", root)  # from the archive that was kept
    assert (report["downloaded"], report["unpacked"]) == ([], [name])
    assert not kept.exists()
    assert len(shop.server.asked) == 1


def coco_archives(shop: Shop, tmp_path: Path) -> dict[str, Path]:
    """The files of both COCO sets with one photo each, packed as they are published."""
    top = tmp_path / "coco"
    for name in (
        *("train2017/1.jpg", "val2017/2.jpg", "lvis_v1_train.json", "lvis_v1_val.json"),
        *("annotations/stuff_train2017.json", "annotations/stuff_val2017.json"),
        *("annotations/panoptic_train2017.json", "annotations/panoptic_val2017.json"),
        *("nested/panoptic_train2017/1.png", "nested/panoptic_val2017/2.png"),
        "nested/__MACOSX/panoptic_val2017/._2.png",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    for split in ("train", "val"):
        inner = top / "annotations" / f"panoptic_{split}2017.zip"
        shop.pack(inner, top / "nested", f"panoptic_{split}2017", "__MACOSX")
    contents = {
        "train2017.zip": ["train2017"],
        "val2017.zip": ["val2017"],
        "lvis_v1_train.json.zip": ["lvis_v1_train.json"],
        "lvis_v1_val.json.zip": ["lvis_v1_val.json"],
        "stuff_annotations_trainval2017.zip": [
            f"annotations/stuff_{split}2017.json" for split in ("train", "val")
        ],
        "panoptic_annotations_trainval2017.zip": [
            f"annotations/panoptic_{split}2017.{suffix}"
            for split in ("train", "val")
            for suffix in ("json", "zip")
        ],
    }
    return {name: shop.pack(tmp_path / name, top, *tops) for name, tops in contents.items()}


def test_sets_in_one_root_share_archives(shop: Shop, root: Path, tmp_path: Path) -> None:
    archives = coco_archives(shop, tmp_path)
    shop.offer("coco-panoptic", archives)
    shop.offer("lvis-coco", archives)
    report = download_dataset("coco-panoptic", root)
    assert report["next"] == f"workbench data check coco-panoptic '{root}'"
    report = download_dataset("lvis-coco", root)
    assert report["next"] == f"workbench prepare lvis-coco '{root}'"
    assert "train2017.zip" not in report["downloaded"]
    asked = [name for name, _ in shop.server.asked]
    assert sorted(asked) == sorted(archives)  # each once
    files = sorted(f.relative_to(root).as_posix() for f in root.rglob("*") if f.is_file())
    assert files == [
        *(f"annotations/panoptic_{part}" for part in ("train2017.json", "train2017/1.png")),
        *(f"annotations/panoptic_{part}" for part in ("val2017.json", "val2017/2.png")),
        *("annotations/stuff_train2017.json", "annotations/stuff_val2017.json"),
        *(NOTE, "lvis_v1_train.json", "lvis_v1_val.json", "train2017/1.jpg", "val2017/2.jpg"),
    ]


def test_photos_from_elsewhere_are_not_fetched(shop: Shop, root: Path, tmp_path: Path) -> None:
    shop.offer("lvis-coco", coco_archives(shop, tmp_path))
    facts = [
        fact._replace(content=tuple(c._replace(files=1) for c in fact.content))
        for fact in SOURCES["lvis-coco"].archives
    ]
    shop.patch.setitem(SOURCES, "lvis-coco", Source(tuple(facts)))
    (root / "images" / "train2017").mkdir(parents=True)
    (root / "images" / "train2017" / "1.jpg").write_bytes(b"")
    (root / "annotations").mkdir()
    (root / "annotations" / "lvis_v1_val.json").write_text("{}")
    report = download_dataset("lvis-coco", root)
    assert set(report["downloaded"]) == {
        *("lvis_v1_train.json.zip", "stuff_annotations_trainval2017.zip", "val2017.zip")
    }


def test_a_wrong_hash(voc: Shop, root: Path) -> None:
    right = voc.server.files[VOC].data
    voc.server.files[VOC].data = wrong = right[:-1] + b"!"
    text = message("voc", root)
    assert hashlib.md5(wrong).hexdigest() in text and hashlib.md5(right).hexdigest() in text
    assert not root.exists() or os.listdir(root) == []
    voc.server.files[VOC].data = right
    assert download_dataset("voc", root)["downloaded"] == [VOC]


def test_a_damaged_archive_without_a_hash(shop: Shop, root: Path, tmp_path: Path) -> None:
    twin = write_twin("voc", tmp_path / "twin", images=2)
    shop.offer("voc", {VOC: shop.pack(tmp_path / VOC, twin, "VOCdevkit")}, hashed=False)
    right = shop.server.files[VOC].data
    shop.server.files[VOC].data = right[:20_000]
    assert "is damaged or cut short" in message("voc", root)
    assert os.listdir(root) == [NOTE]
    shop.server.files[VOC].data = right
    assert download_dataset("voc", root)["downloaded"] == [VOC]


def test_an_archive_of_something_else(voc: Shop, root: Path, tmp_path: Path) -> None:
    (tmp_path / "else.txt").write_text("else")
    voc.offer("voc", {VOC: voc.pack(tmp_path / "else.tar", tmp_path, "else.txt")})
    assert "the archive does not hold VOCdevkit/VOC2012/JPEGImages/*.jpg" in message("voc", root)


def test_an_archive_that_was_put_there(voc: Shop, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    mine = root / VOC
    mine.write_bytes((tmp_path / VOC).read_bytes()[:-5])
    text = message("voc", root)
    assert f"{VOC}: is not the published archive, or not all of it: expected md5:" in text
    mine.write_bytes((tmp_path / VOC).read_bytes())
    report = download_dataset("voc", root)
    assert (report["downloaded"], report["unpacked"]) == ([], [VOC])
    assert mine.is_file()  # the user's own is not deleted
    assert voc.server.asked == []


def test_cityscapes_is_unpacked_from_what_the_user_got(
    shop: Shop, root: Path, tmp_path: Path
) -> None:
    twin = write_twin("cityscapes", tmp_path / "twin", images=2)
    names = {"leftImg8bit": "leftImg8bit_trainvaltest.zip", "gtFine": "gtFine_trainvaltest.zip"}
    text = message("cityscapes", root)
    assert "leftImg8bit_trainvaltest.zip (11.6 GB) and gtFine_trainvaltest.zip (0.3 GB)" in text
    assert "(found: none); register at https://www.cityscapes-dataset.com, download what" in text
    shop.offer(
        "cityscapes",
        {name: shop.pack(tmp_path / name, twin, top) for top, name in names.items()},
        hashed=False,
    )
    shutil.copy(tmp_path / names["gtFine"], root)
    text = message("cityscapes", root)
    assert "leftImg8bit_trainvaltest.zip (0.0 GB) (found: gtFine_trainvaltest.zip)" in text
    assert (root / "gtFine").is_dir()
    shutil.copy(tmp_path / names["leftImg8bit"], root)
    assert download_dataset("cityscapes", root)["unpacked"] == [names["leftImg8bit"]]
    assert len(open_dataset("cityscapes", root, "val")) == 2
    assert shop.server.asked == []


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("shapeworld", "workbench sample shapeworld"),
        ("folder", "workbench data check folder"),
        ("imagenet", "no dataset is called 'imagenet'; known: ade20k"),
    ],
)
def test_keys_without_a_download(key: str, text: str, root: Path) -> None:
    with pytest.raises(ConfigError, match=text):
        download_dataset(key, root)
    assert not root.exists()


def test_the_disk_must_have_room(voc: Shop, root: Path) -> None:
    class Usage(NamedTuple):
        free: int

    fact = SOURCES["voc"].archives[0]
    voc.patch.setattr(download.shutil, "disk_usage", lambda path: Usage(fact.unpacked + fact.size))
    download_dataset("voc", root)
    shutil.rmtree(root)
    voc.patch.setattr(
        download.shutil, "disk_usage", lambda path: Usage(fact.unpacked + fact.size - 1)
    )
    assert "voc needs 0.0 GB for archives and files, but only 0.0 GB are free" in message(
        "voc", root
    )
    assert len(voc.server.asked) == 1


def test_places_that_cannot_be_used(voc: Shop, root: Path) -> None:
    (root / FOLDER).mkdir(parents=True)
    lock = acquire(root / FOLDER)
    assert f"is being written by another process (pid {os.getpid()}); wait" in message("voc", root)
    release(lock)

    (root / NOTE).write_text('{"archives": 1}')
    assert f"{NOTE}: cannot be read; delete it" in message("voc", root)
    (root / NOTE).unlink()

    def read_only(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system")

    voc.patch.setattr(download.Path, "mkdir", read_only)
    assert "downloads: cannot be made (Read-only file system)" in message("voc", root)


# Runs a download in a process that dies, as by the out-of-memory killer, at the third piece.
DYING = """
import json, os, signal, sys
from workbench.datasets import archives, download, fetch, unpack

class Dying:
    def __init__(self, items, **options):
        self.items, self.count = items, 0
    def __enter__(self):
        return self
    def __exit__(self, *error):
        pass
    def update(self, size):
        self.count += 1
        if self.count == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    def __iter__(self):
        for item in self.items:
            self.update(1)
            yield item

where, root, facts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.modules[f"workbench.datasets.{where}"].progress = Dying
content = tuple(archives.Content(files, tuple(places)) for files, places in facts.pop("content"))
archive = archives.Archive(**facts, content=content)
archives.SOURCES["voc"] = archives.SOURCES["voc"]._replace(archives=(archive,))
download.download_dataset("voc", root)
"""


def die(where: str, root: Path) -> None:
    facts = SOURCES["voc"].archives[0]._asdict()
    done = subprocess.run(
        [sys.executable, "-c", DYING, where, str(root), json.dumps(facts)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_killed_twice_and_still_complete(voc: Shop, root: Path) -> None:
    die("fetch", root)
    part = root / FOLDER / f"{VOC}.part"
    assert part.stat().st_size == 3 << 16
    die("unpack", root)
    assert voc.server.asked == [(VOC, ""), (VOC, f"bytes={3 << 16}-")]
    assert list(root.glob(".tmp-unpack-*/VOCdevkit"))
    assert not (root / "VOCdevkit").exists()  # nothing half-unpacked in sight
    report = download_dataset("voc", root)
    assert (report["downloaded"], report["unpacked"]) == ([], [VOC])
    assert len(voc.server.asked) == 2
    assert sorted(os.listdir(root)) == ["VOCdevkit", NOTE]
    assert len(open_dataset("voc", root, "train")) == 2


def test_killed_before_the_archive_was_deleted(voc: Shop, root: Path) -> None:
    download_dataset("voc", root)
    (root / FOLDER).mkdir()
    (root / FOLDER / VOC).write_bytes(b"used")
    download_dataset("voc", root)
    assert not (root / FOLDER).exists()


def test_the_command(voc: Shop, root: Path, cli: Callable[..., Any]) -> None:
    done = cli("data", "download", "voc", root, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["unpacked"] == [VOC]
    assert voc.server.asked == [(VOC, "")]
    done = cli("data", "download", "shapeworld", root)
    assert done.returncode == 2
    assert "shapeworld is generated" in done.stderr
