"""Image ids as file names: whatever the id holds, the file stays in its folder."""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import quote, unquote

_LONGEST: Final = 200
_HASHED: Final = "hashed-"
_ERRORS: Final = "surrogatepass"  # file names that are no UTF-8 are ids too


def id_to_name(image_id: str) -> str:
    """Turns any image id into a file name without suffix.

    Letters, digits and ``_ - ~ .`` stay; everything else is percent-encoded (``../x``
    becomes ``%2E./x`` with its slash as ``%2F``), so that the id can be read back. An id
    that would be too long for a file name is replaced by its hash.

    Args:
        image_id: The dataset's name of the image.

    Returns:
        An ASCII name of at most 200 characters that is never empty, ``.`` or ``..``.
    """
    name = quote(image_id, safe="", errors=_ERRORS)
    if name.startswith("."):  # hidden, or a way out of the folder
        name = "%2E" + name[1:]
    if not name:
        name = "%"
    if len(name) > _LONGEST:
        return _HASHED + hashlib.sha256(image_id.encode("utf-8", _ERRORS)).hexdigest()
    return name


def name_to_id(name: str) -> str:
    """Gives back the id of a file name made by `id_to_name` (a hash stays a hash)."""
    return "" if name == "%" else unquote(name, errors=_ERRORS)
