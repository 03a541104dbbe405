"""Architectures measured, and the page about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.benchmarks import report_models
from workbench.benchmarks.models import Pair, all_pairs, parse_pairs, run_models
from workbench.errors import ConfigError, DataError
from workbench.models import network_names

pytestmark = pytest.mark.usefixtures("forked_workers")

MIB = 2**20


def test_every_network_is_measured_and_no_pair_twice() -> None:
    pairs = all_pairs()
    assert {pair.network for pair in pairs} == set(network_names())
    assert len({pair[:2] for pair in pairs}) == len(pairs) > 20


def test_rows_of_fresh_processes() -> None:
    pairs = [Pair("small"), Pair("smp-pspnet", "test_resnet"), Pair("smp-unet", "resnet18")]
    rows = run_models(pairs, classes=300, crop=64, dim=5, device="cpu")
    assert [(row["network"], row["backbone"]) for row in rows] == [
        *(("small", None), ("smp-pspnet", "test_resnet"), ("smp-unet", "resnet18"))
    ]
    assert [row["cell"] for row in rows] == [4, 8, 1]
    assert [row["output_stride"] for row in rows] == [None, 16, 16]
    for row in rows:
        assert row["note"] == "" and row["method"] == "streaming"
        assert (row["classes"], row["dim"], row["crop"]) == (300, 5, 64)
        assert row["peak_bytes"] > row["start_bytes"] > 0 and row["seconds"] > 0
        assert row["loss_error"] < 1e-4
    assert len({row["pid"] for row in rows}) == 3
    unet = rows[2]["parameters"]
    # smp's Unet over ResNet-18 with one output has 14,328,209 parameters; ours has 5, 3x3 over 16.
    assert unet == 14_328_209 + 4 * (16 * 9 + 1)


def test_pairs_as_they_are_typed() -> None:
    assert parse_pairs("small,smp-unet:resnet18,deeplabv3plus:pvt_v2_b0:32") == [
        Pair("small"),
        Pair("smp-unet", "resnet18"),
        Pair("deeplabv3plus", "pvt_v2_b0", 32),
    ]


@pytest.mark.parametrize("text", ["", "small,", "a:b:c", "a:b:8:9", ":resnet18"])
def test_pairs_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--pairs: network:backbone"):
        parse_pairs(text)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"steps": 0}, "--steps: at least 1"),
        ({"classes": 1}, "--classes: at least 2"),
        ({"rounds": 0}, "--rounds: at least 1"),
        ({"device": "tpu"}, "--device: choose one of"),
        ({"overrides": {"model.backbone": "resnet18"}}, "--model.backbone: .*--pairs"),
        ({"overrides": {"loss.name": "dense"}}, "--loss.name"),
        ({"pairs": [Pair("smp-unett", "resnet18")]}, "--pairs: unknown network 'smp-unett'"),
        ({"pairs": [Pair("deeplabv3plus", "resnet18", 7)]}, "model.output_stride"),
    ],
)
def test_what_cannot_be_measured_is_one_line(options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what) as error:
        run_models(**{"pairs": [Pair("small")], "device": "cpu", **options})
    assert "\n" not in str(error.value)


def row(network: str, backbone: str | None, peak: int | None, **more: Any) -> dict[str, Any]:
    return {
        "network": network,
        "backbone": backbone,
        "parameters": 12_340_000,
        "cell": 4.0,
        "device": "cpu",
        "threads": 3,
        "classes": 1284,
        "dim": 64,
        "crop": 256,
        "batch_size": 2,
        "pixels": 131_072,
        "dtype": "fp32",
        "steps": 1,
        "rounds": 1,
        "start_bytes": 700 * MIB,
        "peak_bytes": None if peak is None else peak * MIB,
        "seconds": 1.5,
        "cpu_seconds": 0.75,
        "note": "",
        "machine": {
            **{"cpu": "Abacus 3", "cpu_count": 7, "ram_bytes": 24 * 2**30, "torch": "9.9"},
            **{"gpus": ["Gamma"], "load": 0.1},
        },
        **more,
    }


def test_the_page_has_a_line_for_every_row() -> None:
    page = report_models.render_models([row("small", None, 1200), row("smp-unet", "mit_b0", 3456)])
    assert "| `small` |  | 12.3 | 1/4 | 1.50 | 0.750 | 1,200 |" in page
    assert "| `smp-unet` | `mit_b0` | 12.3 | 1/4 | 1.50 | 0.750 | 3,456 |" in page
    assert "## What a training step costs at 1,284 classes" in page
    assert "2 images of 256 x 256 pixels, D = 64" in page and "82,176 more" in page
    assert "on 3 of the cores" in page and "Abacus 3, 7 cores" in page
    assert "```sh\nworkbench bench models --json benchmarks/models.json\n```" in page
    assert "Other work" not in page and "{" not in page


def test_other_settings_are_told() -> None:
    rows = [row("small", None, 9, crop=96, steps=4, device="cuda")]
    page = report_models.render_models(rows)
    assert "workbench bench models --crop 96 --steps 4 --json" in page
    assert "medians of 4 steps after one more." in page and "Gamma" in page


def test_a_busy_machine_is_said_so() -> None:
    busy = row("small", None, 9)
    busy["machine"]["load"] = 1.7
    assert "load 1.7 before the first line" in report_models.render_models([busy])


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([row("small", None, None, note="out of memory: 9")], "small did not run: out of memory"),
        ([row("smp-unet", "mit_b0", 9, note="wrong: 1")], "smp-unet over mit_b0 did not run"),
        ([row("small", None, 9), row("small", None, 9, crop=64)], "of several settings"),
    ],
)
def test_only_what_ran_is_on_the_page(rows: list[dict[str, Any]], what: str) -> None:
    with pytest.raises(DataError, match=what):
        report_models.render_models(rows)


def test_the_page_is_that_of_the_rows(repository: Path) -> None:
    rows = json.loads((repository / "benchmarks/models.json").read_text(encoding="utf-8"))
    page = (repository / "docs/models.md").read_text(encoding="utf-8")
    assert page == report_models.render_models(rows)
    assert {row["network"] for row in rows} == set(network_names())
    assert {row["classes"] for row in rows} == {1284}
    for pair in all_pairs():
        assert f"| `{pair.network}` | {f'`{pair.backbone}`' if pair.backbone else ''} |" in page
