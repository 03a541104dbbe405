from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from workbench.benchmarks import harness, predict_files, report_files

pytestmark = pytest.mark.usefixtures("forked_workers")


def spec(method: str) -> dict[str, Any]:
    return {
        **{"bench": "predict-files", "method": method, "device": "cpu", "classes": 300},
        **{"size": 64, "dim": 6, "backbone": "mobilenetv2_050", "pictures": 1},
    }


@pytest.mark.parametrize("method", predict_files.METHODS)
def test_every_method_writes_what_its_model_says(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = predict_files.measure_predict_files(spec(method))
    assert "note" not in row and row["seconds"] > 0 and row["peak_bytes"] >= 0
    assert row["dim"] == (6 if method == "embedding" else None)
    real = predict_files.predict_labels
    monkeypatch.setattr(predict_files, "predict_labels", lambda *given: real(*given) + 1)
    assert predict_files.measure_predict_files(spec(method))["note"].startswith(harness.WRONG)


def test_photos_are_no_flat_areas(tmp_path: Path) -> None:
    (one, other) = predict_files.draw_photos(tmp_path / "photos", 2, 128)
    with Image.open(one) as first, Image.open(other) as second:
        assert first.size == (128, 128) and first.format == "JPEG"
        assert np.asarray(first).std() > 20
        assert not np.array_equal(np.asarray(first), np.asarray(second))


def test_the_command_writes_rows_and_the_page_has_them(
    cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def in_process(one: Any, *, limit: int | None = None) -> Any:
        return {
            **predict_files.describe(one),
            "peak_bytes": 2**20,
            "seconds": 0.5,
            "cpu_seconds": 1.5,
        } | ({"seconds": 2.0} if one["method"] == "torch" else {})

    monkeypatch.setattr(harness, "run_isolated", in_process)
    done = cli(
        *("bench", "predict-files", "--sizes", "64,96", "--device", "cpu", "--rounds", 2),
        *("--json", tmp_path / "rows.json"),
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text("utf-8"))
    assert [(row["size"], row["method"]) for row in rows] == [
        (size, method) for size in (64, 96) for method in predict_files.METHODS
    ]
    assert [row["images_per_second"] for row in rows[:3]] == [2.0, 2.0, 0.5]
    page = report_files.render_files(rows)
    assert "| 96 | embedding | 2 | 4.00 | 1.50 | 1.0 |" in page
    assert "| 64 | torch | 0.5 | 1.00 | 1.50 | 1.0 |" in page
    large = [{**rows[0], "size": 2048, "peak_bytes": 100 * 2**20}]
    assert "| 2,048 | 4.2 | 1.50 | 100 | 20 | 80 |" in report_files.render_large(large)


def test_a_row_without_memory_says_so() -> None:
    rows = predict_files.run_predict_files([2048], ["torch"], device="cpu", available=2**20)
    assert rows[0]["note"].startswith("out of memory: not tried")
    assert rows[0]["images_per_second"] is None
    assert "not tried" in report_files.render_files(rows)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--methods", "streaming"), "--methods"),
        (("--sizes", "8"), "--sizes"),
        (("--sizes", "x"), "--sizes"),
        (("--classes", 1), "--classes"),
        (("--pictures", 0), "--pictures"),
    ],
)
def test_errors_are_one_line(cli: Any, arguments: tuple[object, ...], word: str) -> None:
    done = cli("bench", "predict-files", *arguments)
    assert done.returncode == 2 and word in done.stderr and "Traceback" not in done.stderr
