from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.benchmarks import harness, loss, peers
from workbench.benchmarks.harness import Unavailable
from workbench.benchmarks.meter import PeakMeter, repeat
from workbench.benchmarks.truth import Case

pytestmark = pytest.mark.usefixtures("forked_workers")

MIB = 2**20
LOGITS = 4 * 4000 * 3000  # bytes


def spec(method: str = "streaming", distance: str = "euclidean", **more: Any) -> dict[str, Any]:
    return {
        "bench": "loss",
        "method": method,
        "distance": distance,
        "device": "cpu",
        "pixels": 200,
        "dim": 6,
        "classes": 50,
        "k": 5,
        "dtype": "fp32",
        "repetitions": 2,
        **more,
    }


@pytest.fixture(scope="module")
def measured(
    cli: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, list[dict[str, Any]], Path]:
    folder = tmp_path_factory.mktemp("bench")
    done = cli(
        *("bench", "loss", "--classes", "3000", "--pixels", 4000, "--device", "cpu"),
        *("--methods", "dense,liger,streaming", "--distances", "linear"),
        *("--json", folder / "rows.json", "--plot", folder / "costs.png"),
    )
    rows: list[dict[str, Any]] = json.loads((folder / "rows.json").read_text("utf-8"))
    return done, rows, folder


def test_rows_say_what_was_measured(measured: Any) -> None:
    done, rows, folder = measured
    assert done.returncode == 0, done.stderr
    assert [row["method"] for row in rows] == ["dense", "liger", "streaming"]
    for row in rows:
        assert {"bench", "device", "pixels", "dim", "classes", "k", "dtype"} <= row.keys()
        assert (row["bench"], row["pixels"], row["dim"], row["classes"]) == ("loss", 4000, 12, 3000)
        assert row["distance"] == "linear" and row["machine"]["torch"] == torch.__version__
    dense, liger, streaming = rows
    assert liger["note"] == "not run: Liger's kernels need a GPU"
    assert all(liger[figure] is None for figure in harness.FIGURES)
    for row in (dense, streaming):
        assert row["note"] == "" and row["seconds"] > 0 and row["checked"] == 4000
        assert row["loss_error"] < 1e-5 and row["grad_error"] < 1e-4
        assert row["pid"] != os.getpid()
    assert dense["loss"] == pytest.approx(streaming["loss"], rel=1e-5)
    assert (folder / "costs.png").read_bytes().startswith(b"\x89PNG")


def test_memory_is_what_is_taken_beyond_inputs_and_libraries(measured: Any) -> None:
    dense, _, streaming = measured[1]
    # Logits and their gradient, and little else: neither torch nor compiled kernels.
    assert 1.8 * LOGITS < dense["peak_bytes"] < 3.5 * LOGITS
    assert 0 < streaming["peak_bytes"] < 0.5 * LOGITS
    assert dense["start_bytes"] > 100 * MIB


@pytest.mark.parametrize(
    ("method", "distance"),
    [
        (name, distance)
        for name, method in peers.METHODS.items()
        for distance in method.distances
        if name not in ("cut-cross-entropy", "liger", "nearest-index")
    ],
)
def test_every_method_gives_what_float64_gives(method: str, distance: str) -> None:
    if peers.missing(method, "cpu"):
        pytest.skip(peers.missing(method, "cpu"))
    row = loss.measure_loss(spec(method, distance))
    assert "note" not in row
    assert row["loss_error"] < 1e-5 and row["grad_error"] < 1e-4
    assert 150 < row["checked"] <= 200 and row["peak_bytes"] >= 0
    assert row["k"] == (5 if method in ("nearest", "reference") else None)


def test_an_index_is_checked_against_what_it_found() -> None:
    pytest.importorskip("faiss", reason="the extra `index` is not installed")
    row = loss.measure_loss(spec("nearest-index", classes=500))
    assert "note" not in row and row["grad_error"] < 1e-4
    assert 0.9 < row["recall"] <= 1.0 and row["build_seconds"] > 0


