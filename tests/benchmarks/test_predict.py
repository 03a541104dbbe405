from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch.nn import functional

from workbench.benchmarks import harness, predict

pytestmark = pytest.mark.usefixtures("forked_workers")


def spec(method: str, classes: int = 300, distance: str = "euclidean") -> dict[str, Any]:
    return {
        "bench": "predict",
        "method": method,
        "distance": distance,
        "device": "cpu",
        "size": 64,
        "dim": 6,
        "classes": classes,
        "repetitions": 2,
    }


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "linear"])
def test_the_embedding_head_picks_the_nearest_class(distance: str) -> None:
    """Independent of the benchmark's own check: everything at once, in float64."""
    head = predict.make_head(spec("embedding", distance=distance))
    assert head.table is not None
    pixels = functional.conv2d(head.features.double(), head.project.double()[:, :, None, None])
    full = functional.interpolate(pixels, head.size, mode="bilinear")[0].flatten(1).T
    table = head.table.double()
    if distance != "linear":
        full, table = functional.normalize(full), functional.normalize(table)
    right = (full @ table.T).argmax(dim=1).reshape(head.size)
    labels = head.labels()
    assert labels.shape == (64, 64) and int(labels.max()) > 255
    assert (labels == right).double().mean() > 0.999
    assert predict.shortfall(head, labels, 4096) < 1e-4
    assert predict.shortfall(head, right, 4096) == 0.0


def test_the_dense_head_picks_the_largest_logit() -> None:
    head = predict.make_head(spec("dense"))
    assert predict.shortfall(head, head.labels(), 4096) < 1e-4


@pytest.mark.parametrize("method", ["dense", "embedding"])
def test_a_row_has_figures_and_wrong_labels_a_note(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = predict.measure_predict(spec(method))
    assert "note" not in row and row["loss_error"] < 1e-4 and row["checked"] == 4096
    assert row["pixels"] == 4096 and row["dim"] == (6 if method == "embedding" else None)
    assert row["seconds"] > 0 and row["peak_bytes"] >= 0 and row["grad_error"] is None

    original = predict.Head.labels
    monkeypatch.setattr(predict.Head, "labels", lambda head: original(head).roll(1, dims=0))
    row = predict.measure_predict(spec(method))
    assert row["loss_error"] > 0.1 and row["note"].startswith(harness.WRONG)


def test_the_command_writes_a_row_a_method(
    cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def in_process(one: Any, *, limit: int | None = None) -> Any:
        return predict.measure_predict(one)

    monkeypatch.setattr(harness, "run_isolated", in_process)
    done = cli(
        *("bench", "predict", "--classes", "30,60", "--size", 32, "--device", "cpu"),
        *("--rounds", 2, "--json", tmp_path / "rows.json", "--plot", tmp_path / "costs.png"),
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    assert [(row["method"], row["classes"]) for row in rows] == [
        ("dense", 30),
        ("embedding", 30),
        ("dense", 60),
        ("embedding", 60),
    ]
    assert {row["rounds"] for row in rows} == {2}
    assert (tmp_path / "costs.png").read_bytes().startswith(b"\x89PNG")


def test_the_dense_head_is_not_tried_without_memory() -> None:
    (row,) = predict.run_predict([9000], ["dense"], device="cpu", available=2**20)
    assert row["note"].startswith("out of memory: not tried") and row["seconds"] is None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--classes", "1"), "--classes"),
        (("--methods", "streaming"), "--methods"),
        (("--distance", "manhattan"), "--distance"),
        (("--size", 0), "--size"),
    ],
)
def test_errors_are_one_line(cli: Any, arguments: tuple[object, ...], word: str) -> None:
    done = cli("bench", "predict", *arguments)
    assert done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr


def test_nothing_is_left_of_torchs_gradient_machinery() -> None:
    assert not predict.make_head(spec("embedding")).labels().requires_grad
    assert torch.is_grad_enabled()
