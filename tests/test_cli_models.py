"""`workbench models` as typed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from workbench.models import catalog

Cli = Callable[..., Any]


def test_the_list_names_what_configurations_take(cli: Cli) -> None:
    done = cli("models", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert {"deeplabv3plus", "small"} <= set(values["networks"])
    backbones = {backbone["name"]: backbone for backbone in values["backbones"]}
    assert {"mobilenetv2_100", "resnet50", "resnet101", "pvt_v2_b0"} <= set(backbones)
    assert backbones["vit_small_patch14_dinov2"] == {
        "name": "vit_small_patch14_dinov2",
        "kind": "transformer",
        "parameters": 22_055_424,
        "output_strides": [16],
        "offline_weights": False,
    }
    offline = [name for name, backbone in backbones.items() if backbone["offline_weights"]]
    assert offline == ["tf_efficientnet_lite0"]
    assert values["timm"] == catalog.LAST_TRIAL._asdict() and "works" not in values
    assert "mit_b0" in values["smp_encoders"]
    text = cli("models").stdout
    assert "  mit_b0 to b5 " in text
    for name in (*values["networks"], *backbones):
        assert f"  {name} " in text


def test_the_list_builds_nothing() -> None:
    """Neither timm nor segmentation-models-pytorch is loaded, each of which takes seconds."""
    code = (
        "import sys; from workbench.__main__ import main; main(['models']);"
        "print(*({'timm', 'segmentation_models_pytorch'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "resnet101" in done.stdout and done.stderr.split() == []


def test_all_tries_the_installed_timm(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["levit_128s", "test_resnet", "test_vit"]
    monkeypatch.setattr(catalog, "timm_names", lambda: names)
    done = cli("models", "--all", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["works"] == {"test_resnet": [8, 16, 32], "test_vit": [16]}
    assert values["timm"]["names"] == 3 and values["timm"]["work"] == 2
    assert "Of timm" in cli("models", "--all").stdout
