from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workbench.datasets import open_dataset
from workbench.inference import Tiling, at_scales, load_model, segment_bands
from workbench.runs import RunDirectory


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, cli) -> Path:  # noqa: ANN001
    """A run on generated scenes with 300 classes, through the commands of the README."""
    folder = tmp_path_factory.mktemp("cli")
    data, run = folder / "data", folder / "run"
    for command in (
        f"sample shapeworld {data} --images 24 --val-images 8 --size 64 --classes 300 --seed 1",
        f"prepare shapeworld {data} --workers 1",
        f"train --preset smoke --run {run} --data.root {data} --train.steps 6"
        " --train.checkpoint_every 3",
        f"evaluate {run} --save all",
        f"project {run}",
    ):
        result = cli(*command.split(), "--json")
        assert result.returncode == 0, result.stderr
        json.loads(result.stdout)
    return run


def test_run_has_every_table(trained: Path) -> None:
    run = RunDirectory.open(trained)
    assert run.status()["state"] == "done"
    assert len(run.read_per_class("val")) == 300
    assert run.read_summary("val")["images"] == 8
    assert len(run.samples("val")) == 8
    projection = run.read_projection()
    assert set(projection["step"]) == {3, 6}
    assert len(projection) == 600
    assert run.read_embeddings().shape == (300, 16)


def test_evaluation_agrees_with_the_saved_masks(trained: Path) -> None:
    run = RunDirectory.open(trained)
    right = labelled = 0
    for image_id in run.samples("val"):
        _, truth, prediction = run.read_sample("val", image_id)
        right += int((truth == prediction)[truth >= 0].sum())
        labelled += int((truth >= 0).sum())
    assert run.read_summary("val")["pixel_accuracy"] == pytest.approx(right / labelled)
    assert run.read_summary("val")["labelled_pixels"] == labelled


def test_evaluation_in_windows_at_several_scales(
    trained: Path,
    tmp_path: Path,
    cli,  # noqa: ANN001
) -> None:
    data = tmp_path / "larger"
    sampled = (
        f"sample shapeworld {data} --images 2 --val-images 2 --size 160 --classes 300 --seed 1"
    )
    for command in (sampled, f"prepare shapeworld {data} --workers 1"):
        assert cli(*command.split()).returncode == 0
    views = ["--sliding", "--tile", "64", "--overlap", "32", "--scales", "0.5,1,1.75", "--flip"]
    result = cli("evaluate", trained, "--root", data, "--name", "often", *views, "--json")
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["scales"], said["flip"], said["tile"], said["overlap"]) == (
        *([0.5, 1.0, 1.75], True),
        *(64, 32),
    )
    run = RunDirectory.open(trained)
    assert run.evaluations() == ["often", "val"]
    assert "scales" not in run.read_summary("val")  # the plain evaluation is still there
    model = load_model(run)[0]
    dataset = open_dataset("shapeworld", data, "val")
    for sample in (dataset[0], dataset[1]):
        _, truth, kept = run.read_sample("often", sample["id"])
        assert truth.shape == kept.shape == (160, 160)
        bands = segment_bands(
            at_scales(model, (0.5, 1.0, 1.75), flip=True),
            sample["image"].permute(1, 2, 0).numpy(),
            tiling=Tiling(tile=64, overlap=32, whole=0),
        )
        assert (kept == np.concatenate([band.labels for band in bands])).mean() > 0.999


def test_the_help_of_train_shows_what_is_trained_without_a_preset(cli) -> None:  # noqa: ANN001
    shown = cli("train", "--help").stdout
    assert "--loss.name streaming\n" in shown and "--model.distance cosine\n" in shown


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tile", "64"], "only together with --sliding"),
        (["--sliding", "--tile", "65"], "a multiple of 32"),
        (["--sliding", "--tile", "64", "--overlap", "40"], "half of the tile, 32"),
        (["--scales", "1,x"], "--scales: numbers with commas"),
        (["--scales", "0"], "above 0 and up to 8"),
    ],
)
def test_views_that_cannot_be_are_one_line(
    trained: Path,
    flags: list[str],
    said: str,
    cli,  # noqa: ANN001
) -> None:
    result = cli("evaluate", trained, *flags)
    assert result.returncode == 2
    assert said in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert RunDirectory.open(trained).read_summary("val")["images"] == 8


def test_predict_writes_16_bit_masks(trained: Path, tmp_path: Path, cli) -> None:  # noqa: ANN001
    photo = tmp_path / "Straße 1.png"
    Image.fromarray(np.zeros((37, 53, 3), dtype=np.uint8)).save(photo)
    result = cli("predict", trained, photo, "--out", tmp_path / "masks", "--json")
    assert result.returncode == 0, result.stderr
    with Image.open(json.loads(result.stdout)["masks"][0]) as mask:
        assert mask.mode == "I;16"
        assert mask.size == (53, 37)
        assert int(np.asarray(mask).max()) < 300


