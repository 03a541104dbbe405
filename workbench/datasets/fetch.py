"""Downloads over HTTP that go on where they were interrupted, as a downloader for pooch."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict
from urllib.parse import urlsplit

import requests

from workbench.errors import DataError, first_line
from workbench.progress import progress
from workbench.runs.atomic import write_json

TRIES: Final = 3
"""Failures in a row after which a download is given up for now."""
HEADWAY: Final = 64 << 20
"""Bytes after which a broken connection does not count as a failure in a row."""
_TIMEOUTS: Final = (15.0, 60.0)
"""Seconds to connect, and between two pieces of data."""
_CHUNK: Final = 1 << 16
_RETRIED: Final = (408, 429, 500, 502, 503, 504)


class _Note(TypedDict):
    """What is known of a partial file; it lies beside it as ``<name>.part.json``."""

    url: str
    validator: str
    """ETag or Last-Modified: tells whether the server's file is still the same."""
    size: int | None
    """Of the whole file, in bytes."""


class _BrokenError(Exception):
    """The connection failed in a way that may pass."""


@dataclass
class ResumingDownloader:
    """Fetches a file into a partial file first, and continues one that is there.

    The rest is asked for by ``Range`` with ``If-Range`` (RFC 9110, sections 13.1.5 and 14), so
    that a file which has changed on the server, or a server that cannot do it, starts afresh.

    Attributes:
        part: The partial file; its folder must hold nothing but downloads, for what pooch leaves
            behind when it is killed is cleared away from there.
        size: Expected bytes, None if unknown.
        sleep: Waits some seconds between tries.
    """

    part: Path
    size: int | None = None
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, url: str, output_file: str, pooch: object = None) -> None:
        """Fetches ``url`` to ``output_file``; the interface that pooch asks for.

        Raises:
            DataError: The file is not there, is not of the expected size or cannot be written,
                or the connection keeps failing. A partial file stays for the next call.
        """
        del pooch
        try:
            self._adopt(Path(output_file))
            self._fetch(url)
            os.replace(self.part, output_file)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            what = "the disk is full" if full else f"cannot be written ({error.strerror})"
            raise DataError(
                f"{self.part}: {what}; make room or choose another folder, and run the command "
                "again: it goes on where it stopped"
            ) from error

    def forget(self) -> None:
        """Removes the partial file and the note on it."""
        self.part.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)

    @property
    def _note_path(self) -> Path:
        return self.part.with_name(f"{self.part.name}.json")

    def _adopt(self, output: Path) -> None:
        """Takes back a whole file from a temporary name of a pooch that was killed."""
        note = self._read_note()
        for leftover in output.parent.glob("tmp*"):
            whole = note is not None and leftover.stat().st_size == note["size"]
            if leftover == output:
                continue
            if whole and not self.part.exists():
                os.replace(leftover, self.part)
            else:
                leftover.unlink()

    def _fetch(self, url: str) -> None:
        failures = 0
        while True:
            before = self._have()
            try:
                self._attempt(url)
                return
            except _BrokenError as error:
                failures = 1 if self._have() - before >= HEADWAY else failures + 1
                if failures == TRIES:
                    raise DataError(
                        f"{url}: {error}; run the command again later, "
                        f"it goes on after {self._have() / 1e6:.0f} MB"
                    ) from error
                self.sleep(2.0**failures)

    def _attempt(self, url: str) -> None:
        """One request; returns when the partial file is whole.

        Raises:
            _BrokenError: Worth another try.
            DataError: Not worth another try.
        """
        note = self._read_note()
        have = self._have()
        if note is None or note["url"] != url or not have:
            note, have = None, 0
        elif have == note["size"]:
            return
        elif not note["validator"]:
            note, have = None, 0
        headers = {"Accept-Encoding": "identity"}
        if note is not None:
            headers |= {"Range": f"bytes={have}-", "If-Range": note["validator"]}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUTS) as response:
                if note is None or response.status_code not in (206, 416):
                    self._receive(response, url, 0)
                    return
                if _continues(response, note, have):
                    self._receive(response, url, have)
                    return
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _BrokenError(_reason(error, url)) from error
        except requests.RequestException as error:
            raise DataError(f"{url}: {first_line(error)}; check the address") from error
        self.forget()  # the server's file is not the one that was begun
        self._attempt(url)

    def _receive(self, response: requests.Response, url: str, have: int) -> None:
        """Writes what the server sends behind the first ``have`` bytes."""
        if response.status_code != (206 if have else 200):
            answer = f"{response.status_code} {response.reason}".strip()
            if response.status_code in _RETRIED:
                raise _BrokenError(f"{_host(url)} is busy or out of order ({answer})")
            raise DataError(
                f"{url}: the server answers {answer}; look on the dataset's page where the file "
                "is now, download it by hand into the root, and run the command again"
            )
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else None
        if self.size is not None and total not in (self.size, None):
            raise DataError(
                f"{url}: the server offers {total} bytes where {self.size} were published; look "
                "whether a login page or a proxy is in between, else the file was replaced"
            )
        if not have:
            self.forget()
            note = _Note(url=url, validator=_validator(response), size=total)
            write_json(self._note_path, note)
        counted: tuple[bytes, ...] = ()  # the bar counts bytes, not the pieces they come in
        with (
            self.part.open("ab") as file,
            progress(
                counted,
                description=f"download {self.part.name.removesuffix('.part')}",
                total=total,
                initial=have,
                unit="B",
                unit_scale=True,
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and self._have() != total:
            raise _BrokenError(f"the connection to {_host(url)} broke off")

    def _have(self) -> int:
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def _read_note(self) -> _Note | None:
        try:
            values = json.loads(self._note_path.read_text(encoding="utf-8"))
            return _Note(url=values["url"], validator=values["validator"], size=values["size"])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _validator(response: requests.Response) -> str:
    """The strongest thing the server says to recognise this very file by."""
    tag = response.headers.get("ETag", "")
    # A weak tag may not be used in If-Range: it also fits files that are not the same bytes.
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _continues(response: requests.Response, note: _Note, have: int) -> bool:
    """Whether a response is the rest of the file that was begun."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (
        response.status_code == 206
        and found is not None
        and int(found[1]) == have
        and found[2] in ("*", str(note["size"]))
        and _validator(response) in ("", note["validator"])
    )


def _reason(error: requests.RequestException, url: str) -> str:
    """What failed, from the deepest cause that says it."""
    host = _host(url)
    causes = list(_causes(error))
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return f"the name {host} cannot be looked up, is there a network connection?"
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return f"{host} refuses the connection"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {host} is not accepted"
    if isinstance(error, requests.Timeout):
        return f"{host} does not answer"
    return f"the connection to {host} broke off"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _host(url: str) -> str:
    return urlsplit(url).netloc
