from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from workbench.datasets import unpack as module
from workbench.datasets.unpack import UNPACKING, BadArchiveError, unpack
from workbench.errors import DataError

FILES = {
    "top/annotations/a.json": b"{}",
    "top/images/Straße 图像.jpg": bytes(range(256)) * 40,
    "top/images/empty.txt": b"",
    "readme": b"about",
}


def make_zip(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return path


def make_tar(path: Path, files: dict[str, bytes], *extra: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in extra:
            archive.addfile(info)
    return path


def make(path: Path, files: dict[str, bytes]) -> Path:
    return make_zip(path, files) if path.suffix == ".zip" else make_tar(path, files)


def tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def refusal(archive: Path, out: Path, **limits: int) -> str:
    """The message of a refused archive, which must leave nothing behind."""
    out.mkdir(exist_ok=True)
    before, around = tree(out), sorted(os.listdir(out.parent))
    with pytest.raises(BadArchiveError) as caught:
        unpack(archive, out, **limits)
    assert tree(out) == before
    assert not list(out.glob(f"{UNPACKING}*"))
    assert sorted(os.listdir(out.parent)) == around
    message = str(caught.value)
    assert message.startswith(f"{archive}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz"])
def test_unpacks_every_byte(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / "out"
    assert unpack(make(tmp_path / f"a.{suffix}", FILES), out) == len(FILES)
    assert tree(out) == FILES


def test_archives_are_merged_into_one_tree(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "annotations").mkdir(parents=True)
    (out / "annotations" / "mine.txt").write_text("mine")
    unpack(make_zip(tmp_path / "1.zip", {"annotations/a.json": b"1", "README": b"1"}), out)
    unpack(make_tar(tmp_path / "2.tar", {"annotations/b.json": b"2", "README": b"2"}), out)
    assert tree(out) == {
        "annotations/mine.txt": b"mine",
        "annotations/a.json": b"1",
        "annotations/b.json": b"2",
        "README": b"2",
    }


def test_nested_archives(tmp_path: Path) -> None:
    inner = make_zip(tmp_path / "inner.zip", {"panoptic/1.png": b"png", "__MACOSX/x": b"junk"})
    files = {"annotations/panoptic.zip": inner.read_bytes(), "annotations/panoptic.json": b"{}"}
    outer = make_zip(tmp_path / "outer.zip", files)
    assert unpack(outer, tmp_path / "out", nested=["annotations/panoptic.zip"]) == 2
    expected = {"annotations/panoptic/1.png": b"png", "annotations/panoptic.json": b"{}"}
    assert tree(tmp_path / "out") == expected
    with pytest.raises(BadArchiveError, match=r"outer\.zip: gone\.zip is not in it"):
        unpack(outer, tmp_path / "other", nested=["gone.zip"])
    assert tree(tmp_path / "other") == {}


def test_only_bytes_are_taken(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("run.sh", date_time=(1990, 1, 1, 0, 0, 0))
    info.external_attr = (stat.S_IFREG | 0o4777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, b"#!")
    unpack(tmp_path / "a.zip", tmp_path / "out")
    written = (tmp_path / "out" / "run.sh").stat()
    assert not written.st_mode & (stat.S_ISUID | stat.S_IXUSR | stat.S_IWOTH)


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("../evil.txt", "leads out"),
        ("top/../../evil.txt", "leads out"),
        ("/etc/evil.txt", "absolute"),
        ("C:/evil.txt", "absolute"),
        ("C:evil.txt", "absolute"),
        ("top\\..\\evil.txt", "backslash"),
        ("__MACOSX/../../evil.txt", "leads out"),
        (".", "has no name"),
    ],
)
def test_names_that_lead_out(tmp_path: Path, suffix: str, name: str, fault: str) -> None:
    archive = make(tmp_path / f"a.{suffix}", {"good.txt": b"", name: b"evil"})
    message = refusal(archive, tmp_path / "out")
    assert fault in message
    assert repr(name) in message


def test_a_null_character_hides_nothing(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"good.txtX/../../evil": b""})
    archive.write_bytes(archive.read_bytes().replace(b"good.txtX", b"good.txt\0"))
    assert "null character" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.FIFOTYPE, "device or a pipe"),
    ],
)
def test_tar_links_and_devices(tmp_path: Path, kind: bytes, fault: str) -> None:
    info = tarfile.TarInfo("link")
    info.type = kind
    info.linkname = "good.txt"  # even a link to the inside
    archive = make_tar(tmp_path / "a.tar", {"good.txt": b""}, info)
    assert f"'link' is a {fault}" in refusal(archive, tmp_path / "out")


def test_zip_links_and_encryption(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc")
    assert "'link' is a symbolic link" in refusal(tmp_path / "link.zip", tmp_path / "out")

    locked = make_zip(tmp_path / "locked.zip", {"secret": b"x" * 30})
    data = bytearray(locked.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    locked.write_bytes(bytes(data))
    assert "'secret' is encrypted" in refusal(locked, tmp_path / "out")


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (("a/b.txt", "a/./b.txt"), "twice"),
        (("a", "a/b.txt"), "lies in what is a file"),
        (("a/b.txt", "a"), "twice"),
    ],
)
def test_names_in_each_others_way(
    tmp_path: Path, suffix: str, names: tuple[str, str], fault: str
) -> None:
    archive = make(tmp_path / f"a.{suffix}", dict.fromkeys(names, b"x"))
    assert fault in refusal(archive, tmp_path / "out")


