"""A run from anybody's masks: the same scores as plain numpy, and one clear line otherwise."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from workbench.constants import IGNORE_INDEX
from workbench.errors import DataError, WorkbenchError
from workbench.evaluation import import_run
from workbench.evaluation.import_run import import_predictions
from workbench.runs import RunDirectory, describe_run, find_runs


class Folders(NamedTuple):
    """Where everything lies."""

    images: Path
    truth: Path
    pred: Path
    csv: Path
    run: Path


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Empty folders and three classes of raw ids 0, 7 and 200; 9 is ignored."""
    found = Folders(*(tmp_path / name for name in ("images", "truth", "pred", "c.csv", "runs/r")))
    for folder in found[:3]:
        folder.mkdir()
    found.csv.write_text("raw_id,train_id,name\n0,0,sky\n7,1,road\n200,2,car\n9,,other\n")
    return found


def add(
    folders: Folders,
    name: str,
    truth: npt.NDArray[Any],
    prediction: npt.NDArray[Any],
    suffix: str = ".png",
) -> None:
    (folders.images / name).parent.mkdir(parents=True, exist_ok=True)
    photo = np.zeros((*truth.shape, 3), np.uint8)
    Image.fromarray(photo).save(folders.images / f"{name}.jpg")
    for folder, mask in ((folders.truth, truth), (folders.pred, prediction)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(folder / f"{name}{suffix}")


def make(folders: Folders, **options: Any) -> dict[str, Any]:
    return import_predictions(*folders[:4], folders.run, **options)


def refused(folders: Folders) -> str:
    with pytest.raises(WorkbenchError) as caught:
        make(folders)
    assert "\n" not in str(caught.value)
    assert find_runs(folders.run.parent) == []
    assert not folders.run.exists()
    return str(caught.value)


def numpy_iou(pairs: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]], raw: int) -> float:
    """IoU of a raw id where 255 and 9 are ignored in the truth, the slow way."""
    both = either = 0
    for truth, prediction in pairs:
        counted = (truth != 255) & (truth != 9)
        both += int(((truth == raw) & (prediction == raw) & counted).sum())
        either += int((((truth == raw) | (prediction == raw)) & counted).sum())
    return both / either


