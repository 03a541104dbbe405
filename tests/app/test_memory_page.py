"""What a number of classes costs: the sums, the committed measurements, the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch.utils._python_dispatch import TorchDispatchMode

from app import data_machine, memory_frames, shell
from workbench import charts, config
from workbench.benchmarks.rows import read_rows
from workbench.losses import build_loss
from workbench.memory_model import Setting, class_counts, dense_parts, parts, total

Open = Callable[..., AppTest]
MIB = 2**20


class Sizes(TorchDispatchMode):
    """Bytes of every tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.made.append(result.numel() * result.element_size())
        return result


@pytest.mark.parametrize("pixels", [0, 600])
def test_the_dense_sum_is_about_tensors_that_are_really_made(pixels: int) -> None:
    """At 300 classes: the logits, in both resolutions, have the size the sum says."""
    setting = Setting(batch=2, crop=32, pixels=pixels)
    low = torch.randn(2, 300, 8, 8, requires_grad=True)
    mask = torch.randint(0, 300, (2, 32, 32))
    loss = build_loss(config.Loss(name="dense", pixels=pixels), "euclidean")
    with Sizes() as sizes:
        (loss(low, None, mask).sum).backward()
    named = {part.name: part.bytes for part in dense_parts(300, setting)}
    full = named["Logits"]
    assert sizes.made.count(full) >= 3  # logits, log-probabilities, gradient
    assert max(sizes.made) == max(full, low.numel() * 4)
    copies = 2 if pixels else 1
    in_low = next(size for name, size in named.items() if "low resolution" in name)
    assert in_low == copies * low.numel() * low.element_size()


def test_the_table_is_what_the_optimiser_makes_of_it() -> None:
    setting = Setting(dim=12, optimizer=2, normalized=False)
    table = torch.nn.Parameter(torch.randn(1000, 12))
    optimizer = torch.optim.AdamW([table])
    table.sum().backward()
    optimizer.step()
    assert table.grad is not None
    state = [value for value in optimizer.state[table].values() if value.numel() > 1]
    really = sum(tensor.numel() * tensor.element_size() for tensor in (table, table.grad, *state))
    assert parts("embedding", 1000, setting)[-1].bytes == really


def test_the_sums_by_hand() -> None:
    setting = Setting(batch=2, crop=512)
    full = 2 * 1284 * 512 * 512 * 4
    assert total("dense", 1284, setting) == 3 * full + full // 16
    assert total("embedding", 1284, setting) < total("dense", 1284, setting) / 100
    grows = [total("embedding", count, setting) for count in (10_000, 1_000_000)]
    assert grows[1] - grows[0] == 990_000 * 12 * 4 * 5  # the table alone
    with pytest.raises(ValueError, match="no head 'both'"):
        parts("both", 10, setting)


@pytest.fixture(scope="module")
def committed(repository: Path) -> pd.DataFrame:
    rows = [
        row
        for name in ("step", "memory")
        for row in read_rows(repository / "benchmarks" / f"{name}.json")
        if row["device"] == "cpu"
    ]
    return memory_frames.measured(rows)


def test_the_dense_sum_is_what_was_measured(committed: pd.DataFrame) -> None:
    """Where the logits are not lost in the network's own ups and downs.

    Over all pixels within a fifth; over drawn ones autograd holds up to as much again.
    """
    large = committed[(committed["head"] == "dense") & (committed["formula"] > 256 * MIB)]
    assert len(large) >= 2
    ratio = large["bytes"] / large["formula"]
    assert ratio.gt(1 / 1.2).all()
    assert ratio[large["pixels"] == 0].lt(1.2).all()
    assert ratio.lt(2.0).all()


def test_the_embedding_sum_differs_by_the_same_at_every_number_of_classes(
    committed: pd.DataFrame,
) -> None:
    """Libraries on one side, a budget hardly used on the other; no class adds more than noise."""
    rows = committed[committed["head"] == "embedding"]
    assert rows["classes"].max() >= 1_000_000
    difference = (rows["bytes"] - rows["formula"]) / MIB
    assert difference.between(-64, 200).all()
    assert difference.max() - difference.min() < 150
    growth = rows[rows["pixels"] == rows.loc[rows["classes"].idxmax(), "pixels"]]
    for _, method in growth.groupby("method"):
        low, high = (method[method["classes"] == pick] for pick in (1284, 1_000_000))
        measured = int(high["bytes"].iloc[0] - low["bytes"].iloc[0])
        formula = int(high["formula"].iloc[0] - low["formula"].iloc[0])
        assert 1 / 1.3 < measured / formula < 1.3


def test_rows_without_figures_are_left_out() -> None:
    good = {
        "method": "dense",
        "classes": 300,
        "crop": 64,
        "batch_size": 1,
        "pixels": 4096,
        "sampled": False,
        "peak_bytes": 30 * MIB,
        "baseline_bytes": 10 * MIB,
        "seconds": 1.0,
    }
    bad = [{**good, "peak_bytes": None, "note": "out of memory"}, {"bench": "loss"}, {}]
    table = memory_frames.measured([good, *bad])
    assert table["bytes"].tolist() == [20 * MIB]
    assert table["formula"].tolist() == [total("dense", 300, Setting(batch=1, crop=64))]
    assert memory_frames.measured([]).empty
    assert len(memory_frames.like(table, Setting(batch=1, crop=64, dim=99))) == 1
    assert memory_frames.like(table, Setting(batch=2, crop=64)).empty