def test_pack_keeps_what_predicts(trained: Path, tmp_path: Path, cli) -> None:  # noqa: ANN001
    packed = tmp_path / "packed"
    result = cli("pack", trained, packed, "--json")
    assert result.returncode == 0, result.stderr
    whole = RunDirectory.open(trained).load_checkpoint()
    small = RunDirectory.open(packed).load_checkpoint()
    assert small.optimizer is None
    assert small.step == whole.step
    for name, tensor in whole.model.items():
        np.testing.assert_allclose(
            small.model[name].float(), tensor.float(), rtol=1e-3, atol=1e-6, err_msg=name
        )
    assert cli("evaluate", packed).returncode == 0
    assert cli("pack", trained, packed).returncode == 2  # never overwrites unasked
    assert cli("pack", trained, packed, "--replace").returncode == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["train", "--run", "x", "--preset", "nosuch"], ["--preset", "nosuch", "smoke"]),
        (["train", "--run", "x", "--train.step", "5"], ["train.step", "train.steps"]),
        (["train", "--run", "x", "--trian.steps", "5"], ["did you mean train.steps?"]),
        (["train", "--run", "x", "--steps", "5"], ["'--steps'", "did you mean --train.steps?"]),
        (["train", "--run", "x", "--batch-size=5"], ["did you mean --train.batch_size?"]),
        (["train", "--run", "x", "--resum"], ["did you mean --resume?", "train --help"]),
        (["train", "--run", "x", "--preset", "smok"], ["did you mean smoke?"]),
        (["evaluate", "x", "--imags", "5"], ["did you mean --images?"]),
        (["train", "--run", "x", "--train.steps", "many"], ["train.steps", "many"]),
        (["train", "--run", "x", "--train.steps"], ["train.steps", "value is missing"]),
        (["train", "--run", "x", "--data.dataset", "nosuch"], ["data.dataset", "voc"]),
        (["train", "--run", "x", "--data.root", "nowhere"], ["nowhere", "data.root"]),
        (["train", "--run", "x", "--loss.name", "nosuch"], ["loss.name", "streaming"]),
        (["train", "--run", "x", "--resume"], ["x", "resume"]),
        (["train", "--run", "x", "--config", "nosuch.yaml"], ["nosuch.yaml"]),
        (["train"], ["--run"]),
        (["evaluate", "nosuch"], ["nosuch"]),
        (["evaluate", "nosuch", "--train.steps", "5"], ["--train.steps"]),
        (["project", "nosuch"], ["nosuch"]),
        (["predict", "nosuch", "a.jpg", "--out", "o"], ["nosuch"]),
        (["prepare", "nosuch", "x"], ["nosuch", "lvis-coco"]),
        (["prepare", "shapeworld", "nosuch"], ["nosuch"]),
        (["sample", "nosuch", "x"], ["nosuch", "shapeworld"]),
        (["nosuch"], ["nosuch"]),
    ],
)
def test_errors_are_one_line_with_exit_code_2(
    command: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cli,  # noqa: ANN001
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*command)
    assert result.returncode == 2
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    assert result.stdout == ""


def test_debug_shows_the_traceback(cli) -> None:  # noqa: ANN001
    from workbench.errors import RunError

    with pytest.raises(RunError):
        cli("evaluate", "nosuch", "--debug")


def test_stdout_is_only_the_result(trained: Path, cli_subprocess) -> None:  # noqa: ANN001
    result = cli_subprocess("evaluate", trained, "--images", 2, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["images"] == 2
    assert "evaluate" in result.stderr  # the progress bar


def test_pack_deletes_nothing_but_runs(trained: Path, tmp_path: Path, cli) -> None:  # noqa: ANN001
    (tmp_path / "config.yaml").write_text("a: 1")
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("mine")
    for target in (tmp_path, trained, trained / "checkpoints", trained.parent):
        result = cli("pack", trained, target, "--replace")
        assert result.returncode == 2
        assert len(result.stderr.strip().splitlines()) == 1
    assert thesis.read_text() == "mine"
    assert RunDirectory.open(trained).has_checkpoint()


def test_predict_never_replaces_the_picture(
    trained: Path,
    tmp_path: Path,
    cli,  # noqa: ANN001
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(photo)
    before = photo.read_bytes()
    result = cli("predict", trained, photo, "--out", tmp_path)
    assert result.returncode == 2
    assert "photo.png" in result.stderr
    assert photo.read_bytes() == before


def test_what_the_machine_refuses_is_one_line(
    trained: Path,
    tmp_path: Path,
    cli,  # noqa: ANN001
) -> None:
    photo, taken = tmp_path / "photo.png", tmp_path / "file"
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(photo)
    taken.write_text("not a folder")
    result = cli("predict", trained, photo, "--out", taken)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {taken}: ")
    assert len(result.stderr.strip().splitlines()) == 1


def test_resume_keeps_the_settings_of_the_run(
    trained: Path,
    tmp_path: Path,
    cli,  # noqa: ANN001
) -> None:
    run, data = tmp_path / "run", trained.parent / "data"
    start = f"train --preset smoke --run {run} --data.root {data} --train.steps 2 --train.lr 0.001"
    assert cli(*start.split()).returncode == 0
    more = f"train --preset smoke --run {run} --resume --train.steps 3"
    assert cli(*more.split()).returncode == 0
    resumed = RunDirectory.open(run)
    assert resumed.config()["train"]["lr"] == 0.001
    assert resumed.metrics()["step"].tolist() == [1, 2, 3]
    result = cli(*f"train --preset shapeworld-demo --run {run} --resume".split())
    assert result.returncode == 2
    assert "config.yaml" in result.stderr


def test_a_bad_file_met_by_a_worker_is_one_line(tmp_path: Path, cli) -> None:  # noqa: ANN001
    data = tmp_path / "data"
    sample = f"sample shapeworld {data} --images 4 --val-images 2 --size 64 --classes 20"
    assert cli(*sample.split()).returncode == 0
    assert cli("prepare", "shapeworld", data, "--workers", 1).returncode == 0
    for photo in (data / "train2017").glob("*.jpg"):
        photo.write_bytes(photo.read_bytes()[:200])
    command = f"train --preset smoke --run {tmp_path / 'run'} --data.root {data} --data.workers 1"
    result = cli(*command.split())
    assert result.returncode == 2
    message = result.stderr.strip().splitlines()[-1]
    assert message.startswith("error: ")
    assert ".jpg" in message
    assert "Traceback" not in result.stderr
    assert RunDirectory.open(tmp_path / "run").status()["state"] == "failed"
