"""Modules of your own that commands and the app load before anything else.

A configuration travels with a run and must not name code to import. What one's own
environment says is another matter: ``WORKBENCH_PLUGINS=my_data.py,my_package.losses``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Final

from workbench.errors import ConfigError, first_line

VARIABLE: Final = "WORKBENCH_PLUGINS"


def load_plugins() -> None:
    """Imports the modules that ``WORKBENCH_PLUGINS`` lists; those loaded before stay as they are.

    Names stand with commas between them: modules that Python finds, or files ending in
    ``.py``, whose folder is then searched last. Processes started from here do the same.

    Raises:
        ConfigError: A module cannot be found or imported, or its name is another module's.
    """
    for name in os.environ.get(VARIABLE, "").split(","):
        if name.strip():
            _load(name.strip())


def check_own_name(function: str, name: str, taken: Collection[str]) -> None:
    """Refuses a name that is one of ours, or cannot be typed as a setting.

    Args:
        function: ``register_...``; the error begins with it.
        name: Letters, digits, ``_``, ``.`` and ``-`` will do.
        taken: Ours; a name with ``...`` at its end stands for all that begin like it.

    Raises:
        ConfigError: It will not do.
    """
    begins = tuple(one.removesuffix("...") for one in taken if one.endswith("..."))
    if name in taken or name.startswith(begins) or not re.fullmatch(r"[\w.-]+", name, re.ASCII):
        kind = function.removeprefix("register_")
        raise ConfigError(
            f"{function}: {name!r} cannot be the name of a {kind} of your own; take letters, "
            f"digits, _ . - and none of {', '.join(sorted(taken))}"
        )


def _load(name: str) -> None:
    path = Path(name).resolve() if name.endswith(".py") else None
    if path is not None and not path.is_file():
        raise ConfigError(f"{VARIABLE}: there is no file {name}")
    if path is not None and str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        module = import_module(name if path is None else path.stem)
    except Exception as error:  # whatever somebody's module does
        raise ConfigError(f"{VARIABLE}: {name} cannot be imported: {first_line(error)}") from error
    if path is not None and Path(module.__file__ or "").resolve() != path:
        raise ConfigError(
            f"{VARIABLE}: {name} has the name of another module, {path.stem}; rename the file"
        )
