"""A folder of pictures as people have them: turned, grey, clear, deep, printed, torn, huge.

What is compared is always the labels of the same content in two files, or pixels with numbers
made without the reader.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.odd_pictures import png16, tiff16
from PIL import Image

from workbench.datasets.images import MAX_PIXELS, read_image
from workbench.datasets.pictures import read_picture
from workbench.errors import DataError
from workbench.runs import RunDirectory

Cli = Callable[..., Any]
HEIGHT, WIDTH = 24, 40
ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def colors() -> np.ndarray:
    """(H, W, 3) uint8: a picture of blocks, so that JPEG leaves it nearly as it is."""
    blocks = np.random.default_rng(3).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=0).repeat(8, axis=1)


def predicted(cli: Cli, run: RunDirectory, out: Path, *pictures: Path) -> dict[str, np.ndarray]:
    done = cli("predict", run.path, *pictures, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    masks = {}
    for path in json.loads(done.stdout)["masks"]:
        with Image.open(path) as mask:
            assert mask.mode == "I;16"
            masks[Path(path).stem] = np.asarray(mask)
    return masks


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels that a viewer turns into `upright`, by EXIF's definition of where row 0 and
    column 0 lie."""
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: upright[:, ::-1].swapaxes(0, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: upright[::-1].swapaxes(0, 1),
    }[orientation]
    return np.ascontiguousarray(turned)


def save_turned(path: Path, upright: np.ndarray, orientation: int, **options: Any) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(stored(upright, orientation)).save(path, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_read_upright(
    tmp_path: Path, colors: np.ndarray, orientation: int
) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "a.png": {},
        "b.webp": {"lossless": True},
        "c.tiff": {},
        "d.tiff": {"compression": "tiff_deflate"},  # another way through Pillow
    }
    for name, options in kinds.items():
        save_turned(tmp_path / name, colors, orientation, **options)
        assert (np.asarray(read_picture(tmp_path / name)) == colors).all(), name
    if orientation > 1:  # a dataset's pictures stay in the grid that annotations refer to
        kept = np.asarray(read_image(tmp_path / "a.png"))
        assert (kept == stored(colors, orientation)).all() and not np.array_equal(kept, colors)


def test_the_mask_of_a_turned_photo_is_that_of_the_upright_one(
    tmp_path: Path, colors: np.ndarray, run: RunDirectory, cli: Cli
) -> None:
    Image.fromarray(colors).save(tmp_path / "upright.png")
    for orientation in (3, 6, 8):
        save_turned(tmp_path / f"turned{orientation}.png", colors, orientation)
    exif = Image.Exif()
    exif[ORIENTATION] = 77  # no such orientation
    Image.fromarray(colors).save(tmp_path / "odd.png", exif=exif)
    masks = predicted(cli, run, tmp_path / "out", tmp_path)
    assert len(masks) == 5
    for name, mask in masks.items():
        assert mask.shape == (HEIGHT, WIDTH), name
        assert (mask == masks["upright"]).all(), name
    assert masks["upright"].max() > 255


