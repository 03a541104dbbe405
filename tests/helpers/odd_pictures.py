"""Picture files that Pillow cannot write: 16 bits a channel, written from their definitions."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def png16(values: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel of (H, W, 1..4) numbers up to 65535."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


def tiff16(values: np.ndarray, *, alpha: bool = False) -> bytes:
    """An uncompressed TIFF of 16 bits a channel of (H, W, 3 or 4) numbers up to 65535."""
    height, width, channels = values.shape
    data = values.astype("<u2").tobytes()
    tags = [
        *[(256, 3, [width]), (257, 3, [height]), (258, 3, [16] * channels), (259, 3, [1])],
        *[(262, 3, [2]), (273, 4, [0]), (277, 3, [channels]), (278, 4, [height])],
        *[(279, 4, [len(data)])],
        *([(338, 3, [2])] if alpha else []),
    ]
    place = 8 + 2 + 12 * len(tags) + 4
    bits = struct.pack(f"<{channels}H", *([16] * channels))
    entries = b""
    for tag, kind, numbers in tags:
        if tag == 258:
            value = struct.pack("<I", place)
        elif tag == 273:
            value = struct.pack("<I", place + len(bits))
        else:
            value = struct.pack("<H" if kind == 3 else "<I", *numbers).ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + value
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + struct.pack("<I", 0) + bits + data
