"""`workbench predict` as typed: what is found and what is written."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.predicting import draw, made, pixels_of, told
from helpers.runs import random_run
from PIL import Image
from torch.nn.functional import interpolate, normalize

from workbench.inference import load_model, predict_labels
from workbench.inference.manifest import SEGMENTS
from workbench.runs import RunDirectory

Cli = Callable[..., Any]
CLASSES = 300


# What is found


def test_folders_are_mirrored_and_masks_are_the_model_s_own(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "masks"
    values = told(cli("predict", run.path, photos, "--out", out, "--json"))
    assert made(values, out) == ["a.png", "b.png", "sub/a.png"]
    assert values["failed"] == [] and values["skipped"] == 0
    model, _ = load_model(run)
    seen = set()
    for name, mask in (("a.png", "a.png"), ("sub/a.png", "sub/a.png")):
        batch = torch.from_numpy(pixels_of(photos / name).copy()).permute(2, 0, 1)[None]
        labels = predict_labels(model, batch)[0].numpy()
        found = pixels_of(out / mask)
        assert found.dtype == np.uint16
        assert (found == labels).mean() > 0.999
        seen |= set(np.unique(found).tolist())
    assert max(seen) > 255 and values["classes"] >= len(seen)


def test_patterns_lists_and_folders_together(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = draw(tmp_path / "elsewhere" / "odd[1].png")
    lines = f"{photos / 'b.JPG'}\n\n  \n{tmp_path / 'absent.png'}\r\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    out = tmp_path / "out"
    done = cli("predict", run.path, f"{photos}/**/*.png", one, "-", "--out", out, "--json")
    values = told(done, 1)
    assert made(values, out) == ["a.png", "sub/a.png", "odd[1].png", "b.png"]
    assert values["failed"] == [f"{tmp_path / 'absent.png'}: no such picture"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.png"], "nowhere.png: no such picture or folder"),
        (["photos/*.bmp"], "photos/*.bmp: no picture there"),
        (["empty"], "empty: no picture there"),
        (["-"], "the list on standard input names no picture"),
        (["photos", "other/a.png"], "photos/a.png and other/a.png: both would be called 'a'"),
        (["photos", "--tile", "100"], "tile: a multiple of 32"),
        (["photos", "--scales", "x"], "--scales: numbers with commas"),
        (["photos", "--top-k", "301"], "--top-k: 0 to 300 classes, not 301"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_is_made(
    cli: Cli,
    run: RunDirectory,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n \n")))
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "other" / "a.png")
    done = cli("predict", run.path, *words, "--out", "out")
    assert done.returncode == 2 and said in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "out").exists()


def test_results_within_the_pictures_folder_are_no_pictures(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    inside = photos / "masks"
    for _ in range(2):
        values = told(cli("predict", run.path, photos, "--out", inside, "--overlay", "--json"))
        assert made(values, inside) == ["a.png", "b.png", "sub/a.png"]
    for name in ("x.jpg", "y.jpg"):
        draw(tmp_path / "beside" / name)
    beside = tmp_path / "beside"
    for skipped in (0, 2):  # masks and overlays beside their pictures
        values = told(cli("predict", run.path, beside, "--out", beside, "--overlay", "--json"))
        assert made(values, beside) == ["x.png", "y.png"] and values["skipped"] == skipped


def test_no_result_takes_the_place_of_anything_else(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    thesis = tmp_path / "out" / "sub" / "a.overlay.jpg"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("mine")
    for flags in ((), ("--replace",)):
        done = cli("predict", run.path, photos, "--out", tmp_path / "out", *flags)
        assert done.returncode == 2 and f"{thesis}: is there already" in done.stderr
        assert thesis.read_text() == "mine" and len(list((tmp_path / "out").iterdir())) == 1
    before = (photos / "a.png").read_bytes()
    done = cli("predict", run.path, photos, "--out", photos)
    assert done.returncode == 2 and "would replace the picture" in done.stderr
    assert (photos / "a.png").read_bytes() == before


def test_no_result_leaves_the_folder(
    cli: Cli, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in/a/x.png", "in/b/y.png", "secret/z.png"):
        draw(tmp_path / name)
    for name in ("..png", "...png"):
        (tmp_path / "in" / name).write_bytes((tmp_path / "secret" / "z.png").read_bytes())
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    for word in ("in/*/../../secret/*.png", "in/..png", "in/...png", "in/.*.png"):
        done = cli("predict", run.path, word, "--out", "out/deep/below")
        assert done.returncode == 2 and "and not lie below --out" in done.stderr, word
        assert sorted(tmp_path.rglob("*")) == before
    out = tmp_path / "out"
    for word, names in (
        ("in/*/../b/*.png", ["b/y.png"]),  # down and up again, but not out
        ("in/../secret/*.png", ["z.png"]),
        ("in/a/../../in/*/*.png", ["a/x.png", "b/y.png"]),
    ):
        values = told(cli("predict", run.path, word, "--out", out, "--replace", "--json"))
        assert made(values, out) == names
        assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == names


def test_names_that_are_no_text(cli: Cli, run: RunDirectory, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \xf0\x9f\x98\x80\n.png")
    try:
        draw(tmp_path / "photos" / name)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes text alone")
    out = tmp_path / "out"
    for skipped in (0, 1):
        done = cli("predict", run.path, tmp_path / "photos", "--out", out, "--rle", "--json")
        assert told(done)["skipped"] == skipped
    assert (out / name).is_file()
    (image,) = json.loads((out / SEGMENTS).read_text("utf-8"))["images"]
    assert image["file_name"] == "caf\\udce9 \U0001f600\n.png"


# What is written


# pycocotools' own arrays do not know numpy's newest keyword.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_segments_are_what_pycocotools_opens(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO

    out = tmp_path / "out"
    flags = ("--rle", "--top-k", CLASSES, "--json")
    values = told(cli("predict", run.path, photos, "--out", out, *flags))
    coco = COCO(values["segments"])
    assert len(coco.cats) == CLASSES and coco.cats[299]["name"] == "class 299"
    assert {image["file_name"]: id_ for id_, image in coco.imgs.items()} == {
        "a.png": 1,
        "b.JPG": 2,
        "sub/a.png": 3,
    }
    listed = json.loads(Path(values["segments"]).read_text("utf-8"))["annotations"]
    again = coco.loadRes(listed)
    assert len(again.anns) == len(listed) == len(coco.anns) > 3
    for number, stem in ((1, "a"), (2, "b"), (3, "sub/a")):
        mask = pixels_of(out / f"{stem}.png")
        with np.load(out / f"{stem}.topk.npz") as top:
            ids, shares = top["ids"], top["probabilities"].astype(float)
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=number))
        assert [one["category_id"] for one in annotations] == np.unique(mask).tolist()
        for one in annotations:
            where = mask == one["category_id"]
            for form in (coco, again):
                assert (form.annToMask(one).astype(bool) == where).all()
            rows, columns = np.nonzero(where)
            assert one["area"] == where.sum() and one["iscrowd"] == 0
            left, top_, width, height = one["bbox"]
            assert (left, left + width - 1) == (columns.min(), columns.max())
            assert (top_, top_ + height - 1) == (rows.min(), rows.max())
            share = shares[ids == one["category_id"]].reshape(mask.shape)[where].mean()
            assert one["score"] == pytest.approx(share, abs=2e-3)


def test_likely_classes_add_up(cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told(cli("predict", run.path, photos / "a.png", "--out", out, "--top-k", CLASSES, "--json"))
    few = tmp_path / "few"
    told(cli("predict", run.path, photos / "a.png", "--out", few, "--top-k", 3, "--json"))
    with (
        np.load(out / "a.topk.npz", allow_pickle=False) as top,
        np.load(few / "a.topk.npz", allow_pickle=False) as best,
    ):
        ids, shares = top["ids"], top["probabilities"]
        assert ids.shape == shares.shape == (24, 40, CLASSES)
        assert ids.dtype == np.uint16 and shares.dtype == np.float16
        assert (np.sort(ids, axis=2) == np.arange(CLASSES)).all()
        assert (np.diff(shares.astype(float), axis=2) <= 0).all()
        assert np.abs(shares.astype(float).sum(axis=2) - 1).max() < 0.02
        assert best["ids"].shape == (24, 40, 3)
        assert (best["probabilities"] == shares[..., :3]).all()
    assert (ids[..., 0] == pixels_of(out / "a.png")).all()


def test_an_overlay_is_half_the_picture_and_half_its_classes(
    cli: Cli, run: RunDirectory, tmp_path: Path
) -> None:
    picture = tmp_path / "flat.png"
    Image.new("RGB", (48, 32), (10, 200, 90)).save(picture)
    out = tmp_path / "out"
    told(cli("predict", run.path, picture, "--out", out, "--overlay", "--json"))
    colors = run.vocabulary().colors[pixels_of(out / "flat.png")]
    wanted = (colors.astype(float) + np.array([10, 200, 90])) / 2
    assert np.abs(pixels_of(out / "flat.overlay.jpg") - wanted).mean() < 6


def test_a_longer_picture_than_jpeg_takes(cli: Cli, run: RunDirectory, tmp_path: Path) -> None:
    Image.new("RGB", (70_000, 2), (10, 200, 90)).save(tmp_path / "long.png")
    out = tmp_path / "out"
    flags = ("--overlay", "--rle", "--json")
    told(cli("predict", run.path, tmp_path / "long.png", "--out", out, *flags))
    assert pixels_of(out / "long.png").shape == (2, 70_000)
    assert pixels_of(out / "long.overlay.png").shape == (2, 70_000, 3)


def test_tiles_scales_and_mirrors(cli: Cli, run: RunDirectory, tmp_path: Path) -> None:
    smooth = Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8))
    smooth.resize((270, 180), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    masks = {}
    for name, flags in {
        "whole": (),
        "tiles": ("--tile", 96, "--overlap", 48),
        "views": ("--scales", "0.5,1", "--flip"),
        "one": ("--scales", "1"),
    }.items():
        out = tmp_path / name
        told(cli("predict", run.path, tmp_path / "a.png", "--out", out, *flags, "--json"))
        masks[name] = pixels_of(out / "a.png")
    assert (masks["one"] == masks["whole"]).all()
    assert (masks["tiles"] == masks["whole"]).mean() > 0.7
    # The mean of unit vectors of all four looks, by hand.
    model = load_model(run)[0]
    batch = torch.from_numpy(pixels_of(tmp_path / "a.png").copy()).permute(2, 0, 1)[None].float()
    total = torch.zeros(1, 6, 180 // 4, -(-270 // 4))
    for size in ((180, 270), (90, 135)):
        seen = interpolate(batch, size, mode="bilinear", antialias=True)
        for flip in (False, True):
            with torch.no_grad():
                looked = normalize(model(seen.flip(-1) if flip else seen).pixels)
            looked = looked.flip(-1) if flip else looked
            total += interpolate(looked, total.shape[-2:], mode="bilinear")
    full = normalize(interpolate(total, (180, 270), mode="bilinear"))[0].flatten(1)
    assert model.table is not None
    nearest = (normalize(model.table.weight.detach()) @ full).argmax(dim=0).reshape(180, 270)
    assert (masks["views"] == nearest.numpy()).mean() > 0.999
    assert (masks["views"] != masks["whole"]).any()


def test_more_classes_than_16_bits_hold(cli: Cli, tmp_path: Path) -> None:
    run = random_run(tmp_path / "many", classes=65_600)
    out = tmp_path / "out"
    flags = ("--top-k", 2, "--json")
    values = told(
        cli("predict", run.path, draw(tmp_path / "a.png", size=(16, 16)), "--out", out, *flags)
    )
    labels = pixels_of(Path(values["masks"][0])).astype(np.int64)
    with np.load(out / "a.topk.npz") as top:
        assert top["ids"].dtype == np.int32
        assert (top["ids"][..., 0] == labels).all()


def test_a_shared_model_and_a_dense_one(
    cli: Cli, run: RunDirectory, photos: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    assert cli("save-pretrained", run.path, shared).returncode == 0
    dense = random_run(tmp_path / "dense", loss="dense")
    for name, source in {"run": run.path, "shared": shared, "dense": dense.path}.items():
        flags = ("--rle", "--json")
        told(cli("predict", source, photos / "a.png", "--out", tmp_path / name, *flags))
    masks = {name: pixels_of(tmp_path / name / "a.png") for name in ("run", "shared", "dense")}
    assert (masks["run"] == masks["shared"]).all()
    assert not np.array_equal(masks["run"], masks["dense"])
    done = cli("predict", "nobody/nothing", photos / "a.png", "--out", tmp_path / "no")
    assert done.returncode == 2 and "nobody/nothing is no folder here" in done.stderr


def test_a_device_that_is_not_there(cli: Cli, run: RunDirectory, photos: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = cli("predict", run.path, photos, "--out", photos / "out", "--device", "cuda")
    assert done.returncode == 2 and "--device: torch finds no CUDA device" in done.stderr