def test_sixteen_bits_are_read_as_the_eight_they_were_made_of(
    tmp_path: Path, colors: np.ndarray
) -> None:
    deep = colors.astype(np.uint16) * 257
    grey = deep[..., :1]
    opaque = np.full_like(grey, 65535)
    files = {
        "rgb.png": png16(deep),
        "rgba.png": png16(np.concatenate([deep, opaque], axis=2)),
        "rgb.tiff": tiff16(deep),
        "rgba.tiff": tiff16(np.concatenate([deep, opaque], axis=2), alpha=True),
        "rgb.ppm": b"P6 %d %d 65535\n" % (WIDTH, HEIGHT) + deep.astype(">u2").tobytes(),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert (np.asarray(read_picture(tmp_path / name)) == colors).all(), name
    greys = {
        "grey.png": png16(grey),
        "alpha.png": png16(np.concatenate([grey, opaque], axis=2)),
        "grey.pgm": b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + grey.astype(">u2").tobytes(),
    }
    for name, content in greys.items():
        (tmp_path / name).write_bytes(content)
    Image.fromarray(grey[..., 0]).save(tmp_path / "grey.tiff")
    for name in (*greys, "grey.tiff"):
        pixels = np.asarray(read_picture(tmp_path / name))
        assert (pixels == colors[..., :1]).all(), name
    with pytest.raises(DataError, match="more than 8 bits a channel"):
        read_image(tmp_path / "grey.png")


def test_all_of_sixteen_bits_stays_within_one_level(tmp_path: Path) -> None:
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    (tmp_path / "grey.png").write_bytes(png16(every))
    (tmp_path / "rgb.png").write_bytes(png16(every.repeat(3, axis=2)))
    grey, rgb = (
        np.asarray(read_picture(tmp_path / name)).astype(float) for name in ("grey.png", "rgb.png")
    )
    assert (grey == rgb).all()
    assert np.abs(grey - every / 257).max() < 1


def test_clear_parts_are_white(tmp_path: Path, colors: np.ndarray) -> None:
    alpha = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    alpha[:, :20], alpha[:, 20:30] = 255, 51
    share = alpha[..., None] / 255
    wanted = colors * share + 255 * (1 - share)
    Image.fromarray(np.dstack([colors, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([colors, alpha])).save(tmp_path / "rgba.webp", lossless=True)
    for name in ("rgba.png", "rgba.webp"):
        pixels = np.asarray(read_picture(tmp_path / name)).astype(float)
        assert np.abs(pixels - wanted).max() <= 1, name

    grey = colors[..., 0]
    Image.fromarray(np.dstack([grey, alpha])).save(tmp_path / "la.png")
    pixels = np.asarray(read_picture(tmp_path / "la.png")).astype(float)
    assert np.abs(pixels - (grey[..., None] * share + 255 * (1 - share))).max() <= 1

    indices = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    indices[:, 20:] = 1
    palette = Image.frombytes("P", (WIDTH, HEIGHT), indices.tobytes())
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.save(tmp_path / "palette.png", transparency=1)
    palette.save(tmp_path / "palette.gif", transparency=1)
    for name in ("palette.png", "palette.gif"):
        pixels = np.asarray(read_picture(tmp_path / name))
        assert (pixels[:, :20] == (10, 20, 30)).all() and (pixels[:, 20:] == 255).all(), name


def test_grey_one_bit_and_palette(tmp_path: Path, colors: np.ndarray) -> None:
    grey = colors[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 127).save(tmp_path / "bit.png")
    Image.fromarray(grey > 127).save(tmp_path / "bit.tiff", compression="group4")
    assert (np.asarray(read_picture(tmp_path / "grey.png")) == grey[..., None]).all()
    for name in ("bit.png", "bit.tiff"):
        pixels = np.asarray(read_picture(tmp_path / name))
        assert (pixels == np.where(grey > 127, 255, 0)[..., None]).all(), name


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff"])
def test_the_first_frame_or_page_is_taken(tmp_path: Path, name: str) -> None:
    first, *others = (Image.new("RGB", (16, 12), color) for color in ("red", "lime", "blue"))
    options = {"lossless": True} if name.endswith("webp") else {}
    first.save(tmp_path / name, save_all=True, append_images=others, **options)
    with Image.open(tmp_path / name) as file:
        assert file.n_frames == 3  # type: ignore[attr-defined]
    pixels = np.asarray(read_picture(tmp_path / name))
    assert pixels.shape == (12, 16, 3) and (pixels == (255, 0, 0)).all()


def test_print_colours_look_as_on_screen(
    tmp_path: Path, colors: np.ndarray, run: RunDirectory, cli: Cli
) -> None:
    picture = Image.fromarray(colors)
    picture.save(tmp_path / "rgb.png")
    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    content = (tmp_path / "cmyk.jpg").read_bytes()
    assert b"Adobe" in content  # whose inks are stored the other way round
    for name in ("cmyk.jpg",):
        pixels = np.asarray(read_picture(tmp_path / name)).astype(float)
        assert np.abs(pixels - colors).mean() < 3, name
    masks = predicted(cli, run, tmp_path / "out", tmp_path)
    assert (masks["cmyk"] == masks["rgb"]).mean() > 0.8


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (3, 2000), (2000, 3)])
def test_any_size_has_its_mask(
    tmp_path: Path, run: RunDirectory, cli: Cli, size: tuple[int, int]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    masks = predicted(cli, run, tmp_path / "out", tmp_path / "a.png")
    assert masks["a"].shape == size


def make_bad(folder: Path, png_header: Callable[[int, int], bytes]) -> dict[str, str]:
    """Files that are no pictures; a word of the line that each has to have."""
    good = folder.parent / "good.jpg"
    Image.fromarray(np.zeros((90, 90, 3), np.uint8)).save(good)
    (folder / "truncated.jpg").write_bytes(good.read_bytes()[:400])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    pixels = struct.pack(">I", 64) + b"IDAT" + bytes(68)
    (folder / "bomb.png").write_bytes(png_header(MAX_PIXELS, 2) + pixels)
    (folder / "larger.png").write_bytes(png_header(9_500, 9_500) + pixels)
    (folder / "largest.png").write_bytes(png_header(100_000, 100_000) + pixels)
    (folder / "noise.tiff").write_bytes(b"II*\0" + bytes(range(256)))
    Image.fromarray(np.random.default_rng(0).random((8, 8)).astype(np.float32)).save(
        folder / "float.tiff"
    )
    Image.fromarray(np.full((8, 8), 70_000, np.int32)).save(folder / "int32.tiff")
    return {
        "truncated.jpg": "cannot be decoded",
        "empty.png": "cannot be decoded",
        "text.jpg": "cannot be decoded",
        "bomb.png": "over the limit",
        "larger.png": "over the limit",
        "largest.png": "cannot be decoded",
        "noise.tiff": "cannot be decoded",
        "float.tiff": "holds fractions",
        "int32.tiff": "holds integers of 32 bits",
    }


def test_bad_files_do_not_stop_the_others(
    tmp_path: Path,
    colors: np.ndarray,
    run: RunDirectory,
    cli: Cli,
    png_header: Callable[[int, int], bytes],
) -> None:
    folder = tmp_path / "pictures"
    (folder / "folder.png").mkdir(parents=True)  # a folder may be called so
    Image.fromarray(colors).save(folder / "folder.png" / "inside.png")
    bad = make_bad(folder, png_header)
    Image.fromarray(colors).save(folder / "zebra.png")
    (folder / "notes.txt").write_text("no picture, and not called one")
    (folder / "._zebra.png").write_text("what some systems put beside a file")
    done = cli("predict", run.path, folder, "--out", tmp_path / "out", "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert [Path(path).relative_to(tmp_path / "out").as_posix() for path in told["masks"]] == [
        "zebra.png",
        "folder.png/inside.png",
    ]
    assert len(told["failed"]) == len(bad)
    for line, name in zip(told["failed"], sorted(bad), strict=True):
        assert line.startswith(f"{folder / name}: ") and bad[name] in line
        assert "\n" not in line
    for_people = cli("predict", run.path, folder, "--out", tmp_path / "out")
    assert for_people.returncode == 1
    assert all(line in for_people.stdout for line in told["failed"])


def test_pipes_and_sockets_are_lines_and_stop_nothing(
    tmp_path: Path, colors: np.ndarray, run: RunDirectory, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    Image.fromarray(colors).save(folder / "a.png")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (folder / "linked.png").symlink_to(folder / "pipe.jpg")
    os.mkfifo(folder / "pipe.jpg")
    os.mkfifo(folder / "notes")  # not called like a picture
    monkeypatch.chdir(folder)  # a socket's name has to be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
        for word in (folder, f"{folder}/*"):
            out = tmp_path / f"out{str(word)[-1]}"
            done = cli("predict", run.path, word, "--out", out, "--json")
            assert done.returncode == 1, done.stderr
            values = json.loads(done.stdout)
            assert [Path(mask).name for mask in values["masks"]] == ["a.png"]
            assert sorted(values["failed"]) == [
                f"{folder / 'gone.png'}: cannot be read (No such file or directory)",
                *(
                    f"{folder / name}: not a file, but a pipe, a socket or a device"
                    for name in ("linked.png", "pipe.jpg", "socket.png")
                ),
            ]
    done = cli("predict", run.path, folder / "pipe.jpg", "--out", tmp_path / "one")
    assert done.returncode == 2 and "pipe.jpg: not a file, but a pipe" in done.stderr


def test_pictures_of_kinds_that_are_not_read_are_counted(
    tmp_path: Path, colors: np.ndarray, run: RunDirectory, cli: Cli
) -> None:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.HEIC", "sub/b.heic", "c.psd", ".hidden.heic", "notes.txt", "sub/d.xmp"):
        (folder / name).write_bytes(b"x")
    (folder / "library.raw").mkdir()
    call = ("predict", run.path, folder, folder / "sub", "--out", folder / "out")
    line = "3 files of kinds that are not read: .heic 2, .psd 1"
    done = cli(*call)
    assert done.returncode == 2 and "no picture there" in done.stderr and line in done.stderr
    Image.fromarray(colors).save(folder / "a.png")
    Image.fromarray(colors).save(folder / "sub" / "z.tga")
    done = cli(*call)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == line
    told = json.loads(cli(*call, "--json").stdout)
    assert told["unread"] == {".heic": 2, ".psd": 1} and len(told["masks"]) == 2
    (folder / "out" / "mine.heic").write_bytes(b"x")  # beside the results, not the pictures
    (folder / "sub" / "b.heic").unlink()
    (folder / "c.psd").unlink()
    said = cli(*call).stdout.splitlines()[-1]
    assert said == "1 file of a kind that is not read: .heic 1"


@pytest.mark.skipif(os.geteuid() == 0, reason="whoever may read everything cannot see it refused")
def test_what_may_not_be_read_is_a_line(tmp_path: Path, run: RunDirectory, cli: Cli) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "mine.png")
    (tmp_path / "mine.png").chmod(0)
    done = cli("predict", run.path, tmp_path, "--out", tmp_path / "out", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"] == [
        f"{tmp_path / 'mine.png'}: may not be read; change its permissions"
    ]


def test_refusals_of_the_system_are_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "mine.png")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(DataError, match="may not be read; change its permissions"):
        read_picture(tmp_path / "mine.png")


def test_real_photos_as_they_are_kept_elsewhere(
    tmp_path: Path, realdata: Path, run: RunDirectory, cli: Cli
) -> None:
    """The same photo as JPEG, turned, at 16 bits and with alpha has the same mask."""
    photo = sorted((realdata / "coco" / "train2017").glob("*.jpg"))[0]
    with Image.open(photo) as file:
        small = np.asarray(file.convert("RGB").resize((96, 72)))
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(small).save(folder / "plain.png")
    save_turned(folder / "turned.tiff", small, 6)
    (folder / "deep.png").write_bytes(png16(small.astype(np.uint16) * 257))
    opaque = np.dstack([small, np.full(small.shape[:2], 255, np.uint8)])
    Image.fromarray(opaque).save(folder / "opaque.png")
    masks = predicted(cli, run, tmp_path / "out", folder)
    assert len(masks) == 4
    for name, mask in masks.items():
        assert (mask == masks["plain"]).all(), name
    assert len(np.unique(masks["plain"])) > 3


def test_the_sample_photos_of_scikit_learn(tmp_path: Path, run: RunDirectory, cli: Cli) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="no scikit-learn, no sample photos")
    for name in ("china", "flower"):
        pixels = datasets.load_sample_image(f"{name}.jpg")[::4, ::4]
        Image.fromarray(pixels).save(tmp_path / f"{name}.jpg", quality=95)
        Image.fromarray(pixels).convert("CMYK").save(tmp_path / f"{name}_ink.jpg", quality=95)
    masks = predicted(cli, run, tmp_path / "out", tmp_path)
    for name in ("china", "flower"):
        assert masks[name].shape == (107, 160)
        assert (masks[name] == masks[f"{name}_ink"]).mean() > 0.8