def test_bombs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    zeros = {"good.txt": b"good", "zeros.bin": bytes(17_000_000)}
    for suffix in ("zip", "tgz"):
        bomb = make(tmp_path / f"bomb.{suffix}", zeros)
        assert bomb.stat().st_size < 100_000
        assert "'zeros.bin' unpacks to more than 100 times" in refusal(bomb, out)
    many = make_zip(tmp_path / "many.zip", {f"{i}.txt": b"" for i in range(11)})
    assert "'10.txt' is beyond the limit of 10 files" in refusal(many, out, max_files=10)
    large = make_tar(tmp_path / "large.tar", {"1": bytes(600), "2": bytes(600)})
    assert "'2' goes beyond the limit" in refusal(large, out, max_bytes=1_000)
    assert unpack(large, out, max_bytes=1_200) == 2


def test_a_declared_size_is_not_trusted(tmp_path: Path) -> None:
    """A small number in the directory of a zip whose data unpack to more."""
    archive = make_zip(tmp_path / "liar.zip", {"liar.bin": os.urandom(5_000)})
    true, small = (5_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    data = archive.read_bytes()
    assert data.count(true) == 2
    archive.write_bytes(data.replace(true, small))
    assert "damaged" in refusal(archive, tmp_path / "out")


def test_a_sparse_file_counts_as_large_as_it_is(tmp_path: Path) -> None:
    header = bytearray(tarfile.TarInfo("sparse").tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[386:410] = b"00000000000\x0000000000000\x00"
    header[483:495] = b"%011o\0" % (8 << 30)
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    (tmp_path / "a.tar").write_bytes(bytes(header) + bytes(1024))
    assert "'sparse' unpacks to more than 100 times" in refusal(tmp_path / "a.tar", tmp_path / "o")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
def test_truncated_archives(tmp_path: Path, suffix: str) -> None:
    archive = make(tmp_path / f"a.{suffix}", {"a": os.urandom(3_000), "b": os.urandom(3_000)})
    data = archive.read_bytes()
    for keep in (0, 100, 2_000, 4_500):
        archive.write_bytes(data[:keep])
        assert "damaged or cut short" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("suffix", ["zip", "tar", "tgz"])
def test_flipped_bytes_never_escape_as_something_else(tmp_path: Path, suffix: str) -> None:
    """Either the archive is refused in one line, or it unpacks; whatever byte is hit."""
    archive = make(tmp_path / f"a.{suffix}", {"a/b": b"text" * 40, "a/c": bytes(30)})
    whole = archive.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(80):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 3))):
            data[draw.randrange(min(len(data), 2_600))] ^= 1 << draw.randrange(8)
        archive.write_bytes(bytes(data))
        try:
            unpack(archive, tmp_path / "out")
        except BadArchiveError as error:
            refused += 1
            assert "\n" not in str(error)
        assert not list(tmp_path.rglob(f"{UNPACKING}*"))
    assert refused > 10
    assert sorted(os.listdir(tmp_path)) in (["a." + suffix, "out"], ["a." + suffix])


def test_a_wrong_checksum_is_seen(tmp_path: Path) -> None:
    content = os.urandom(2_000)
    archive = make_zip(tmp_path / "a.zip", {"a.bin": content}, zipfile.ZIP_STORED)
    archive.write_bytes(archive.read_bytes().replace(content, content[::-1]))
    assert "CRC" in refusal(archive, tmp_path / "out")
    packed = make_tar(tmp_path / "a.tgz", {"a.bin": content})
    data = bytearray(packed.read_bytes())
    data[-8] ^= 1  # the checksum of the gzip member
    packed.write_bytes(bytes(data))
    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(bytes(data))
    assert "damaged" in refusal(packed, tmp_path / "out")


def test_what_a_killed_call_left_is_done_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    left = out / f"{UNPACKING}a.zip"
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"half")
    unpack(make_zip(tmp_path / "a.zip", FILES), out)
    assert tree(out) == FILES


def test_unknown_kinds(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    assert "is no .zip, .tar, .tar.gz or .tgz" in refusal(tmp_path / "a.rar", tmp_path / "out")
    assert "is missing" in refusal(tmp_path / "b.zip", tmp_path / "out")


def test_a_place_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_zip(tmp_path / "a.zip", {"a/b.txt": b"x"})
    out = tmp_path / "out"
    (out / "a" / "b.txt").mkdir(parents=True)
    with pytest.raises(DataError, match=r"out/a/b\.txt: cannot be written while unpacking a\.zip"):
        unpack(archive, out)

    def read_only(*arguments: object, **options: object) -> None:
        raise OSError(30, "Read-only file system", str(out))

    monkeypatch.setattr(module.Path, "mkdir", read_only)
    with pytest.raises(DataError, match=r"out: cannot be written .* \(Read-only file system\)"):
        unpack(archive, out)
