"""The Vocabulary page under AppTest."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.runs import add_checkpoint
from streamlit.testing.v1 import AppTest

from app import data_pictures
from app.basket import Marked
from app.vocabulary_frames import Mark
from workbench.inference.class_sets import classes_of_run
from workbench.runs import RunDirectory
from workbench.runs.class_file import class_file_bytes

PAGE = "views/vocabulary.py"
Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def trained_runs(synthetic_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The invented run, with a checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(synthetic_runs / "demo", folder / "demo")
    add_checkpoint(folder / "demo")
    return folder


@pytest.fixture
def broken_run(trained_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained_runs / "demo", tmp_path / "runs" / "demo"))


def tear(run: Path) -> None:
    """Cuts the only checkpoint short, as a full disk would; in a new folder, as writers do."""
    (folder,) = (path for path in (run / "checkpoints").iterdir() if path.is_dir())
    torn = shutil.copytree(folder, folder.with_name(".torn"))
    model = torn / "model.safetensors"
    model.write_bytes(model.read_bytes()[:1000])
    shutil.rmtree(folder)
    torn.rename(folder)


def said(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.info, *app.success, *app.warning, *app.error]
    return "\n".join(str(part.value).replace("\\", "") for part in [*parts, *app.code])


def is_well(app: AppTest) -> None:
    assert not app.exception
    assert not app.error, [error.value for error in app.error]


def act(app: AppTest, action: str) -> AppTest:
    return app.button_group(key="vocabulary_action").set_value(action).run()


def submit(app: AppTest, label: str) -> AppTest:
    (button,) = [button for button in app.button if button.label == label]
    return button.click().run()


def mark(app: AppTest, folder: Path, **marks: list[Mark]) -> None:
    """Marks pixels, as the picker would report them."""
    baskets = {
        f"{folder / 'demo'}|val": {
            image.removeprefix("p"): Marked(tuple(some), 96, 96) for image, some in marks.items()
        }
    }
    app.session_state["vocabulary_basket"] = baskets
    app.run()


FIRST = "p000000000000"


def test_it_opens_with_the_classes_as_trained(trained_runs: Path, open_app: Open) -> None:
    app = open_app(trained_runs, PAGE)
    is_well(app)
    assert "1,284 classes" in said(app) and "as trained" in said(app)
    assert "workbench predict" in said(app) and "--vocabulary demo-classes.safetensors" in said(app)
    assert app.button(key="vocabulary_undo").disabled
    assert app.query_params["image"] == "000000000000"


def test_a_class_is_added_and_taken_back(trained_runs: Path, open_app: Open) -> None:
    app = open_app(trained_runs, PAGE)
    mark(app, trained_runs, **{FIRST: [Mark(50, 60, 55, 65), Mark(2, 90, 2, 90)]})
    assert "1 pixel and 1 box, 37 pixels in all" in said(app)
    app.text_input(key="vocabulary_name").set_value("my *new* class")
    submit(app, "Add class")
    is_well(app)
    assert "Added my *new* class, from 37 pixels." in said(app)
    assert "1,285 classes" in said(app) and "after 1 edit" in said(app)
    assert "Took pixels" in said(app)
    assert "No pixel is marked yet" in said(app)  # the basket has become the class
    app.button(key="vocabulary_undo").click().run()
    assert "1,284 classes" in said(app) and "as trained" in said(app)
    assert "Took pixels" not in said(app)


def test_pixels_of_several_pictures_become_one_class(trained_runs: Path, open_app: Open) -> None:
    app = open_app(trained_runs, PAGE)
    box = [Mark(0, 60, 9, 69)]
    mark(app, trained_runs, **{FIRST: box, "p000000000001": box, "p000000000002": box})
    app.button(key="vocabulary_away_000000000001").click().run()
    app.text_input(key="vocabulary_name").set_value("both")
    submit(app, "Add class")
    assert "Added both, from 200 pixels." in said(app)


def test_marks_stay_in_their_run(
    broken_run: Path, open_app: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser takes the marks it is sent where their version is new to it."""
    shutil.copytree(broken_run, broken_run.parent / "spare")
    sent = []
    monkeypatch.setattr("app.picker.show", lambda payload, **_: sent.append(payload))
    app = open_app(broken_run.parent, PAGE, run="demo")
    mark(app, broken_run.parent, **{FIRST: [Mark(3, 4, 3, 4)]})
    for run in ("spare", "demo"):
        app.selectbox(key="choice_run").set_value(run).run()
    is_well(app)
    of_demo, of_spare, again = sent[-3:]
    assert [len(payload["marks"]) for payload in (of_demo, of_spare, again)] == [1, 0, 1]
    assert of_demo["marksVersion"] == again["marksVersion"] != of_spare["marksVersion"]


def test_a_twin_is_warned_of(trained_runs: Path, open_app: Open) -> None:
    app = open_app(trained_runs, PAGE)
    for name in ("one", "two"):
        mark(app, trained_runs, **{FIRST: [Mark(50, 60, 60, 70)]})
        app.text_input(key="vocabulary_name").set_value(name)
        submit(app, "Add class")
    (warning,) = app.warning
    assert "It lies 0.000 from **one**, within the separation margin of 0\\.2" in (
        warning.value.replace("0.2:", "0\\.2:")
    )


