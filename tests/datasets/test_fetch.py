"""Downloads over HTTP: what is asked for again after whatever went wrong."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import requests

from workbench.datasets import fetch
from workbench.datasets.fetch import ResumingDownloader
from workbench.errors import DataError

if TYPE_CHECKING:
    from conftest import FileServer, Published

DATA = np.random.default_rng(0).integers(0, 256, 2_000_000, dtype=np.uint8).tobytes()
NAME = "photos.zip"


class Client:
    """A downloader with its folder; waiting is only noted."""

    def __init__(self, folder: Path, server: FileServer, size: int | None = None) -> None:
        self.waits: list[float] = []
        self.folder = folder
        self.server = server
        self.get = ResumingDownloader(folder / f"{NAME}.part", size, self.waits.append)

    def fetch(self) -> bytes:
        output = self.folder / "tmpoutput"
        output.touch()  # as pooch does
        self.get(self.server.url(NAME), str(output), None)
        assert not self.get.part.exists()
        return output.read_bytes()

    def message(self) -> str:
        with pytest.raises(DataError) as caught:
            self.fetch()
        assert "\n" not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def client(tmp_path: Path, file_server: FileServer) -> Client:
    return Client(tmp_path, file_server)


@pytest.fixture
def published(file_server: FileServer) -> Published:
    return file_server.add(NAME, DATA)


def start_of(range_header: str) -> int:
    return int(range_header.removeprefix("bytes=").removesuffix("-"))


def test_a_whole_file_takes_one_request(client: Client, published: Published) -> None:
    del published
    assert client.fetch() == DATA
    assert client.server.asked == [(NAME, "")]
    assert client.waits == []


def test_a_broken_connection_goes_on_where_it_stopped(client: Client, published: Published) -> None:
    published.cuts = [1_000_000, 600_000]
    assert client.fetch() == DATA
    ranges = [header for _, header in client.server.asked]
    starts = [start_of(header) for header in ranges[1:]]
    assert ranges[0] == ""
    # Less than one piece is lost each time; all before it is not sent again.
    assert 1_000_000 - (1 << 16) < starts[0] <= 1_000_000 < starts[1] <= 1_600_000
    assert client.server.sent[2] == len(DATA) - starts[1]
    assert client.waits == [2.0, 4.0]


def test_the_next_call_goes_on_too(client: Client, published: Published) -> None:
    published.cuts = [500_000, 300_000, 300_000]
    message = client.message()
    assert "broke off; run the command again later, it goes on after 1 MB" in message
    assert client.waits == [2.0, 4.0]  # three tries, no more
    assert len(client.server.asked) == 3
    assert Client(client.folder, client.server).fetch() == DATA
    assert start_of(client.server.asked[3][1]) > 900_000


def test_an_end_that_comes_early_is_seen(
    client: Client, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Release 1 of urllib3 takes the end of a connection for the end of the file."""
    strict = requests.Response.iter_content

    def lenient(response: requests.Response, size: int) -> Iterator[bytes]:
        with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
            yield from strict(response, size)

    monkeypatch.setattr(requests.Response, "iter_content", lenient)
    published.cuts = [1_000_000]
    assert client.fetch() == DATA
    assert client.waits == [2.0]


def test_headway_allows_more_tries(
    client: Client, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "HEADWAY", 200_000)
    published.cuts = [400_000] * 4
    assert client.fetch() == DATA
    assert client.waits == [2.0] * 4


@pytest.mark.parametrize(
    "headers",
    [
        {"Last-Modified": "Fri, 11 May 2012 00:00:00 GMT"},
        {"Last-Modified": "Fri, 11 May 2012 00:00:00 GMT", "ETag": 'W/"weak"'},
    ],
)
def test_the_date_serves_where_there_is_no_strong_tag(
    client: Client, published: Published, headers: dict[str, str]
) -> None:
    published.headers = headers
    published.cuts = [1_000_000]
    assert client.fetch() == DATA
    assert client.server.sent[1] < len(DATA)


@pytest.mark.parametrize(
    "change",
    [
        {"ranges": False},
        {"from_zero": True},
        {"headers": {}},
        {"headers": {}, "says_length": False},
    ],
)
def test_servers_that_cannot_continue_send_all_again(
    client: Client, published: Published, change: dict[str, Any]
) -> None:
    published.cuts = [1_000_000] if "says_length" not in change else []
    for name, value in change.items():
        setattr(published, name, value)
    assert client.fetch() == DATA
    assert client.server.sent[-1] == len(DATA)


