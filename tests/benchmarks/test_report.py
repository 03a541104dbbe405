from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from workbench.benchmarks import (
    report,
    report_loss,
    report_prepare,
    report_steps,
    report_targets,
)
from workbench.errors import DataError

MIB = 2**20


def row(method: str, classes: int, peak: int | None, cpu: float = 1.0) -> dict[str, Any]:
    return {
        "bench": "step",
        "method": method,
        "device": "cpu",
        "classes": classes,
        "pixels": 2 * 256 * 256,
        "sampled": False,
        "crop": 256,
        "batch_size": 2,
        "steps": 3,
        "dtype": "fp32",
        "network": "deeplabv3plus",
        "backbone": "some_net",
        "separation": True,
        "peak_bytes": None if peak is None else peak * MIB,
        "baseline_bytes": 1000 * MIB,
        "baseline_seconds": 0.5,
        "start_bytes": None if peak is None else 500 * MIB,
        "table_bytes": None if peak is None else 40 * MIB,
        "seconds": None if peak is None else 2 * cpu,
        "cpu_seconds": None if peak is None else cpu,
        "note": "" if peak is not None else "out of memory: not tried",
        "rounds": 1,
        "machine": {
            "cpu": "Abacus 3",
            "cpu_count": 7,
            "ram_bytes": 24 * 2**30,
            "torch": "9.9",
            "gpus": ["Gamma"],
            "load": 0.1,
        },
    }


ROWS = [
    row("dense", 21, 1200),
    row("dense", 1284, 5000, cpu=12.0),
    row("streaming", 21, 1100),
    row("streaming", 1284, 1200, cpu=3.0),
]
SAMPLED = [r | {"sampled": True, "pixels": 16384, "seconds": r["seconds"] / 4} for r in ROWS]
MILLION = [row("streaming", 21, 1040), row("streaming", 1_000_000, 1140)]
MILLION[0]["table_bytes"] = 0


def loss_row(method: str, classes: int, peak: float | None, **more: Any) -> dict[str, Any]:
    figures = {"loss": 3.0, "loss_error": 1e-7, "grad_error": 2e-6, "seconds": 0.25}
    figures |= {"cpu_seconds": 0.5, "peak_bytes": peak and int(peak * MIB)}
    if peak is None:
        figures = dict.fromkeys(figures)
    return {
        "bench": "loss",
        "method": method,
        "distance": "linear",
        "device": "cpu",
        "pixels": 65536,
        "dim": 12,
        "classes": classes,
        "k": 7 if method == "nearest" else None,
        "dtype": "fp32",
        **figures,
        "repetitions": 7,
        "checked": 13066,
        "note": "",
        "rounds": 1,
        "machine": ROWS[0]["machine"],
        **more,
    }


LOSS = [
    loss_row("torch", 1284, 40, seconds=0.5),
    loss_row("liger", 1284, None, note="not run: Liger's kernels need a GPU"),
    loss_row("nearest", 1284, 9.2, seconds=0.3),
    loss_row("streaming", 1284, 10),
]