def test_eight_bit_masks(folders: Folders) -> None:
    rng = np.random.default_rng(0)
    pairs = []
    for name in ("a", "street/b", "c.d"):
        truth = rng.choice(np.array([0, 7, 200, 9, 255], np.uint8), (20, 30))
        prediction = np.where(rng.random((20, 30)) < 0.6, truth, rng.choice([0, 7, 200, 255]))
        pairs.append((truth, prediction.astype(np.uint8)))
        add(folders, name, *pairs[-1])
    (folders.images / "no truth.jpg").write_bytes((folders.images / "a.jpg").read_bytes())
    made = make(folders)
    run = RunDirectory.open(folders.run)
    table = run.read_per_class("val")
    expected = [numpy_iou(pairs, raw) for raw in (0, 7, 200)]
    assert table["name"].tolist() == ["sky", "road", "car"]
    assert table["iou"].tolist() == pytest.approx(expected, abs=1e-12)
    assert made["miou"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert made["images"] == 3 and made["kept"] == 3
    assert run.samples("val") == ["a", "c.d", "street/b"]
    truth, prediction = (np.asarray(mask) for mask in run.read_sample("val", "street/b")[1:])
    ids = {0: 0, 7: 1, 200: 2, 9: IGNORE_INDEX, 255: IGNORE_INDEX}
    assert (truth == np.vectorize(ids.get)(pairs[1][0])).all()
    assert (prediction == np.vectorize(ids.get)(pairs[1][1])).all()


def test_the_demo_s_own_masks_give_the_same_scores(
    repository: Path, tmp_path: Path, folders: Folders
) -> None:
    """16-bit masks with ids up to 1283, scored here by numpy over whole pictures."""
    demo = RunDirectory(repository / "runs" / "demo")
    if not demo.is_run():
        pytest.skip("runs/demo is not there")
    classes = demo.vocabulary()
    names = ['"{}"'.format(name.replace('"', '""')) for name in classes.names]
    folders.csv.write_text("name\n" + "\n".join(names) + "\n")
    joint = np.zeros((len(classes), 3), dtype=np.int64)
    some = demo.samples("val")[::6]
    for image_id in some:
        image, truth, prediction = demo.read_sample("val", image_id)
        image.save(folders.images / f"{image_id}.png")
        for folder, mask in ((folders.truth, truth), (folders.pred, prediction)):
            stored = np.where(mask == IGNORE_INDEX, 2**16 - 1, mask).astype(np.uint16)
            Image.fromarray(stored).save(folder / f"{image_id}.png")
        counted = truth != IGNORE_INDEX
        for class_id in np.unique(np.concatenate([truth[counted], prediction[counted]])):
            is_true, is_given = truth == class_id, (prediction == class_id) & counted
            joint[class_id] += (is_true & is_given).sum(), (is_true | is_given).sum(), is_true.sum()
    make(folders, save=0)
    run = RunDirectory.open(folders.run)
    table = run.read_per_class("val")
    seen = joint[:, 2] > 0
    assert seen[256:].any() and (joint[~seen, 1] > 0).any()  # some are only predicted
    assert (table["union"] == joint[:, 1]).all()
    assert table["iou"][seen].to_numpy() == pytest.approx(joint[seen, 0] / joint[seen, 1])
    assert table["iou"][~seen].isna().all()
    present = joint[:, 2] > 0
    expected = float((joint[present, 0] / joint[present, 1]).mean())
    assert run.read_summary("val")["miou"] == pytest.approx(expected)
    assert run.samples("val") == some
    _, truth, _ = run.read_sample("val", some[0])
    assert (truth == demo.read_sample("val", some[0])[1]).all()


@pytest.mark.parametrize("kind", ["palette", "tiff"])
def test_other_kinds_of_masks(folders: Folders, kind: str) -> None:
    truth = np.array([[0, 7, 200, 200]] * 4, np.uint8)
    prediction = np.array([[0, 7, 7, 200]] * 4, np.uint8)
    if kind == "tiff":
        add(folders, "a", truth.astype(np.int32), prediction.astype(np.int32), ".tiff")
    else:
        add(folders, "a", truth, prediction)
        for folder, mask in ((folders.truth, truth), (folders.pred, prediction)):
            image = Image.fromarray(mask, "L").convert("P")
            image.putdata(mask.ravel().tolist())
            image.putpalette([value for color in range(256) for value in (color, 9, 255 - color)])
            image.save(folder / "a.png")
    make(folders)
    table = RunDirectory.open(folders.run).read_per_class("val")
    assert table["iou"].tolist() == [1.0, 0.5, 0.5]


def test_what_is_ignored_in_a_prediction_is_a_miss_and_nobody_s_false_alarm(
    folders: Folders,
) -> None:
    truth = np.array([[0, 0, 7, 7]], np.uint8)
    add(folders, "a", truth, np.array([[0, 255, 9, 7]], np.uint8))
    make(folders)
    table = RunDirectory.open(folders.run).read_per_class("val")
    assert table["iou"].tolist()[:2] == [0.5, 0.5]
    assert table["predicted_pixels"].tolist() == [1, 1, 0]


def test_the_run_says_where_it_comes_from_and_names_no_place(
    folders: Folders, tmp_path: Path
) -> None:
    mask = np.array([[0, 7]], np.uint8)
    add(folders, "a", mask, mask)
    folders.csv.write_text(
        "raw_id,name,group,train_images,train_pixels\n0,sky,rare,3,30\n7,road,frequent,900,\n"
    )
    make(folders, split="test")
    run = RunDirectory.open(folders.run)
    assert run.config()["imported"] == {
        "images": "images",
        "truth": "truth",
        "predictions": "pred",
        "vocabulary": "c.csv",
    }
    for path in folders.run.rglob("*"):
        if path.is_file():
            assert os.fsencode(tmp_path) not in path.read_bytes(), path
    assert run.status()["state"] == "done"
    assert run.evaluations() == ["test"]
    classes = run.vocabulary().table
    assert classes["group"].tolist() == ["rare", "frequent"]
    assert classes["train_images"].tolist() == [3, 900]
    assert classes["train_pixels"].tolist() == [30, 0]


def test_some_pictures_are_kept(folders: Folders) -> None:
    mask = np.array([[0, 7]], np.uint8)
    for number in range(9):
        add(folders, f"{number}", mask, mask)
    assert make(folders, save=3)["kept"] == 3
    run = RunDirectory.open(folders.run)
    assert run.samples("val") == ["0", "4", "8"]
    assert run.read_summary("val")["images"] == 9


MASK = np.array([[0, 7, 200]] * 2, np.uint8)


def test_missing_partners(folders: Folders) -> None:
    for name in ("a", "b"):
        add(folders, name, MASK, MASK)
    (folders.pred / "b.png").unlink()
    said = refused(folders)
    assert said.startswith(f"{folders.pred}: 1 of 2 masks have no prediction")
    assert str(folders.truth / "b.png") in said
    add(folders, "b", MASK, MASK)
    (folders.truth / "a.png").unlink()
    assert str(folders.pred / "a.png") in refused(folders)
    add(folders, "a", MASK, MASK)
    (folders.images / "a.jpg").unlink()
    assert "no picture of the same name" in refused(folders)


def test_empty_and_missing_folders(folders: Folders) -> None:
    assert refused(folders).startswith(f"{folders.truth}: holds no mask")
    add(folders, "a", MASK, MASK)
    (folders.images / "a.jpg").unlink()
    assert "--images" in refused(folders)
    folders.images.rmdir()
    assert refused(folders).startswith(f"{folders.images}: the folder is missing; ")
    assert "--pred" in refused(folders._replace(pred=folders.pred / "none"))


def test_sizes_that_differ(folders: Folders) -> None:
    add(folders, "a", MASK, MASK)
    Image.fromarray(MASK[:1]).save(folders.pred / "a.png")
    said = refused(folders)
    assert said.startswith(f"{folders.pred / 'a.png'}: 3 x 1 pixels, but its truth has 3 x 2")
    add(folders, "a", MASK, MASK)
    Image.fromarray(np.zeros((5, 3, 3), np.uint8)).save(folders.images / "a.jpg")
    assert refused(folders).startswith(f"{folders.images / 'a.jpg'}: 3 x 5 pixels")


def test_ids_that_no_class_has(folders: Folders) -> None:
    odd = MASK.copy()
    odd[0, 0] = 13
    add(folders, "a", MASK, odd)
    said = refused(folders)
    assert said.startswith(f"{folders.pred / 'a.png'}: ") and "13 (1 pixels)" in said


def test_masks_of_too_few_bits(folders: Folders) -> None:
    folders.csv.write_text("name\n" + "".join(f"thing {number}\n" for number in range(300)))
    add(folders, "a", MASK, MASK)
    assert "too few for the 300 classes" in refused(folders)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "class table"),
        ("label\nsky\n", "'name' is missing"),
        ("raw_id,name\nx,sky\n", "not a whole number"),
        ("name,train_images\nsky,many\n", "train_images 'many' is not a whole number"),
    ],
)
def test_class_tables_that_do_not_do(folders: Folders, text: str, hint: str) -> None:
    add(folders, "a", MASK, MASK)
    folders.csv.write_text(text)
    said = refused(folders)
    assert said.startswith(str(folders.csv)) and hint in said


