"""``workbench save-pretrained`` and ``workbench push``: a model for others to use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.command import Commands, command

if TYPE_CHECKING:
    from workbench.sharing import SharedModel


def add_sharing(commands: Commands) -> None:
    """Adds both commands."""
    text = "write a run's model to a folder for sharing: weights, settings, classes and a card"
    parser = command(commands, "save-pretrained", _save, text)
    _add_source(parser)
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--replace", action="store_true", help="delete a shared model there")

    text = "upload a run's model to the Hugging Face hub (log in first: hf auth login)"
    parser = command(commands, "push", _push, text)
    _add_source(parser)
    parser.add_argument("name", help="on the hub: NAME/MODEL")
    parser.add_argument("--private", action="store_true", help="for yourself only")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))
    parser.add_argument("--license", default="", help="of the weights, as apache-2.0")


def _save(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.sharing import SharedModel

    shared = SharedModel.from_run(options.run, options.checkpoint, license=options.license)
    shared.save_pretrained(options.out, replace=options.replace)
    size = sum(path.stat().st_size for path in options.out.iterdir())
    return {"folder": str(options.out), **_what(shared), "bytes": size}


def _push(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.sharing import SharedModel

    shared = SharedModel.from_run(options.run, options.checkpoint, license=options.license)
    # None leaves it to the hub, where an organisation may have made all models private.
    address = shared.push_to_hub(options.name, private=True if options.private else None)
    return {"address": str(address), **_what(shared)}


def _what(shared: SharedModel) -> dict[str, Any]:
    scored = {split: summary.get("miou") for split, summary in shared.facts.evaluations.items()}
    return {
        "classes": len(shared.vocabulary),
        "step": shared.facts.step,
        "miou": scored or "not evaluated: no score on the card",
    }