@pytest.mark.parametrize("checks_if_range", [True, False])
@pytest.mark.parametrize("length", [100_000, 2_000_000, 2_500_000])
def test_a_file_that_changed_starts_afresh(
    client: Client, published: Published, checks_if_range: bool, length: int
) -> None:
    published.cuts = [900_000] * 3
    published.ranges = False
    client.message()
    other = bytes(reversed(DATA + DATA))[:length]
    published.data, published.headers = other, {"ETag": '"2"'}
    published.ranges, published.checks_if_range = True, checks_if_range
    assert Client(client.folder, client.server).fetch() == other
    if checks_if_range:  # then one more request is enough
        assert len(client.server.asked) == 4


def test_another_address_starts_afresh(client: Client, published: Published) -> None:
    published.cuts = [900_000] * 3
    published.ranges = False
    client.message()
    published.ranges = True
    client.server.address = client.server.address.replace("127.0.0.1", "localhost")
    assert Client(client.folder, client.server).fetch() == DATA
    assert client.server.asked[-1] == (NAME, "")


def test_a_damaged_note_starts_afresh(client: Client, published: Published) -> None:
    published.cuts = [900_000, 0, 0]
    client.message()
    (client.folder / f"{NAME}.part.json").write_text("{")
    assert Client(client.folder, client.server).fetch() == DATA
    assert client.server.asked[-1] == (NAME, "")


def test_a_file_that_was_whole_when_pooch_was_killed(client: Client) -> None:
    """Between our last byte and pooch's renaming lies the hashing of all of it."""
    note = {"url": client.server.url(NAME), "validator": '"1"', "size": len(DATA)}
    (client.folder / f"{NAME}.part.json").write_text(json.dumps(note))
    (client.folder / "tmpabcdefgh").write_bytes(DATA)
    (client.folder / "tmpotherxx").write_bytes(b"half")
    assert client.fetch() == DATA
    assert client.server.asked == []
    assert sorted(os.listdir(client.folder)) == [f"{NAME}.part.json", "tmpoutput"]


def test_missing_files_are_not_asked_for_again(client: Client) -> None:
    assert client.message().startswith(f"{client.server.url(NAME)}: the server answers 404")
    assert len(client.server.asked) == 1


def test_a_busy_server_is_asked_three_times(client: Client, published: Published) -> None:
    published.failures = [503, 500]
    assert client.fetch() == DATA
    published.failures = [503, 500, 429, 500]
    assert "is busy or out of order (429 Too Many Requests)" in client.message()
    assert len(published.failures) == 1


def test_another_size_than_published(
    tmp_path: Path, file_server: FileServer, published: Published
) -> None:
    published.data = b"<html>Please log in</html>"
    client = Client(tmp_path, file_server, size=len(DATA))
    assert "offers 26 bytes where 2000000 were published" in client.message()
    assert os.listdir(tmp_path) == ["tmpoutput"]


def test_nobody_listens(client: Client) -> None:
    with socket.socket() as taken:  # bound but not listening
        taken.bind(("127.0.0.1", 0))
        client.server.address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert "refuses the connection; run the command again" in client.message()
    assert client.waits == [2.0, 4.0]


def test_no_network(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    client.server.address = "http://images.example.org"
    assert "the name images.example.org cannot be looked up" in client.message()


def test_a_silent_server(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_TIMEOUTS", (5.0, 0.05))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client.server.address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "does not answer" in client.message()


def test_a_full_disk_keeps_what_is_there(
    client: Client, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullAfterOne:
        def __init__(self) -> None:
            self.count = 0

        def update(self, count: int) -> None:
            self.count += 1
            if self.count == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __enter__(self) -> FullAfterOne:
            return self

        def __exit__(self, *error: object) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(fetch, "progress", lambda *args, **options: FullAfterOne())
        message = client.message()
    assert message.startswith(f"{client.folder / NAME}.part: the disk is full; make room")
    assert client.fetch() == DATA
    assert start_of(client.server.asked[-1][1]) > 0
    del published