def test_broken_masks_and_colour_pictures(folders: Folders) -> None:
    add(folders, "a", MASK, MASK)
    (folders.pred / "a.png").write_bytes((folders.pred / "a.png").read_bytes()[:40])
    assert refused(folders).startswith(f"{folders.pred / 'a.png'}: cannot be decoded")
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(folders.pred / "a.png")
    assert "store ids, not colours" in refused(folders)


def test_a_run_is_never_overwritten(folders: Folders) -> None:
    add(folders, "a", MASK, MASK)
    make(folders)
    with pytest.raises(WorkbenchError, match="is there already; choose a new folder"):
        make(folders)
    assert RunDirectory.open(folders.run).status()["state"] == "done"


def _die_in_the_middle(folders: Folders) -> None:
    """Imports, and kills itself where the second image is read."""

    def stop(path: Path) -> None:
        if path.stem == "b":
            os.kill(os.getpid(), signal.SIGKILL)

    read = import_run.RawIds.read

    def watched(self: import_run.RawIds, path: Path) -> npt.NDArray[np.int64]:
        stop(path)
        return read(self, path)

    import_run.RawIds.read = watched  # type: ignore[method-assign]
    make(folders)


def test_killed_in_the_middle_nothing_is_in_sight(folders: Folders) -> None:
    for name in ("a", "b"):
        add(folders, name, MASK, MASK)
    child = multiprocessing.get_context("spawn").Process(target=_die_in_the_middle, args=(folders,))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert find_runs(folders.run.parent) == []
    assert [path.name[:5] for path in folders.run.parent.iterdir()] == [".tmp-"]
    make(folders)  # the next one tidies up
    assert [path.name for path in folders.run.parent.iterdir()] == ["r"]
    assert find_runs(folders.run.parent) == [folders.run]
    assert describe_run(folders.run).status == "done"


def test_numpy_oracle_can_fail() -> None:
    truth, prediction = np.array([[0, 7]]), np.array([[0, 0]])
    assert numpy_iou([(truth, prediction)], 0) == 0.5
    with pytest.raises(DataError):
        import_run.match(Path("none"), Path("none"), Path("none"))
