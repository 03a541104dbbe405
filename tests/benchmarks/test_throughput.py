"""Images a second of whole trainings, ours beside the plain loop."""

from __future__ import annotations

import importlib.util

import pytest

from workbench.benchmarks.throughput import run_throughput
from workbench.errors import ConfigError

pytestmark = pytest.mark.usefixtures("forked_workers")


@pytest.mark.slow
def test_rows_tell_images_a_second_and_the_share_of_waiting() -> None:
    rows = run_throughput(
        (300,),
        ("plain", "streaming"),
        backbone="resnet18",
        crop=64,
        batch_size=2,
        precision="fp32",
        workers=0,
        steps=2,
        device="cpu",
    )
    assert [row["method"] for row in rows] == ["plain", "streaming"]
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        assert rows[0]["note"].startswith("not run: segmentation-models-pytorch")
        rows = rows[1:]
    for row in rows:
        assert row["note"] == "" and row["classes"] == 300
        assert row["images_per_second"] == pytest.approx(2 / row["seconds"], rel=0.01)
        assert 0 < row["loading_share"] < 1  # without loading processes reading takes its time
        assert row["peak_bytes"] > 0


def test_one_process_is_for_gpus() -> None:
    with pytest.raises(ConfigError, match="--same-process: for --device cuda"):
        run_throughput((300,), ("streaming",), crop=64, device="cpu", isolated=False)


def test_unknown_methods_are_named() -> None:
    with pytest.raises(ConfigError, match="plain, streaming, nearest, dense"):
        run_throughput((19,), ("ours",))