@pytest.mark.parametrize(("name", "complaint"), [("", "no name"), ("NAME", "is the name of class")])
def test_what_cannot_be_added_is_said(
    trained_runs: Path, open_app: Open, name: str, complaint: str
) -> None:
    app = open_app(trained_runs, PAGE)
    if name:
        name = RunDirectory(trained_runs / "demo").vocabulary().names[1283]
    mark(app, trained_runs, **{FIRST: [Mark(50, 60, 55, 65)]})
    app.text_input(key="vocabulary_name").set_value(name)
    submit(app, "Add class")
    assert not app.exception
    assert complaint in app.error[0].value.replace("\\", "")
    assert "as trained" in said(app)
    assert "36 pixels in all" in said(app)  # nothing is lost
    mark(app, trained_runs)
    app.text_input(key="vocabulary_name").set_value("fine")
    submit(app, "Add class")
    assert "no pixel is marked" in said(app)


def test_rename_merge_and_subset(trained_runs: Path, open_app: Open) -> None:
    app = act(open_app(trained_runs, PAGE), "Rename")
    app.selectbox(key="vocabulary_rename").set_value(1283)
    app.text_input(key="vocabulary_new_name").set_value("last one")
    submit(app, "Rename")
    assert "Renamed class 1283 to last one." in said(app)
    act(app, "Merge")
    app.multiselect(key="vocabulary_merge").set_value([1283, 300])
    app.text_input(key="vocabulary_merged_name").set_value("two in one")
    submit(app, "Merge")
    assert "Merged 2 classes into two in one." in said(app)
    assert "1,283 classes" in said(app)
    act(app, "Subset")
    app.button_group(key="vocabulary_subset_groups").set_value(["rare"]).run()
    table = RunDirectory(trained_runs / "demo").vocabulary().table
    rare = int((table["group"] == "rare").sum())
    app.button(key="vocabulary_leave").click().run()
    is_well(app)
    left = len(table) - 1 - rare
    assert f"{left:,} classes" in said(app) and "after 3 edits" in said(app)
    app.button(key="vocabulary_undo_all").click().run()
    assert "1,284 classes" in said(app) and "as trained" in said(app)


def test_a_class_and_a_picture_chosen_elsewhere_are_kept(
    trained_runs: Path, open_app: Open
) -> None:
    app = open_app(trained_runs, PAGE, **{"class": "1283", "image": "000000000005"})
    assert app.query_params["class"] == "1283"
    assert app.query_params["image"] == "000000000005"
    act(app, "Rename")
    assert app.selectbox(key="vocabulary_rename").value == 1283
    app.switch_page("views/classes.py").run()
    assert app.query_params["class"] == "1283"
    app = open_app(trained_runs, PAGE, **{"class": "-7", "image": "no such"})
    is_well(app)
    assert app.query_params["image"] == "000000000000"


