from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import pytest
import torch
from helpers.runs import replace_per_class
from helpers.vocabularies import make_vocabulary
from ipywidgets import comm

from workbench import config
from workbench.charts.overlay import FIRST_LAYER
from workbench.errors import RunError
from workbench.inference import load_model
from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary
from workbench.widgets import (
    ClassMap,
    PixelAmongClasses,
    PixelInspector,
    PredictionViewer,
    TrainingMonitor,
)
from workbench.widgets.live_figure import live, refill
from workbench.widgets.panel import still


@pytest.fixture(scope="module")
def demo(repository: Path) -> RunDirectory:
    return RunDirectory.open(repository / "runs" / "demo")


def test_the_viewer_steps_fades_and_filters(demo: RunDirectory) -> None:
    viewer = PredictionViewer(demo)
    names = demo.samples("val")
    before = viewer.figure.data[0].source
    viewer.next.click()
    assert viewer.image.value == names[1]
    assert viewer.figure.data[0].source != before
    viewer.previous.click()
    viewer.previous.click()
    assert viewer.image.value == names[-1]
    viewer.opacity.value = 0.25
    assert [trace.opacity for trace in viewer.figure.data[FIRST_LAYER:][:3]] == [0.25] * 3
    table = demo.read_per_image_class("val")
    chosen = int(table.loc[table["image_id"] == names[3], "class_id"].iloc[0])
    viewer.only.value = demo.vocabulary().names[chosen]
    held = set(table.loc[table["class_id"] == chosen, "image_id"]) & set(names)
    assert set(viewer.image.options) == held
    shown = [trace.name for trace in viewer.figure.data[7:] if trace.showlegend]
    assert shown == [demo.vocabulary().names[chosen]]
    viewer.image.value = names[3]
    viewer.only.value = ""
    assert list(viewer.image.options) == names
    assert viewer.image.value == names[3]  # it holds the class, and stays
    other = next(
        int(one)
        for one in table["class_id"]
        if names[3] not in set(table.loc[table["class_id"] == one, "image_id"])
        and set(table.loc[table["class_id"] == one, "image_id"]) & set(names)
    )
    viewer.only.value = demo.vocabulary().names[chosen]
    viewer.only.value = demo.vocabulary().names[other]  # from one to the other at once
    assert viewer.image.value in viewer.image.options and names[3] not in viewer.image.options


def test_the_monitor_of_a_run_that_was_imported(tmp_path: Path) -> None:
    """It has no metrics."""
    run = RunDirectory.create(tmp_path / "run", config={}, vocabulary=make_vocabulary(300))
    with run.lock():
        run.write_status("done")
    assert TrainingMonitor(run).summary.startswith("done")


def test_the_viewer_needs_pictures(demo: RunDirectory) -> None:
    with pytest.raises(RunError, match="keeps no pictures of 'train'"):
        PredictionViewer(demo, split="train")


def test_the_inspector_says_what_the_model_says(demo: RunDirectory) -> None:
    inspector = PixelInspector(demo)
    inspector.look_at(20, 30)
    model, _ = load_model(demo)
    picture, _, _ = demo.read_sample("val", demo.samples("val")[0])
    with torch.no_grad():
        image = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None]
        output = model(image)
        full = torch.nn.functional.interpolate(
            output.pixels, output.size, mode="bilinear", align_corners=False
        )
        unit = torch.nn.functional.normalize(full[0, :, 30, 20], dim=0)
        table = torch.nn.functional.normalize(output.classes.weight, dim=1)
        far = (table - unit).norm(dim=1)
        scores = (output.classes.temperature * (table @ unit)).softmax(dim=0)
    nearest = far.argsort()[:7]
    assert inspector.table["class_id"].tolist() == nearest.tolist()
    np.testing.assert_allclose(inspector.table["distance"], far[nearest], atol=1e-4)
    np.testing.assert_allclose(inspector.table["probability"], scores[nearest], atol=1e-3)
    assert list(inspector.figure.data[1].x) == [20] and list(inspector.figure.data[1].y) == [30]
    sure = inspector.figure.data[2].x[0]
    inspector.temperature.value = 1.0
    assert inspector.figure.data[2].x[0] < sure
    inspector.k.value = 3
    assert len(inspector.figure.data[2].x) == 3
    inspector.x.value = 5
    assert inspector.place == (5, 30)
    with pytest.raises(ValueError, match="outside"):
        inspector.look_at(-1, 0)