@pytest.mark.parametrize(
    "settings", [{}, {"train": None, "data": 3}, {"train": {"batch_size": "x"}, "loss": {}}]
)
def test_a_run_that_does_not_say_gets_the_usual_setting(settings: dict[str, Any]) -> None:
    assert memory_frames.setting_of(settings) == Setting()


def test_a_run_s_own_setting() -> None:
    run = config.Run(
        data=config.Data(crop=320),
        model=config.Model(embedding_dim=48, distance="linear", temperature=1.0),
        loss=config.Loss(name="streaming", pixels=8192, budget_mb=32.0),
        train=config.Train(batch_size=7, optimizer="adamw"),
    )
    assert memory_frames.setting_of(config.to_dict(run)) == Setting(
        batch=7,
        crop=320,
        dim=48,
        pixels=8192,
        budget=32 * MIB,
        optimizer=2,
        normalized=False,
    )


def test_charts_show_the_sums() -> None:
    setting = Setting()
    curves = memory_frames.curves(class_counts(10_000, extra=1284), setting)
    nothing = memory_frames.measured([])
    figure = charts.memory_against_classes(curves, nothing, classes=1284, limit=2**35)
    dense = next(trace for trace in figure.data if trace.name == "dense head, formula")
    at = list(dense.x).index(1284)
    assert dense.y[at] == total("dense", 1284, setting)
    assert np.all(np.diff(np.asarray(dense.y, dtype=float)) > 0)
    bars = charts.memory_bars(memory_frames.parts_table(1284, setting))
    stacked = sum(bar.x[0] for bar in bars.data if bar.type == "bar" and bar.y[0] == "dense")
    assert stacked * 2**30 == pytest.approx(total("dense", 1284, setting))
    shown = [charts.bytes_text(value) for value in (5, 2048, 3.5 * MIB, 7.66 * 2**30, 1200 * 2**30)]
    assert shown == ["5 B", "2.00 KiB", "3.50 MiB", "7.66 GiB", "1.17 TiB"]


def words(app: AppTest) -> str:
    return "\n".join(
        str(part.value) for part in [*app.caption, *app.info, *app.code, *app.markdown]
    )


def test_page_opens_with_the_run_s_own_numbers(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, "views/memory.py")
    assert not app.exception and not app.error
    assert app.number_input(key="memory_classes").value == 1284
    assert app.number_input(key="memory_dim").value == 24
    shown = {metric.label: metric.value for metric in app.metric}
    setting = memory_frames.setting_of({"model": {"embedding_dim": 24}})
    assert shown["Dense head"] == charts.bytes_text(total("dense", 1284, setting))
    app.number_input(key="memory_classes").set_value(100_000).run()
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Dense head"] == charts.bytes_text(total("dense", 100_000, setting))
    assert not app.exception


def test_choices_are_kept_from_page_to_page(synthetic_runs: Path, open_app: Open) -> None:
    app = open_app(synthetic_runs, "views/memory.py")
    app.number_input(key="memory_crop").set_value(1024).run()
    app.switch_page("views/classes.py").run()
    app.switch_page("views/memory.py").run()
    assert app.number_input(key="memory_crop").value == 1024


def test_the_measured_setting_and_machine(
    synthetic_runs: Path, open_app: Open, repository: Path
) -> None:
    app = open_app(synthetic_runs, "views/memory.py")
    next(button for button in app.button if button.label == "As measured").click().run()
    assert not app.exception
    row = read_rows(repository / "benchmarks" / "step.json")[0]
    assert app.number_input(key="memory_crop").value == row["crop"]
    assert str(row["machine"]["cpu_count"]) + " cores" in words(app)
    assert app.dataframe[-1].value["measured"].gt(0).all()


def test_the_run_s_own_setting_comes_back(repository: Path, open_app: Open) -> None:
    """Its 8,192 drawn pixels are none of the usual choices."""
    app = open_app(repository / "runs", "views/memory.py", run="demo")
    own = app.selectbox(key="memory_pixels").value
    app.selectbox(key="memory_pixels").set_value(0).run()
    next(button for button in app.button if button.label == "This run").click().run()
    assert not app.exception
    assert app.selectbox(key="memory_pixels").value == own == 8192


def test_without_measurements_the_command_is_named(
    synthetic_runs: Path, open_app: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "REPOSITORY", tmp_path)
    app = open_app(synthetic_runs, "views/memory.py")
    assert not app.exception
    assert "workbench bench memory --json" in words(app)


def test_new_measurements_are_noticed_and_broken_ones_skipped(tmp_path: Path) -> None:
    assert data_machine.benchmark_rows(str(tmp_path)) == []
    (tmp_path / "memory.json").write_text(json.dumps([{"bench": "memory"}]))
    assert data_machine.benchmark_rows(str(tmp_path)) == [{"bench": "memory"}]
    (tmp_path / "step.json").write_text("{half")
    assert data_machine.benchmark_rows(str(tmp_path)) == [{"bench": "memory"}]
