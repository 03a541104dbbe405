from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workbench.datasets.archives import SOURCES

LvisRoot = Callable[..., Path]


@pytest.fixture
def lvis_root(tmp_path: Path) -> LvisRoot:
    """Writes a root of a few photos with given annotations, in the official layout."""

    def write(
        things: dict[str, list[dict[str, Any]]],
        stuff: dict[str, list[dict[str, Any]]] | None = None,
        images: dict[str, list[dict[str, Any]]] | None = None,
        size: tuple[int, int] = (40, 50),
    ) -> Path:
        root = tmp_path / "coco"
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        height, width = size
        images = images or {
            split: [
                {"id": image_id, "coco_url": f"http://x/{split}2017/{image_id:012d}.jpg"}
                for image_id in sorted({item["image_id"] for item in items})
            ]
            for split, items in things.items()
        }
        rng = np.random.default_rng(0)
        for split, items in things.items():
            for entry in images[split]:
                entry.update({"height": height, "width": width})
                path = root / "/".join(entry["coco_url"].split("/")[-2:])
                path.parent.mkdir(exist_ok=True)
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
            content = {"images": images[split], "annotations": items, "categories": []}
            (root / f"lvis_v1_{split}.json").write_text(json.dumps(content))
        for split, items in (stuff or {}).items():
            listed = [
                {"id": image_id, "height": height, "width": width}
                for image_id in sorted({item["image_id"] for item in items})
            ]
            content = {"images": listed, "annotations": items, "categories": []}
            (root / "annotations" / f"stuff_{split}2017.json").write_text(json.dumps(content))
        return root

    return write


@dataclass
class Published:
    """A file on the server, and how the server treats it."""

    data: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    ranges: bool = True
    checks_if_range: bool = True
    from_zero: bool = False
    """Ranges are answered as such, but with the whole file."""
    says_length: bool = True
    cuts: list[int] = field(default_factory=list)
    """The next answers break off after so many bytes."""
    failures: list[int] = field(default_factory=list)
    """The next answers are these status codes."""


@dataclass
class FileServer:
    """An HTTP server on this machine that notes what is asked for and what it sent."""

    address: str
    files: dict[str, Published] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Per request: file name and the Range header, "" for all."""
    sent: list[int] = field(default_factory=list)
    """Per request: bytes of content."""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"

    def add(self, name: str, data: bytes) -> Published:
        self.files[name] = Published(data)
        return self.files[name]


def _answer(server: FileServer, handler: BaseHTTPRequestHandler) -> None:
    name = handler.path.lstrip("/")
    wanted = handler.headers.get("Range", "")
    server.asked.append((name, wanted))
    server.sent.append(0)
    file = server.files.get(name)
    if file is None or file.failures:
        handler.send_error(404 if file is None else file.failures.pop(0))
        return
    tag = handler.headers.get("If-Range", "")
    same = not tag.startswith("W/") and tag in ("", *file.headers.values())
    same = same or not file.checks_if_range
    found = re.fullmatch(r"bytes=(\d+)-", wanted)
    start = int(found[1]) if found and file.ranges and same else None
    start = 0 if start is not None and file.from_zero else start
    total = len(file.data)
    if start is not None and start >= total:
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{total}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    handler.send_response(200 if start is None else 206)
    for header, value in file.headers.items():
        handler.send_header(header, value)
    if start is not None:
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    content = file.data[start or 0 :]
    if file.says_length:
        handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    content = content[: file.cuts.pop(0)] if file.cuts else content
    # Before it is sent: the client may have it, and a test look here, before this thread goes on.
    server.sent[-1] = len(content)
    with contextlib.suppress(OSError):  # the client was killed
        handler.wfile.write(content)


@pytest.fixture
def file_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server for downloads; ``files`` is what it has."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _answer(server, self)

        def log_message(self, *arguments: object) -> None:
            del arguments

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server = FileServer(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield server
        http.shutdown()
        thread.join()


@dataclass
class Shop:
    """Archives on the server under their real names; the real addresses are never asked."""

    server: FileServer
    patch: pytest.MonkeyPatch

    def offer(self, key: str, archives: dict[str, Path], *, hashed: bool = True) -> None:
        """Puts a dataset's archives on the server and the facts on them into the table."""
        facts = []
        for fact in SOURCES[key].archives:
            data = archives[fact.name].read_bytes()
            self.server.add(fact.name, data)
            facts.append(
                fact._replace(
                    url=self.server.url(fact.name) if fact.url else "",
                    size=len(data),
                    unpacked=len(data) + 1_000_000,
                    hash=f"md5:{hashlib.md5(data).hexdigest()}" if hashed else None,
                )
            )
        self.patch.setitem(SOURCES, key, SOURCES[key]._replace(archives=tuple(facts)))

    @staticmethod
    def pack(archive: Path, folder: Path, *tops: str) -> Path:
        """Packs folders and files of a folder, in the format that the archive's name says."""
        found = [file for top in tops for file in [folder / top, *(folder / top).rglob("*")]]
        files = sorted(file for file in found if file.is_file())
        if archive.suffix == ".tar":
            with tarfile.open(archive, "w") as tar:
                for file in files:
                    tar.add(file, file.relative_to(folder))
        else:
            with zipfile.ZipFile(archive, "w") as packed:
                for file in files:
                    packed.write(file, file.relative_to(folder))
        return archive


@pytest.fixture
def shop(file_server: FileServer, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """What datasets are downloaded from."""
    return Shop(file_server, monkeypatch)
