"""Configurations from and to what people write: nested values, YAML, dotted flags."""

from __future__ import annotations

import dataclasses
import functools
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from workbench.config.names import nearest_name, nearest_setting
from workbench.config.sections import Run
from workbench.errors import ConfigError, first_line
from workbench.plain_yaml import load_plain

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

_PARSING = threading.Lock()  # all threads share the parsers: those of the app are its sessions


def to_dict(run: Run) -> dict[str, Any]:
    """Nested plain dict of a configuration, tuples as lists: what YAML and JSON can hold."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple | list) else value

    return {key: plain(value) for key, value in dataclasses.asdict(run).items()}


def from_dict(values: Mapping[str, Any], *, base: Run | None = None) -> Run:
    """Validates a nested dict and lays it over a base configuration.

    Args:
        values: Sections and fields; what is absent keeps the base's value.
        base: Configuration to start from, the defaults if None.

    Raises:
        ConfigError: An unknown field (with the nearest valid one) or a value of wrong type.
    """
    base = base or Run()
    merged = _merge(to_dict(base), values, prefix="")
    try:
        with _PARSING:
            built = {name: _parse(name, merged[name]) for name in values}
    except ConfigError:
        raise
    except Exception as error:  # jsonargparse raises several kinds; all mean a wrong value
        raise _as_config_error(error) from error
    return dataclasses.replace(base, **built)


def _parse(name: str, value: object) -> Any:  # noqa: ANN401 - a section, or a field beside them
    parser = _parser(name)
    return parser.instantiate(parser.parse_object({name: value}))[name]


@functools.cache
def _parser(name: str) -> ArgumentParser:
    """Of a section, made once: that takes as long as reading one by it."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument(f"--{name}", type=get_type_hints(Run)[name])
    return parser


def _as_config_error(error: BaseException) -> ConfigError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError):
            return cause
        cause = cause.__cause__ or cause.__context__
    message = " ".join(str(error).split())
    message = re.sub(r'^Parser key "([^"]+)": E', r"\1: e", message)
    message = re.sub(r"a typing\.Literal\[([^]]*)\]", r"one of \1", message)
    message = re.sub(r"\. Got value: ", ", got ", message)
    return ConfigError(re.sub(r"<class '(\w+)'>", r"\1", message))


def _merge(base: dict[str, Any], values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    merged = dict(base)
    for key, value in values.items():
        if key not in base:
            raise _unknown(f"{prefix}{key}", among=base, whole_section=isinstance(value, Mapping))
        if value is None:  # jsonargparse would take it for any type
            raise ConfigError(f"{prefix}{key}: a value is missing")
        if isinstance(base[key], dict):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{key}: expected a section with fields, got {value!r}")
            merged[key] = _merge(base[key], value, prefix=f"{prefix}{key}.")
        else:
            merged[key] = value
    return merged


def setting_names() -> list[str]:
    """All dotted settings: "data.dataset", "data.root", ..."""
    sections = to_dict(Run()).items()
    return [
        f"{section}.{name}"
        for section, fields in sections
        if isinstance(fields, dict)
        for name in fields
    ]


def _unknown(name: str, *, among: Iterable[str], whole_section: bool = False) -> ConfigError:
    """The error for a setting nobody knows, with the one that was probably meant."""
    known = setting_names()
    meant = nearest_name(name, [*among]) if whole_section else nearest_setting(name, known)
    if meant == name:  # "train.steps: 5" in a file
        section, _, field = name.partition(".")
        hint = f"in a file write {section}: {{{field}: ...}}"
    elif meant is not None:
        hint = f"did you mean {meant}?"
    else:
        hint = f"known: {', '.join(among)}"
    return ConfigError(f"{name}: unknown setting; {hint}")


def from_overrides(base: Run, overrides: Mapping[str, str]) -> Run:
    """Lays dotted command-line fields over a configuration.

    Args:
        base: Usually a preset.
        overrides: {"train.steps": "500", ...}; values are read as YAML, except those of text
            fields, which are taken as they are (a folder may be called 2024).

    Raises:
        ConfigError: See :func:`from_dict`.

    Examples:
        >>> run = from_overrides(Run(), {"train.steps": "500", "data.scale": "[1, 1]"})
        >>> run.train.steps, run.data.scale
        (500, (1.0, 1.0))
        >>> from_overrides(Run(), {"train.step": "500"})
        Traceback (most recent call last):
        workbench.errors.ConfigError: train.step: unknown setting; did you mean train.steps?
    """
    known, nested = to_dict(base), dict[str, Any]()
    for dotted, text in overrides.items():
        section, _, name = dotted.partition(".")
        fields = known.get(section)
        if not isinstance(fields, dict) or not name:
            sections = [key for key, value in known.items() if isinstance(value, dict)]
            raise _unknown(dotted, among=sections)
        try:
            value = text if isinstance(fields.get(name), str) else load_plain(text)
        except ValueError as error:
            raise ConfigError(f"{dotted}: cannot read the value {text!r}") from error
        nested.setdefault(section, {})[name] = value
    return from_dict(nested, base=base)


def describe_settings(run: Run | None = None) -> str:
    """All dotted fields with their defaults, one a line: the help of ``workbench train``.

    Args:
        run: The defaults; those of the fields if None.
    """

    def lines(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
        for key, value in values.items():
            if isinstance(value, dict):
                yield from lines(value, f"{prefix}{key}.")
            elif prefix:
                yield f"  --{prefix}{key} {value}"

    return "\n".join(("settings and their defaults:", *lines(to_dict(run or Run()), "")))


def load_yaml(path: Path, *, base: Run | None = None) -> Run:
    """Reads a configuration file.

    Args:
        path: Of the file.
        base: What holds where the file says nothing; the fields' defaults if None.

    Raises:
        ConfigError: The file cannot be read, is not YAML or holds an invalid field.
    """
    try:
        values = load_plain(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot read the configuration: {first_line(error)}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections data, model, loss and train")
    try:
        return from_dict(values, base=base)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