def test_the_table_has_a_line_a_row() -> None:
    lines = report_steps.table(ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert "| dense | 1,284 | 5,000 | 4,000 | 24.0 | 12.0 |" in lines
    assert len({line.count("|") for line in lines}) == 1


def test_a_failed_row_shows_its_reason_and_a_wrong_one_what_is_wrong() -> None:
    lines = report_steps.table([row("dense", 100_000, None)]).splitlines()
    assert lines[2] == "| dense | 100,000 | out of memory: not tried | | | |"
    wrong = report_steps.table([ROWS[0] | {"note": "wrong: it is"}]).splitlines()
    assert wrong[-1] == "- dense at 21: wrong: it is"


def test_ratios_are_those_of_the_rows() -> None:
    found = dict(report_steps.ratios(ROWS))
    assert found == {
        "peak, streaming at 1,284 classes / dense at 21": pytest.approx(1.0),
        "peak above the network at 1,284 classes, dense / streaming": pytest.approx(20.0),
        "time of a step at 1,284 classes, dense / streaming": pytest.approx(4.0),
    }


def test_ratios_leave_out_what_is_missing() -> None:
    failed = [ROWS[0], row("dense", 1284, None), *ROWS[2:]]
    found = list(dict(report_steps.ratios(failed)))
    assert found == ["peak, streaming at 1,284 classes / dense at 21"]
    assert list(report_steps.ratios(ROWS[:2])) == []


def test_memory_that_cannot_be_told_from_none_counts_as_a_mebibyte() -> None:
    assert report_steps.saving(ROWS[1], row("streaming", 1284, 900)) == 4000.0


def test_the_page_names_step_machine_and_command() -> None:
    page = report.render_page({"step": [*ROWS, *SAMPLED]})
    for words in (
        "deeplabv3plus over some_net, 2 images of 256 x 256 pixels",
        "Abacus 3, 7 cores, 24 GiB, torch 9.9",
        "bench step --classes 21,1284 --json",
        "The loss over all 131,072 pixels",
        "The loss over 16,384 sampled pixels",
        "**20**",
    ):
        assert words in page
    assert "Other work" not in page
    page = report.render_page({"step": [ROWS[0] | {"device": "cuda"}]})
    assert "Gamma (host: Abacus 3" in page


def test_busy_machines_are_named_and_ratios_kept() -> None:
    busy = [{**row, "machine": row["machine"] | {"load": 1.9}} for row in ROWS]
    page = report.render_page({"step": busy})
    assert "Other work went on beside these measurements (load 1.9" in page
    assert "- time of a step" in page


def test_memory_is_told_without_the_class_table() -> None:
    rows = [r | {"separation": False, "sampled": True, "pixels": 4096} for r in MILLION]
    section = report_steps.render_memory(rows, "images/x.png")
    assert "| streaming | 1,000,000 | 1,140 | 140 | 2.00 | 1.00 | 1,100 |" in section
    for words in ("4,096 sampled pixels", "(images/x.png)", "--loss.separation_weight 0"):
        assert words in section


def test_the_loss_section_has_figures_errors_and_what_did_not_run() -> None:
    section = report_loss.render_loss(LOSS, "images/x.png")
    assert "| 1,284 | linear | torch | 40 | 0.500 | 0.500 | 1e-07 | 2e-06 |" in section
    assert "| 1,284 | linear | nearest | 9.2 | 0.300 | 0.500 | 1e-07 | 2e-06 |" in section
    assert "- `liger`: not run: Liger's kernels need a GPU" in section
    assert "--methods torch,liger,nearest,streaming" in section and "--pixels" not in section
    assert "recall" not in section
    index = loss_row("nearest-index", 1284, 30, recall=0.9612)
    section = report_loss.render_loss_million([*LOSS, index], "images/x.png")
    assert "| 1e-07 | 2e-06 | 0.961 |" in section and "approximate index" in section
    tables = [line for line in section.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in tables}) == 1
    failed = loss_row("dense", 1284, None, note="out of memory: not tried")
    wrong = loss_row("dense", 21, 5, note="wrong: all of it")
    section = report_loss.render_loss([failed, wrong], "images/x.png")
    assert "dense | out of memory: not tried |" in section
    assert "- dense at 21: wrong: all of it" in section


def predict_rows() -> list[dict[str, Any]]:
    shared = {"bench": "predict", "pixels": 262_144, "channels": 256}
    dense = loss_row("dense", 1284, 1400, seconds=2.0, dim=None, distance=None)
    ours = loss_row("embedding", 1284, 70, seconds=0.5, distance="euclidean")
    return [dense | shared, ours | shared, dense | shared | loss_row("dense", 9999, None) | shared]


def test_the_prediction_section() -> None:
    section = report_loss.render_predict(predict_rows(), "images/x.png")
    assert "| dense | 1,284 | 1,400 | 2.00 | 0.500 |" in section
    assert "| embedding | 1,284 | 70 | 0.500 | 0.500 |" in section


def test_aims_are_set_beside_what_is_reached() -> None:
    memory = [r | {"sampled": True} for r in MILLION]
    million = [
        loss_row("nearest-index", 1_000_000, 90, seconds=1.0, recall=0.96),
        loss_row("streaming", 1_000_000, 90, seconds=4.0),
    ]
    results = {
        "step": [*ROWS, *SAMPLED],
        "memory": memory,
        "loss": LOSS,
        "loss_million": million,
        "predict": predict_rows(),
    }
    section = report_targets.render_targets(results)
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    ends = [line.split("|", 2)[2].strip() for line in lines]
    assert ends == [
        "≤ 1.05 | streaming **1.00** | yes |",
        "≥ 50 | streaming **20** | no |",
        "≥ 3 | streaming **4.00** | yes |",
        "≥ 6 | streaming **16** | yes |",
        "≤ 1.1 | streaming **1.06** | yes |",
        "≤ 0.9 | linear **0.50** | yes |",
        "≤ 1 | linear **0.25** | yes |",
        "≤ 1.2 | linear **1.20** | yes |",
        "≤ 0.2 | linear, recall 0.96 **0.25** | no |",
        "≤ 0.3 | embedding **0.25** | yes |",
        "≤ 0.1 | embedding **0.05** | yes |",
    ]
    assert report_targets.render_targets({"loading": []}) == ""


def test_a_remark_is_shown_where_an_aim_is_missed() -> None:
    both = {"a": 1.0, "b": 3.0}
    target = report_targets.Target("one / other", 2, False, lambda _: iter(both.items()), "hard.")
    section = report_targets.render_targets({}, [target])
    assert "| one / other | ≤ 2 | a **1.00**; b **3.00** | in part |" in section
    assert "- one / other: hard." in section
    easy = report_targets.render_targets({}, [target._replace(limit=4)])
    assert "| yes |" in easy and "hard." not in easy