def test_names_of_strangers_stay_text(demo: RunDirectory, tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    run = RunDirectory(shutil.copytree(demo.path, tmp_path / "demo"))
    table = run.vocabulary().table
    table["name"] = [f"{evil}{class_id}" for class_id in range(len(table))]
    Vocabulary(table).to_parquet(run.path / "vocabulary.parquet")
    replace_per_class(run, run.read_per_class("val").assign(name=table["name"]))
    inspector = PixelInspector(run)
    class_map = ClassMap(run)
    class_map.select([3, 299])
    viewer = PredictionViewer(run)
    for listing in (inspector.listing.value, class_map.listing.value):
        assert "&lt;img src=x" in listing and "<img" not in listing
    for shown in (inspector, class_map, viewer):
        assert "<img" not in str(shown.figure.to_json()).replace("\\u003c", "<")


def test_the_map_colours_finds_and_goes_back(demo: RunDirectory) -> None:
    view = ClassMap(demo)
    last = np.array(view.figure.data[0].x, dtype=float)
    view.step.value = view.step.options[0]
    assert not np.allclose(last, np.array(view.figure.data[0].x, dtype=float))
    rows = demo.read_projection()
    rows = rows[rows["step"] == view.step.options[0]].sort_values("class_id")
    np.testing.assert_allclose(np.array(view.figure.data[0].x), rows["umap2_x"], rtol=1e-6)
    view.search.value = "teal striped star"
    assert view.table["name"].tolist() == ["teal striped star"]
    assert "teal striped star" in view.listing.value
    colors = tuple(view.figure.data[0].marker.color)
    view.color.value = "group"
    assert tuple(view.figure.data[0].marker.color) != colors
    view.axes.value = "3D"
    assert view.figure.data[0].type == "scatter3d"
    view.layout.value = "PCA"
    np.testing.assert_allclose(np.array(view.figure.data[0].z), rows["pca_z"], rtol=1e-6)


def test_a_live_figure_is_whole_when_the_browser_hears_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A busy browser draws it before a second message comes, and then never again."""
    opened = []
    create = comm.create_comm

    def record(**message: Any) -> Any:
        opened.append(message["data"]["state"])
        return create(**message)

    monkeypatch.setattr(comm, "create_comm", record)
    figure = live(go.Figure(go.Scatter(x=[1, 2], y=[3, 4], name="a"), {"title": {"text": "b"}}))
    (state,) = (one for one in opened if "_widget_data" in one)
    assert [trace["name"] for trace in state["_widget_data"]] == ["a"]
    assert state["_widget_layout"]["title"]["text"] == "b"
    # What has two seconds to start is small; plotly is read later, once a page.
    assert len(state["_esm"]) < 5_000 < len(state["_plotly"])
    assert state["_widget_layout"]["width"] == figure.layout.width > 0
    assert figure.comm is not None


def test_a_change_is_sent_while_another_thread_takes_in_what_the_browser_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """JupyterLab's messages reach a kernel in two threads."""
    figure = live(go.Figure(go.Scatter(x=[1, 2], y=[3, 4])))
    refill(figure, go.Figure(go.Scatter(x=[3, 4], y=[3, 4])))  # the first takes long
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(figure, "_send", lambda message, **_: sent.append(message["state"]))
    reading, read = threading.Event(), threading.Event()

    class Long(dict[str, Any]):
        """Something that takes a while to be read."""

        def items(self) -> Any:
            if "notify_change" in vars(figure):  # traitlets keep notifications for the end
                reading.set()
                read.wait(10)
            return super().items()

    told = Long(trace_deltas=[], trace_edit_id=-1)
    browser = threading.Thread(target=figure.set_state, args=({"_js2py_traceDeltas": told},))
    wanted = go.Figure(go.Scatter(x=[5, 6], y=[3, 4]))
    slider = threading.Thread(target=refill, args=(figure, wanted))
    browser.start()
    assert reading.wait(10)
    slider.start()
    slider.join(1)  # it has to wait; without the other's lock it is done by now
    read.set()
    browser.join(10)
    slider.join(10)
    updates = [state["_py2js_update"] for state in sent if state.get("_py2js_update")]
    assert [list(update["style_data"]["x"][0]) for update in updates] == [[5, 6]]


def test_what_is_drawn_round_is_listed(demo: RunDirectory) -> None:
    from plotly.callbacks import Points

    view = ClassMap(demo)
    trace = view.figure.data[0]
    trace._dispatch_on_selection(Points(point_inds=[4, 9], xs=[0, 0], ys=[0, 0]), None)
    assert view.selected == [4, 9]
    assert view.table["class_id"].tolist() == [4, 9]


def test_the_sliders_of_the_idea_move_its_curves() -> None:
    play = PixelAmongClasses(8)
    few = np.array(play.figure.data[7].y)
    assert (few >= np.array(play.figure.data[6].y) - 1e-12).all()
    play.k.value = 7
    np.testing.assert_allclose(play.figure.data[7].y, play.figure.data[6].y)
    weight = play.classes().weight.numpy()
    far = np.linalg.norm(weight - weight[0], axis=1)
    peaks = []
    for heat in (1, 4):
        play.temperature.value = heat
        at_target = np.abs(np.array(play.figure.data[6].x)).argmin()
        peaks.append(play.figure.data[6].y[at_target])
        assert peaks[-1] == pytest.approx(1 / np.exp(-heat * far).sum(), rel=0.02)
    assert peaks[1] > peaks[0] + 0.3
    play.dimensions.value = 12
    assert np.linalg.norm(np.c_[play.figure.data[1].x, play.figure.data[1].y], axis=1).min() < 0.9


class FakeTrainer:
    def __init__(self, steps: int) -> None:
        plain = config.Run()
        train = dataclasses.replace(plain.train, steps=steps, batch_size=4)
        self.config = dataclasses.replace(plain, train=train)
        self.accelerator = type("Accelerator", (), {"num_processes": 1})()


def test_the_monitor_says_how_fast_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monitor = TrainingMonitor(every=5.0, clock=lambda: now[0])
    trainer: Any = FakeTrainer(steps=20)
    for step in range(1, 11):
        now[0] = 0.5 * step
        scores = {"val_miou": 0.125} if step == 4 else {}
        monitor.after_step(trainer, {"step": step, "loss": 3.0 - step / 10, **scores})
    # Drawn at the first step, then not before five seconds have passed.
    assert monitor.summary == "step 1 of 20 · loss 2.900"
    now[0] = 5.5
    monitor.after_step(trainer, {"step": 11, "loss": 1.9})
    assert monitor.summary == (
        "step 11 of 20 · loss 1.900 · mIoU 0.125 at step 4 · 8.0 images/s · 0:04 left"
    )
    assert monitor.metrics["step"].tolist() == list(range(1, 12))
    assert monitor.metrics["val_miou"].dropna().tolist() == [0.125]
    assert repr(monitor) == f"<TrainingMonitor: {monitor.summary}>"
    monitor.at_end(trainer)
    assert "step 11 of 20" in capsys.readouterr().err


def test_a_live_monitor_ends_as_a_figure_without_a_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.widgets.training._in_notebook", lambda: True)
    monitor = TrainingMonitor(every=0.0)
    trainer: Any = FakeTrainer(steps=2)
    monitor.after_step(trainer, {"step": 1, "loss": 3.0})
    assert "application/vnd.jupyter.widget-view+json" in monitor._repr_mimebundle_()
    live, box = monitor.figure, monitor.box
    assert list(live.data[0].y) == [3.0]
    monitor.after_step(trainer, {"step": 2, "loss": 2.0})
    monitor.at_end(trainer)
    # Closed: otherwise a saved notebook would hold plotly's script once a training.
    assert live.comm is None and box.comm is None
    bundle = monitor._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" not in bundle
    assert list(monitor.figure.data[0].y) == [3.0, 2.0]
    assert "step 2 of 2" in monitor.figure.layout.title.text
    assert "step 2 of 2" in bundle["text/html"]


def test_plotly_sends_its_script_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    display = "plotly.io._base_renderers.ipython_display.display_html"
    monkeypatch.setattr(display, lambda script, raw: sent.append(script))
    before, pio.renderers.default = pio.renderers.default, "notebook"
    try:
        for _ in range(3):
            shown = still(go.Figure().add_scatter(y=[1, 2]))["text/html"]
            assert "Plotly.newPlot" in shown and len(shown) < 20_000
    finally:
        pio.renderers.default = before
    assert len(sent) == 1 and "plotly.js" in sent[0]


def test_the_monitor_keeps_a_long_training_drawable() -> None:
    monitor = TrainingMonitor(every=0.0)
    trainer: Any = FakeTrainer(steps=5000)
    monitor._drawn = float("inf")
    for step in range(1, 5001):
        monitor.after_step(trainer, {"step": step, "loss": 1.0})
    assert 100 < len(monitor.metrics) <= 1000


def test_the_monitor_shows_a_run_that_is_there(demo: RunDirectory) -> None:
    monitor = TrainingMonitor(demo)
    best = demo.metrics()["val_miou"].dropna()
    assert list(monitor.figure.data[2].y) == pytest.approx(best.tolist())
    assert "step 5,000 of 5,000" in monitor.summary


def test_a_reader_without_a_kernel_sees_a_figure(demo: RunDirectory) -> None:
    bundle = ClassMap(demo)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "Plotly.newPlot" in bundle["text/html"]


def test_a_projection_is_needed(tmp_path: Path, demo: RunDirectory) -> None:
    run = RunDirectory.create(tmp_path / "run", config={}, vocabulary=demo.vocabulary())
    with pytest.raises(RunError, match="workbench project"):
        ClassMap(run)
    assert isinstance(demo.read_projection(), pd.DataFrame)
