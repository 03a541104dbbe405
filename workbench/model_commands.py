"""``workbench models``: what ``--model.network`` and ``--model.backbone`` may be."""

from __future__ import annotations

import argparse
from typing import Any

from workbench.command import Commands, Outcome, command


def add_models(commands: Commands) -> None:
    """Adds ``models``."""
    text = "list architectures, and backbones known to work"
    parser = command(commands, "models", _models, text)
    parser.add_argument(
        "--all",
        action="store_true",
        help="try every model of the installed timm, which takes half an hour, and list what works",
    )


def _models(options: argparse.Namespace) -> Outcome:
    from workbench.models import catalog
    from workbench.models.weights import INSTALL_OFFLINE, offline_is_installed

    trial, every = catalog.LAST_TRIAL, dict[str, tuple[int, ...]]()
    if options.all:
        trial, every = catalog.try_all()
    smp = catalog.installed_smp_networks()
    values: dict[str, Any] = {
        "networks": [*catalog.NETWORKS_TEXT, *smp],
        "backbones": [
            {
                "name": known.name,
                "kind": known.kind,
                "parameters": known.parameters,
                "output_strides": list(known.strides),
                "offline_weights": known.offline,
            }
            for known in catalog.KNOWN
        ],
        "smp_encoders": list(catalog.SMP_ENCODERS) if smp else [],
        "offline_weights_installed": offline_is_installed(),
        "timm": trial._asdict(),
    }
    if options.all:
        values["works"] = {name: list(strides) for name, strides in every.items()}
    lines = ["architectures, --model.network:"]
    lines += [f"  {name:<30} {text}" for name, text in catalog.NETWORKS_TEXT.items()]
    lines += [f"  {name:<30} of segmentation-models-pytorch" for name in smp]
    if not smp:
        lines += ["  smp-unet, smp-upernet, ...      pip install 'segmentation-workbench[smp]'"]
    lines += ["", f"backbones, --model.backbone:     parameters  {'output strides':<14}  kind"]
    for known in catalog.KNOWN:
        strides = ", ".join(map(str, known.strides))
        millions = f"{known.parameters / 1e6:.1f} M"
        note = ", offline weights" if known.offline else ""
        lines += [f"  {known.name:<30} {millions:>10}  {strides:<14}  {known.kind}{note}"]
    if smp:
        first, last = catalog.SMP_ENCODERS[0], catalog.SMP_ENCODERS[-1]
        lines += [f"  {f'{first} to {last[-2:]}':<30} with smp-... only, as its other encoders"]
    lines += [f"  {name:<30} {', '.join(map(str, every[name]))}" for name in every]
    lines += [
        "",
        f"Of timm {trial.timm}'s {trial.names} names {trial.work} work; `workbench models --all` "
        "tries those of the timm installed.",
        "The offline weights are installed."
        if values["offline_weights_installed"]
        else f"The offline weights are not installed: {INSTALL_OFFLINE}",
    ]
    return Outcome(values, "\n".join(lines))