def test_errors_name_the_file_and_the_command(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    with pytest.raises(DataError, match="bench rows --json"):
        report.read_rows(file)
    file.write_text("{}")
    with pytest.raises(DataError, match="list of rows"):
        report.read_rows(file)
    file.write_text("[]")
    with pytest.raises(DataError, match="no rows"):
        report.read_rows(file)
    with pytest.raises(DataError, match="no rows"):
        report.main(tmp_path, tmp_path / "page.md")


def prepare_rows(stuff: int = 700, load: float = 0.1, same: bool = True) -> list[dict[str, Any]]:
    shared = {
        "data": {
            "images": 2000,
            "annotations": 25_000,
            "stuff_annotations": stuff,
            "json_bytes": 1_615_000_000,
            "width": 640,
            "height": 480,
        },
        "machine": ROWS[0]["machine"] | {"load": load},
    }
    run = {
        "seconds": 130.4,
        "seconds_to_first": 30.0,
        "new_masks": 1007,
        "reused_masks": None,
        "images_per_second": 180.0,
        "images_per_cpu_second": 100.0,
        "main_cpu_per_image": 0.00025,
        "main_peak_bytes": 1500 * MIB,
        "peak_bytes": 1700 * MIB,
        "workers": 2,
    }
    resumed = {"new_masks": 993, "reused_masks": 1007, "images_per_second": None}
    reference = {
        "images": 100,
        "images_per_cpu_second": 90.0,
        "reference_images_per_cpu_second": 30.0,
        "times_reference": 3.0,
        "paint_times_reference": 5.25,
        "same_pixels": same,
    }
    measured = {
        "load": {"json_bytes": 1_095_000_000, "cpu_seconds": 40.2, "peak_bytes": 1400 * MIB},
        "until the kill": run,
        "resumed": run | resumed,
        "reference": reference,
    }
    return [{"bench": "prepare", "what": what, **row, **shared} for what, row in measured.items()]


def test_the_prepare_section_has_both_runs_side_by_side() -> None:
    section = report_prepare.render_prepare(prepare_rows())
    for line in (
        "| masks made | 1,007 | 993 |",
        "| masks that were there already | 0 | 1,007 |",
        "| images/s from then on | 180 |  |",
        "| cores at work | 1.8 |  |",
        "| peak memory of all processes, MiB | 1,700 | 1,700 |",
    ):
        assert line in section.splitlines()
    for words in (
        "25,000 LVIS annotations, 700 stuff annotations, 1.61 GB of json",
        "Abacus 3, 7 cores, 24 GiB; 2 processes",
        "(1.09 GB) takes 40 s of one core and 1,400 MiB",
        "**3.0** times the images/s, files included (90 against 30)",
        "the same pixels",
        "0.25 ms on an image: it could keep 40 cores busy",
        "bench prepare --images 2000 --stuff --json",
    ):
        assert words in section
    assert "other work" not in section


def test_the_prepare_section_hides_nothing() -> None:
    section = report_prepare.render_prepare(prepare_rows(stuff=0, load=3.5, same=False))
    assert "other work went on beside it (load 3.5" in section
    assert "other pixels (a defect)" in section
    assert "stuff" not in section
    with pytest.raises(DataError, match="no row about 'resumed'"):
        report_prepare.render_prepare([r for r in prepare_rows() if r["what"] != "resumed"])


def test_sections_and_pictures_are_there_where_rows_are(tmp_path: Path) -> None:
    (tmp_path / "step.json").write_text(json.dumps(ROWS))
    report.main(tmp_path, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text("utf-8") == report.render_page({"step": ROWS})
    assert not (tmp_path / "images").exists()
    (tmp_path / "prepare.json").write_text(json.dumps(prepare_rows()))
    (tmp_path / "loss.json").write_text(json.dumps(LOSS))
    report.main(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text("utf-8")
    assert page.endswith(report_prepare.render_prepare(prepare_rows()))
    assert page.index("## Aims") < page.index("## A training step") < page.index("## The loss")
    (picture,) = (tmp_path / "images").iterdir()
    assert f"(images/{picture.name})" in page and picture.name == "bench_loss.png"


def test_the_committed_page_is_made_from_the_committed_rows(
    repository: Path, tmp_path: Path
) -> None:
    source = repository / "benchmarks"
    report.main(source, tmp_path / "page.md", pictures=False)
    made = (tmp_path / "page.md").read_text("utf-8")
    assert made == (repository / "docs" / "performance.md").read_text("utf-8")
    for picture in re.findall(r"\(images/(\S+)\)", made):
        assert (repository / "docs" / "images" / picture).is_file()
    rows = json.loads((source / "step.json").read_text("utf-8"))
    measured = {(row["method"], row["classes"]) for row in rows if row["peak_bytes"]}
    methods = ("dense", "nearest", "streaming")
    assert measured >= {(method, count) for method in methods for count in (21, 1284)}