@pytest.mark.parametrize("pixels_too", [False, True])
def test_a_wrong_result_is_called_wrong(pixels_too: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The measured run is checked too, not only the subset's: a fault may need many pixels."""

    def fast(case: Case) -> Tensor:
        value = peers._streaming(case)
        faulty = pixels_too or len(case.pixels) == 200
        return value + 0.01 * case.pixels.sum() if faulty else value

    method = peers.Method(lambda _: fast, peers.METHODS["streaming"].distances, ours=True)
    monkeypatch.setitem(peers.METHODS, "streaming", method)
    monkeypatch.setattr(loss, "_CHECK_CELLS", 50 * 40)
    row = loss.measure_loss(spec())
    assert row["checked"] == 40
    assert row["grad_error"] > 0.01
    assert row["note"].startswith(harness.WRONG)


def test_a_wrong_row_fails_the_command(
    cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = loss.describe(spec()) | dict.fromkeys(harness.FIGURES) | {"note": "wrong: all of it"}
    monkeypatch.setattr(loss, "measure_rows", lambda *_, **__: [row])
    done = cli("bench", "loss", "--json", tmp_path / "rows.json")
    assert done.returncode == 1
    assert "wrong: all of it" in done.stdout
    assert json.loads((tmp_path / "rows.json").read_text("utf-8")) == [row]
    monkeypatch.setattr(loss, "measure_rows", lambda *_, **__: [row | {"note": "not run: x"}])
    assert cli("bench", "loss").returncode == 0


def test_what_cannot_run_here_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    absent = ["cut-cross-entropy", "nearest-index"]
    rows = loss.run_loss([50], absent, ["linear"], device="cpu")
    notes = [f"not run: not installed; pip install 'workbench[{e}]'" for e in ("bench", "index")]
    assert [row["note"].replace("segmentation-", "") for row in rows] == notes

    def broken(case: Case) -> Tensor:
        raise RuntimeError("no compiler\nmore")

    monkeypatch.setitem(peers.METHODS, "torch", peers.Method(lambda _: broken))
    with pytest.raises(Unavailable, match=r"RuntimeError: no compiler$"):
        loss.measure_loss(spec("torch", "linear"))
    ours = peers.Method(lambda _: broken, ours=True)
    monkeypatch.setitem(peers.METHODS, "streaming", ours)
    with pytest.raises(RuntimeError, match="no compiler"):
        loss.measure_loss(spec("streaming", "linear"))


def test_a_method_is_left_out_where_it_does_not_know_the_distance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[str, str, int]] = []

    def record(specs: Any, *_: Any, **__: Any) -> list[Any]:
        seen.extend((one["method"], one["distance"], one["classes"]) for one in specs)
        return []

    monkeypatch.setattr(loss, "measure_rows", record)
    loss.run_loss([7], ["torch", "reference", "streaming"], device="cpu")
    assert seen == [
        ("reference", "euclidean", 7),
        ("streaming", "euclidean", 7),
        ("streaming", "cosine", 7),
        ("torch", "linear", 7),
        ("streaming", "linear", 7),
    ]


def test_dense_methods_are_not_tried_without_the_memory_for_logits() -> None:
    row, other = loss.run_loss(
        [1000], ["dense", "liger"], ["linear"], pixels=10**6, device="cpu", available=MIB
    )
    assert row["note"].startswith("out of memory: not tried") and row["peak_bytes"] is None
    assert other["note"].startswith("not run")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--classes", "1"), "--classes"),
        (("--methods", "dense,nonsense"), "nonsense"),
        (("--distances", "manhattan"), "--distances"),
        (("--methods", "torch", "--distances", "cosine"), "--distances"),
        (("--pixels", 0), "--pixels"),
        (("--dtype", "fp8"), "--dtype"),
        (("--rounds", 0), "--rounds"),
        (("--device", "abacus"), "--device"),
    ],
)
def test_errors_are_one_line(cli: Any, arguments: tuple[object, ...], word: str) -> None:
    done = cli("bench", "loss", *arguments)
    assert done.returncode == 2
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert word in line and "Traceback" not in done.stderr


def test_a_meter_starts_from_what_is_there() -> None:
    ballast = torch.ones(30 * MIB // 4)
    meter = PeakMeter("cpu")
    assert meter.start > 30 * MIB
    before = meter.above()
    more = torch.ones(40 * MIB // 4)
    del more
    assert 39 * MIB < meter.above() - before < 60 * MIB
    assert meter.peak() >= meter.start + 39 * MIB
    del ballast


def test_calls_are_repeated_until_there_is_enough() -> None:
    calls: list[int] = []
    assert repeat(lambda: calls.append(1), "cpu", at_most=4, within=60.0).repetitions == 4
    assert len(calls) == 4
    assert repeat(lambda: calls.append(1), "cpu", at_most=4, within=0.0).repetitions == 1