def test_edits_stay_when_other_pages_were_open_and_the_run_stays_as_it_was(
    trained_runs: Path, open_app: Open
) -> None:
    def digest() -> dict[str, str]:
        files = sorted(path for path in trained_runs.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    before = digest()
    app = act(open_app(trained_runs, PAGE), "Rename")
    app.selectbox(key="vocabulary_rename").set_value(256)
    app.text_input(key="vocabulary_new_name").set_value("x")
    submit(app, "Rename")
    app.switch_page("views/classes.py").run()
    app.switch_page(PAGE).run()
    assert "after 1 edit" in said(app)
    assert digest() == before


def test_a_class_file_is_taken_or_refused(trained_runs: Path, open_app: Open) -> None:
    app = act(open_app(trained_runs, PAGE), "File")
    classes = classes_of_run(RunDirectory(trained_runs / "demo"))
    good = class_file_bytes(classes)
    for data, complaint in (
        (b"", "cut short"),
        (b"GIF89a" + bytes(900), "no sound class file"),
        (good[:-8], "no sound class file"),
    ):
        app.file_uploader[0].set_value(("x<b>.safetensors", data, "")).run()
        assert not app.exception
        assert complaint in app.error[0].value.replace("\\", "")
        assert "<b>" not in app.error[0].value  # escaped
    app.file_uploader[0].set_value(("classes.safetensors", good, "")).run()
    is_well(app)
    app.button(key="vocabulary_load").click().run()
    assert "Took the 1,284 classes of a file." in said(app)
    assert "The edits change no pixel of this picture." in said(app)


def test_a_run_that_cannot_be_edited_says_why(
    synthetic_runs: Path, broken_run: Path, open_app: Open
) -> None:
    app = open_app(synthetic_runs, PAGE)
    is_well(app)
    assert "keeps no checkpoint" in said(app)
    tear(broken_run)
    app = open_app(broken_run.parent, PAGE)
    is_well(app)
    assert "cannot be read, or does not fit" in said(app)
    shutil.rmtree(broken_run / "checkpoints")
    add_checkpoint(broken_run, loss="dense")
    app = open_app(broken_run.parent, PAGE)
    is_well(app)
    assert "is dense" in said(app)


def test_without_pictures_classes_can_still_be_edited(broken_run: Path, open_app: Open) -> None:
    shutil.rmtree(broken_run / "evaluation")
    app = open_app(broken_run.parent, PAGE)
    is_well(app)
    assert "nothing to mark pixels in" in said(app) and "workbench evaluate" in said(app)
    act(app, "Rename")
    app.selectbox(key="vocabulary_rename").set_value(700)
    app.text_input(key="vocabulary_new_name").set_value("x")
    submit(app, "Rename")
    assert "after 1 edit" in said(app)


def test_a_run_deleted_or_trained_on_while_open(broken_run: Path, open_app: Open) -> None:
    app = act(open_app(broken_run.parent, PAGE), "Rename")
    app.selectbox(key="vocabulary_rename").set_value(700)
    app.text_input(key="vocabulary_new_name").set_value("x")
    submit(app, "Rename")
    run = RunDirectory(broken_run)
    state = run.load_checkpoint()
    weights = {name: tensor + 0.01 for name, tensor in state.model.items()}
    run.save_checkpoint(2500, model=weights, optimizer=None, trainer={})
    app.run()
    is_well(app)
    assert "as trained" in said(app)  # the old network's pixels mean nothing to the new one
    shutil.rmtree(broken_run)
    app.run()
    assert not app.exception


@pytest.mark.parametrize("loss", ["deleted", "torn"])
def test_a_button_pressed_when_the_run_is_gone(broken_run: Path, open_app: Open, loss: str) -> None:
    """The button's callback comes before anything is drawn."""
    shutil.copytree(broken_run, broken_run.parent / "spare")
    app = act(open_app(broken_run.parent, PAGE, run="demo"), "Rename")
    app.selectbox(key="vocabulary_rename").set_value(700)
    app.text_input(key="vocabulary_new_name").set_value("x")
    if loss == "deleted":
        shutil.rmtree(broken_run)
    else:
        tear(broken_run)
    submit(app, "Rename")
    assert not app.exception
    if loss == "torn":
        assert "cannot be read, or does not fit" in said(app)
    else:
        assert app.selectbox(key="choice_run").value == "spare"
        assert "as trained" in said(app)


def test_nothing_is_loaded_before_the_first_edit(trained_runs: Path) -> None:
    """A process of its own, whose background load is left out: what is shown needs no torch."""
    code = f"""
import sys
from streamlit.testing.v1 import AppTest
sys.argv = ["main.py", "--runs", {str(trained_runs)!r}]
import app.data_pictures as door
door.warm_up = lambda path: None
app = AppTest.from_file("app/main.py", default_timeout=60).run()
app.switch_page({PAGE!r}).run()
app.button_group(key="vocabulary_action").set_value("Rename").run()
assert not app.exception and app.selectbox(key="vocabulary_rename"), app
assert any("1,284 classes" in part.value for part in app.markdown)
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.stdout.split() == ["False"], done.stderr[-2000:]


def test_a_network_that_does_not_fit_is_said_once_it_was_loaded(
    broken_run: Path, open_app: Open
) -> None:
    """The file is sound, so the page opens; the first edit, or the load beside it, finds out."""
    run = RunDirectory(broken_run)
    weights = run.load_checkpoint().model
    weights["table.weight"] = weights["table.weight"][:, :5]
    run.save_checkpoint(2001, model=weights, optimizer=None, trainer={})
    app = act(open_app(broken_run.parent, PAGE), "Rename")
    if app.selectbox:  # not loaded yet
        app.session_state["vocabulary_rename"] = 700
        app.session_state["vocabulary_new_name"] = "x"
        (app if "cannot be read" in said(app) else submit(app, "Rename")).run()
    for thread in list(data_pictures._warming.values()):
        thread.join()
    app.run()
    assert not app.exception
    assert "cannot be read, or does not fit" in said(app)


def test_hostile_names_are_text(
    tmp_path: Path, write_hostile_run: Callable[[Path], list[str]], open_app: Open
) -> None:
    names = write_hostile_run(tmp_path / "runs" / "demo")
    add_checkpoint(tmp_path / "runs" / "demo")
    app = open_app(tmp_path / "runs", PAGE)
    mark(app, tmp_path / "runs", **{FIRST: [Mark(50, 60, 55, 65)]})
    app.text_input(key="vocabulary_name").set_value(names[2][:30] + "<script>")
    submit(app, "Add class")
    for action in ("Merge", "Subset", "Rename"):
        act(app, action)
        assert not app.exception
    shown = "\n".join(str(part.value) for part in [*app.markdown, *app.success, *app.caption])
    assert "[click](javascript" not in shown and "<script>" not in shown


def test_names_reach_the_page_as_text_only() -> None:
    import pkgutil

    script = pkgutil.get_data("app", "picker.js")
    assert script is not None
    for way_in in (b"innerHTML", b"outerHTML", b"insertAdjacentHTML", b"document.write", b"eval("):
        assert way_in not in script
