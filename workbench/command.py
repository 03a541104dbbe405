"""What the commands of the command line are made of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeAlias

from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench import config


class Outcome(NamedTuple):
    """What a command has to say, where plain values do not suffice.

    Attributes:
        values: For ``--json``.
        text: For people; None prints the values line by line.
        exit_code: Of the process; 1 where a check says no.
    """

    values: dict[str, Any]
    text: str | None = None
    exit_code: int = 0


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exits with code 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


Handler = Callable[[argparse.Namespace], dict[str, Any] | Outcome]
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def command(
    commands: Commands,
    name: str,
    handler: Handler,
    text: str,
    *,
    takes_settings: bool = False,
    defaults: config.Run | None = None,
    json_flag: bool = True,
) -> argparse.ArgumentParser:
    """Adds a command.

    Args:
        commands: Where to.
        name: As typed.
        handler: Called with the parsed options.
        text: What it does, in a line.
        takes_settings: Whether dotted settings (``--train.steps 500``) follow.
        defaults: The settings that help shows, those of a configuration without any if None.
        json_flag: Whether ``--json`` prints its values.

    Returns:
        Its parser, for further arguments.
    """
    from workbench import config

    parser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog=config.describe_settings(defaults) if takes_settings else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(handler=handler, takes_settings=takes_settings, parser=parser)
    if json_flag:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    return parser


def add_views(parser: argparse.ArgumentParser, *, tile: str) -> None:
    """Adds the flags that say how often, and in which pieces, a network looks at a picture.

    Args:
        parser: Of a command that segments pictures.
        tile: Help for ``--tile``.
    """
    parser.add_argument(
        "--scales", default="1", help="look at these sizes and average, as 0.5,1,1.5 (default: 1)"
    )
    parser.add_argument("--flip", action="store_true", help="look at each mirrored, too")
    parser.add_argument("--tile", type=int, help=tile)
    parser.add_argument("--overlap", type=int, help="pixels that neighbours share at least")


def unknown_argument(word: str, options: argparse.Namespace) -> ConfigError:
    """The error for an argument a command does not take, with the one that was probably meant.

    Args:
        word: As typed.
        options: What `parse_known_args` gave: the command's parser and whether it takes settings.
    """
    from workbench.config.names import nearest_name, nearest_setting
    from workbench.config.reading import setting_names

    typed = word.partition("=")[0]
    # The parser itself has no public list of its flags.
    flags = [flag for action in options.parser._actions for flag in action.option_strings]
    setting = nearest_setting(typed.lstrip("-"), setting_names() if options.takes_settings else ())
    meant = f"--{setting}" if setting else nearest_name(typed, flags)
    if not typed.startswith("-"):
        meant = None
    hint = "" if meant is None else f"did you mean {meant}? "
    return ConfigError(f"unknown argument {word!r}; {hint}see {options.parser.prog} --help")
