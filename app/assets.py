"""Files that lie beside the app's modules: scripts and styles of its components."""

from __future__ import annotations

import pkgutil


def asset(*names: str) -> str:
    """The text of files, one after another.

    Raises:
        FileNotFoundError: There is no such file.
    """
    texts = []
    for name in names:
        content = pkgutil.get_data("app", name)
        if content is None:
            raise FileNotFoundError(name)
        texts.append(content.decode("utf-8"))
    return "\n".join(texts)
