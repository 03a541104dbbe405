"""Pictures people hand in: the usual ones, the odd ones, and files that mean harm."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app import uploads
from app.uploads import UploadError, read_upload


def picture(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Left half red, right half blue, with a green corner at the top left."""
    image = Image.new("RGB", size, (200, 20, 20))
    image.paste((20, 20, 200), (size[0] // 2, 0, size[0], size[1]))
    image.paste((20, 200, 20), (0, 0, size[0] // 4, size[1] // 4))
    return image.convert(mode)


def packed(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def near(pixel: object, color: tuple[int, int, int], within: int = 40) -> bool:
    assert isinstance(pixel, tuple)
    return max(abs(a - b) for a, b in zip(pixel, color, strict=True)) <= within


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_three_formats(kind: str) -> None:
    got = read_upload(packed(picture(), kind))
    assert (got.image.mode, got.image.size, got.notes) == ("RGB", (64, 48), ())
    assert near(got.image.getpixel((25, 40)), (200, 20, 20))
    assert near(got.image.getpixel((60, 40)), (20, 20, 200))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(orientation: int) -> None:
    ways_back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = picture()
    if orientation in ways_back:
        stored = stored.transpose(ways_back[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = read_upload(packed(stored, "JPEG", exif=exif, quality=95))
    assert got.image.size == (64, 48)
    assert near(got.image.getpixel((4, 4)), (20, 200, 20))
    assert near(got.image.getpixel((60, 40)), (20, 20, 200))
    assert bool(got.notes) == (orientation > 1)


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_and_palette(mode: str) -> None:
    got = read_upload(packed(picture(mode), "PNG"))
    expected = picture(mode).convert("RGB")
    assert got.image.mode == "RGB"
    assert (np.asarray(got.image) == np.asarray(expected)).all()


def test_transparent_parts_are_white() -> None:
    image = picture("RGBA")
    image.putalpha(Image.new("L", image.size, 0))
    image.paste((10, 20, 30, 255), (0, 0, 20, 20))
    for kind in ("PNG", "WEBP"):
        got = read_upload(packed(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
        assert got.image.getpixel((50, 40)) == (255, 255, 255)
        assert got.image.getpixel((5, 5)) == (10, 20, 30)
        assert "white" in got.notes[0]
    assert read_upload(packed(picture("RGBA"), "PNG")).notes == ()


def test_sixteen_bits_of_grey_keep_their_steps() -> None:
    grey = np.linspace(0, 65535, 64 * 48).reshape(48, 64).astype(np.uint16)
    got = read_upload(packed(Image.fromarray(grey), "PNG"))
    assert (np.asarray(got.image)[..., 0] == grey // 256).all()
    assert "16-bit" in got.notes[0]


def test_cmyk() -> None:
    got = read_upload(packed(picture("CMYK"), "JPEG", quality=95))
    assert got.image.mode == "RGB" and "CMYK" in got.notes[0]
    assert near(got.image.getpixel((25, 40)), (200, 20, 20), within=60)


def test_only_the_first_frame_of_an_animation() -> None:
    frames = [picture(), Image.new("RGB", (64, 48), "white")]
    got = read_upload(packed(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert near(got.image.getpixel((60, 40)), (20, 20, 200))
    assert "first frame" in got.notes[0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_large_pictures_are_scaled_down_and_it_is_said(kind: str) -> None:
    got = read_upload(packed(picture(size=(2400, 1600)), kind))
    width, height = got.image.size
    assert width * height <= uploads.WORK_PIXELS
    assert width / height == pytest.approx(1.5, rel=0.01)
    assert f"scaled from 2,400 × 1,600 to {width:,} × {height:,}" in got.notes
    assert near(got.image.getpixel((width - 20, height - 20)), (20, 20, 200))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"GIF89a" + bytes(200), "no JPEG, PNG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no JPEG, PNG or WebP"),
        (b"\x89PNG\r\n\x1a\n", "no JPEG, PNG or WebP"),
        (b"#!/bin/sh\necho hello\n" * 50, "no JPEG, PNG or WebP"),
        (packed(picture(), "BMP"), "no JPEG, PNG or WebP"),
        (packed(picture(), "TIFF"), "no JPEG, PNG or WebP"),
        (packed(picture(size=(15, 40)), "PNG"), "at least 16"),
        (packed(picture(size=(40_000, 17)), "PNG"), "too narrow"),
    ],
)
def test_what_is_no_picture_for_us_is_refused_kindly(content: bytes, says: str) -> None:
    with pytest.raises(UploadError, match=says) as caught:
        read_upload(content)
    assert "\n" not in str(caught.value) and "Error" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_files_that_were_cut_off(kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (80, 90, 3), dtype=np.uint8))
    whole = packed(noise, kind)
    with pytest.raises(UploadError):
        read_upload(whole[: int(share * len(whole))])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_bytes_never_end_in_anything_but_a_picture_or_a_message(kind: str) -> None:
    rng = np.random.default_rng(1)
    whole = packed(picture(), kind)
    for _ in range(150):
        broken = bytearray(whole)
        for at in rng.integers(0, len(whole), 6):
            broken[at] = rng.integers(0, 256)
        try:
            assert read_upload(bytes(broken)).image.mode == "RGB"
        except UploadError as error:
            assert str(error)


@pytest.mark.parametrize("size", [(30_000, 30_000), (12_000, 9_000), (6_000, 4_100)])
def test_pictures_that_would_fill_the_memory(
    png_header: Callable[[int, int], bytes], size: tuple[int, int]
) -> None:
    with pytest.raises(UploadError, match="24 megapixels"):
        read_upload(png_header(*size) + struct.pack(">I", 64) + b"IDAT" + bytes(68))


def test_a_text_chunk_that_would_fill_the_memory() -> None:
    whole = packed(picture(), "PNG")
    body = b"bomb\x00\x00" + zlib.compress(bytes(200 * 2**20), 9)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + body))
    with pytest.raises(UploadError, match="damaged"):
        read_upload(whole[:33] + chunk + whole[33:])


def test_too_many_bytes() -> None:
    with pytest.raises(UploadError, match="limit is 20 MB"):
        read_upload(bytes(uploads.MAX_BYTES + 1))


def test_broken_exif_is_no_reason_to_refuse() -> None:
    content = packed(picture(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    with pytest.warns(UserWarning, match="EXIF"):
        got = read_upload(content)
    assert got.image.size == (64, 48)


def test_the_server_lets_files_through_that_get_a_message_in_words(repository: Path) -> None:
    text = (repository / "app/.streamlit/config.toml").read_text("utf-8")
    allowed = next(line for line in text.splitlines() if line.startswith("maxUploadSize"))
    assert int(allowed.partition("=")[2]) * 2**20 > 1.5 * uploads.MAX_BYTES
