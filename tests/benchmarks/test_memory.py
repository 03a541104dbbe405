from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest
import torch

from workbench import config
from workbench.benchmarks import harness, memory, step
from workbench.benchmarks.harness import OutOfMemory, run_isolated
from workbench.errors import ConfigError, WorkbenchError, is_out_of_memory
from workbench.losses import LossTerms, SegmentationLoss
from workbench.trainers.trainer import Trainer

pytestmark = pytest.mark.usefixtures("forked_workers")

MIB = 2**20
FEW, MANY = 21, 3000
BUDGET = 8 * MIB
# A (4, 3000, 64, 64) fp32 tensor has 188 MiB; whatever else is made is far below that.
LOGITS = 4 * 4 * MANY * 64 * 64
TINY = [
    *("--network", "small", "--crop", 64, "--batch-size", 4, "--steps", 1, "--device", "cpu"),
    *("--model.width", 16, "--loss.budget_mb", 8),
]


@pytest.fixture(scope="module")
def rows(cli: Any, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    file = tmp_path_factory.mktemp("bench") / "new" / "rows.json"
    counts = f"{FEW},{MANY}"
    done = cli("bench", "memory", "--classes", counts, "--json", file, *TINY)
    assert done.returncode == 0, done.stderr
    assert f"dense {MANY}" in done.stdout  # a summary is printed as well
    assert "bench memory" in done.stderr  # and progress is shown
    loaded: list[dict[str, Any]] = json.loads(file.read_text("utf-8"))
    return loaded


def pick(rows: list[dict[str, Any]], method: str, classes: int) -> dict[str, Any]:
    (row,) = (r for r in rows if (r["method"], r["classes"]) == (method, classes))
    return row


def test_every_method_is_measured_at_every_class_count(rows: list[dict[str, Any]]) -> None:
    measured = [(row["method"], row["classes"]) for row in rows]
    methods = ("dense", "nearest", "streaming")
    assert measured == [(method, count) for method in methods for count in (FEW, MANY)]


def test_rows_say_what_was_measured(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert {"bench", "method", "device", "classes", "peak_bytes", "seconds"} <= row.keys()
        assert row["bench"] == "memory"
        assert row["network"] == "small" and row["backbone"] is None
        assert (row["crop"], row["batch_size"], row["pixels"]) == (64, 4, 4 * 64 * 64)
        assert row["dim"] == (None if row["method"] == "dense" else 12)
        assert row["k"] == (7 if row["method"] == "nearest" else None)
        assert 0 < row["start_bytes"] < row["peak_bytes"]
        assert 0 < row["seconds"] < 60
        assert row["loss"] > 0
        assert row["loss_error"] < 1e-5 and row["grad_error"] < 1e-4
        assert row["table_bytes"] == (0 if row["method"] == "dense" else table(row["classes"]))
        assert row["note"] == ""
        assert row["machine"]["torch"] == torch.__version__
        assert row["machine"]["ram_bytes"] > row["peak_bytes"]


def table(classes: int) -> int:
    """Weights and momentum."""
    return 2 * 4 * 12 * classes


def test_every_row_comes_from_a_process_of_its_own(rows: list[dict[str, Any]]) -> None:
    assert len({row["pid"] for row in rows} | {os.getpid()}) == len(rows) + 1


def test_the_baseline_is_below_every_peak(rows: list[dict[str, Any]]) -> None:
    assert len({row["baseline_bytes"] for row in rows}) == 1
    for row in rows:
        # Two processes that do the same differ by a few MiB.
        assert row["peak_bytes"] > row["baseline_bytes"] - 8 * MIB


def test_memory_grows_with_classes_for_dense_only(rows: list[dict[str, Any]]) -> None:
    growth = {
        method: pick(rows, method, MANY)["peak_bytes"] - pick(rows, method, FEW)["peak_bytes"]
        for method in ("dense", "nearest", "streaming")
    }
    # At least logits and their gradient; not more than a handful of such tensors.
    assert 1.8 * LOGITS < growth["dense"] < 6 * LOGITS
    # At few classes the scores do not fill the budget; at many they never exceed it much.
    for method in ("nearest", "streaming"):
        assert growth[method] < 4 * BUDGET, growth


def test_the_loss_of_the_first_steps_is_near_that_of_guessing(rows: list[dict[str, Any]]) -> None:
    """The step is a real one: untrained, C classes cost about log C in the dense head."""
    assert pick(rows, "dense", MANY)["loss"] == pytest.approx(8.006, abs=0.5)  # log 3000


def test_what_is_too_large_is_not_tried() -> None:
    (row,) = measure(100_000, available=2 * 1024 * MIB)
    assert row["peak_bytes"] is None and row["seconds"] is None
    assert "not tried" in row["note"] and "GiB" in row["note"]
    assert row["classes"] == 100_000 and row["machine"]["torch"]


def test_a_process_that_runs_out_of_memory_becomes_a_row() -> None:
    """The logits alone would fit, the step does not."""
    (row,) = measure(20_000, available=1400 * MIB)
    assert step.dense_bytes(spec_of(20_000)) < 1400 * MIB
    assert row["peak_bytes"] is None
    assert row["note"].startswith("out of memory: ")
    assert "not tried" not in row["note"]


def measure(classes: int, *, available: int) -> list[dict[str, Any]]:
    return memory.run_memory(
        [classes], ["dense"], run_config=tiny(), steps=1, device="cpu", available=available
    )


def spec_of(classes: int, method: str = "dense") -> dict[str, Any]:
    return spec_from(tiny(), classes, method)


def spec_from(settings: config.Run, classes: int, method: str = "dense") -> dict[str, Any]:
    spec = step.make_spec(settings, method, classes, bench="memory", steps=1, device="cpu")
    return dict(spec)


def tiny() -> config.Run:
    return step.step_config(network="small", crop=64, batch_size=4, overrides={"model.width": "16"})


def test_the_step_without_a_head_trains_every_weight() -> None:
    settings = tiny()
    trainer: Trainer = step.make_trainer(settings, step.NO_HEAD, 0)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train_step(step.random_batch(settings, 0))
    after = dict(trainer.model.named_parameters())
    assert before.keys() == after.keys() and "network.project.weight" in after
    assert "table.weight" not in after
    moved = [name for name, value in after.items() if not torch.equal(value, before[name])]
    # A convolution's mean is taken out by the normalisation behind it: its weight may stay.
    assert {"network.project.weight", "network.stem.1.weight"} <= set(moved)


@pytest.mark.parametrize("method", ["dense", "nearest", "streaming"])
def test_the_loss_of_a_step_is_checked(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.from_dict(spec_of(40, method)["config"])
    trainer = step.make_trainer(settings, method, 40)
    batch = step.random_batch(settings, 40)
    errors = step.check_loss(trainer, batch)
    assert errors.loss < 1e-5 and errors.gradient < 1e-4

    original = type(trainer.loss).forward

    def wrong(self: SegmentationLoss, *arguments: Any) -> LossTerms:
        terms = original(self, *arguments)
        return terms._replace(sum=1.01 * terms.sum)

    monkeypatch.setattr(type(trainer.loss), "forward", wrong)
    errors = step.check_loss(trainer, batch)
    assert errors.loss == pytest.approx(0.01, rel=1e-3)
    assert errors.gradient == pytest.approx(0.01, rel=1e-2)


def test_step_measures_all_pixels_and_sampled_ones(
    cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(memory, "measure_rows", lambda specs, *_, **__: fake_rows(specs, asked))
    cli("bench", "step", "--classes", "21", "--methods", "streaming")
    cli("bench", "step", "--classes", "21", "--methods", "streaming", "--loss.pixels", 50)
    cli("bench", "memory", "--classes", "21", "--methods", "streaming")
    everything = 2 * 512 * 512
    assert asked == [[everything, 16384], [50], [everything]]


def fake_rows(specs: Any, asked: list[Any]) -> list[dict[str, Any]]:
    rows = [step.describe(spec) for spec in specs]
    asked.append([row["pixels"] for row in rows[1:]])
    assert rows[0]["method"] == step.NO_HEAD
    return [row | dict.fromkeys(harness.FIGURES) | {"note": ""} for row in rows]


def test_rounds_become_one_row() -> None:
    rows = [
        {
            **{"classes": 5, "seconds": 3.0, "peak_bytes": 70, "grad_error": 1e-6, "note": ""},
            **{"images_per_second": 4.0},
        },
        {"classes": 5, "seconds": 1.0, "peak_bytes": 90, "grad_error": 1e-3, "note": "wrong: x"},
        {"classes": 5, "seconds": 2.0, "peak_bytes": 80, "grad_error": None, "note": ""},
        {"classes": 5, "seconds": 2.0, "peak_bytes": 80, "note": "", "images_per_second": 8.0},
    ]
    (merged,) = [harness.merge_rounds(rows)]
    assert merged == {
        "classes": 5,
        "seconds": 2.0,
        "peak_bytes": 90,
        "grad_error": 1e-3,
        "note": "wrong: x",
        "images_per_second": 6.0,
        "rounds": 4,
    }


def test_masks_use_all_classes() -> None:
    batch = step.random_batch(tiny(), 1284)
    assert batch.images.shape == (4, 3, 64, 64) and batch.images.dtype == torch.uint8
    assert batch.masks.dtype == torch.int64
    assert set(batch.masks.unique().tolist()) == set(range(1284))


def test_settings_have_the_last_word() -> None:
    settings = step.step_config(crop=64, overrides={"data.crop": "96", "loss.pixels": "100"})
    assert settings.data.crop == 96 and settings.loss.pixels == 100
    assert step.step_config().loss.pixels == 0
    # Of a hundred pixels only, but the network makes logits at a quarter of the resolution.
    assert step.dense_bytes(spec_from(settings, 300)) == 4 * 300 * 2 * 24 * 24
    assert step.dense_bytes(spec_of(300)) == 4 * 300 * 4 * 64 * 64
    assert step.dense_bytes(spec_of(300, "streaming")) == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--classes", "21,many"), "--classes"),
        (("--classes", ""), "--classes"),
        (("--classes", "1"), "--classes"),
        (("--methods", "dense,nonsense"), "nonsense"),
        (("--steps", 0), "--steps"),
        (("--device", "abacus"), "--device"),
        (("--crop", 3), "data.crop"),
        (("--loss.name", "dense"), "--methods"),
        (("--model.width", "wide"), "width"),
        (("--network", "no-such", "--classes", "21"), "no-such"),
    ],
)
def test_errors_are_one_line(cli: Any, arguments: tuple[object, ...], word: str) -> None:
    done = cli("bench", "memory", *arguments)
    assert done.returncode == 2
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
    assert word in line
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_rows_can_be_printed_as_json(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"method": "dense", "classes": 300, "pixels": 9, "peak_bytes": None, "note": "x"}
    monkeypatch.setattr(memory, "run_memory", lambda *args, **options: [row])
    assert json.loads(cli("bench", "memory", "--json").stdout) == [row]


def test_a_defect_in_the_worker_is_not_taken_for_missing_memory() -> None:
    with pytest.raises(RuntimeError, match="ended with code"):
        run_isolated({"bench": "memory", "device": "cpu"})
    with pytest.raises(WorkbenchError, match="unknown bench 'speed'"):
        run_isolated({"bench": "speed", "device": "cpu"})


def test_a_killed_process_ran_out_of_memory() -> None:
    with pytest.raises(OutOfMemory, match="killed"):
        harness._read_answer("", -signal.SIGKILL, "")
    with pytest.raises(RuntimeError, match=r"(?s)code -11.*last words"):
        harness._read_answer("", -signal.SIGSEGV, "last words")


def test_the_ways_to_run_out_of_memory() -> None:
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ConfigError("out of memory"))
    assert not is_out_of_memory(OutOfMemory("a measurement said so already"))
