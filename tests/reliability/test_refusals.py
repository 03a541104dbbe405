"""Files made to harm: programs in disguise, bombs, documents without end."""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from helpers.fuzz.cases import Reader
from helpers.fuzz.mutations import DEEP
from helpers.fuzz.targets import TARGETS

from workbench import config
from workbench.errors import DataError, RunError
from workbench.runs import RunDirectory, readers
from workbench.runs.readers import read_parquet
from workbench.vocabulary import Vocabulary

TEXTS = [name for name, target in TARGETS.items() if target.suffix in (".json", ".yaml", ".jsonl")]
PICTURES = ("mask", "image", "picture", "upload")
# Readers of what grows or is only hoped for pass over what they cannot read.
FORGIVING = ("metrics", "status", "list of predictions", "settings of a run", "address")


class Harm:
    """Unpickled, it leaves a folder behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return (os.mkdir, (str(self.mark),))


@pytest.fixture
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    made = Reader(request.param, seed=0)
    yield made
    made.close()


def refused(reader: Reader, content: bytes) -> bool:
    """Whether a file is refused in one line; anything else fails here."""
    taken = reader.taken
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert reader.finding(content) is None
    return reader.taken == taken


def disguises(mark: Path) -> dict[str, bytes]:
    """The same harm in all wrappings that some library opens by itself."""
    plain = pickle.dumps(Harm(mark))
    saved, array, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"weight": torch.zeros(2), "harm": Harm(mark)}, saved)
    np.save(array, np.array([Harm(mark)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("data.pkl", plain)
    text = f'!!python/object/apply:os.mkdir ["{mark}"]'
    return {
        "pickle": plain,
        "torch": saved.getvalue(),
        "numpy": array.getvalue(),
        "zip": archive.getvalue(),
        "yaml": text.encode(),
    }


def test_the_harm_is_real(tmp_path: Path) -> None:
    """What the test below says is refused would do something."""
    made = disguises(tmp_path / "mark")
    for load in (
        lambda: pickle.loads(made["pickle"]),
        lambda: torch.load(io.BytesIO(made["torch"]), weights_only=False),
        lambda: np.load(io.BytesIO(made["numpy"]), allow_pickle=True),
        lambda: yaml.unsafe_load(made["yaml"]),
    ):
        load()
        (tmp_path / "mark").rmdir()


@pytest.mark.parametrize("reader", TARGETS, indirect=True)
def test_no_suffix_makes_a_reader_run_what_a_file_says(reader: Reader, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for kind, content in disguises(mark).items():
        was_refused = refused(reader, content)
        bytes_alone = reader.name == "archive" and kind in ("zip", "torch")  # of its members
        harmless = reader.name in FORGIVING or bytes_alone
        assert was_refused or harmless, f"{reader.name} takes a {kind}"
        assert not mark.exists(), f"{reader.name} ran a {kind}"


@pytest.mark.parametrize("reader", TEXTS, indirect=True)
@pytest.mark.parametrize("opening", ["[", '{"a": ', '{"images": [', '[{"name": '])
def test_documents_without_end_are_refused(reader: Reader, opening: str) -> None:
    for content in (opening * DEEP, opening * DEEP + "1" + "}]"[opening == "["] * DEEP):
        assert refused(reader, content.encode()) or reader.name in FORGIVING


@pytest.mark.parametrize("reader", PICTURES, indirect=True)
def test_a_picture_that_claims_to_fill_the_memory_is_refused(
    reader: Reader, png_header: Callable[[int, int], bytes]
) -> None:
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1)):
        assert refused(reader, png_header(width, height))


def test_annotations_of_a_picture_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    from workbench.datasets.annotations import load_annotations

    path = tmp_path / "lvis_v1_train.json"
    path.write_text(
        '{"images": [{"id": 1, "width": 1000000, "height": 1000000}], "annotations": []}'
    )
    with pytest.raises(DataError, match=r"image 1: 1000000 x 1000000 pixels are over the limit"):
        load_annotations(path)


def test_a_small_table_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 1_000_000
    table = pa.table({"class_id": pa.array(np.zeros(rows, dtype=np.int64))})
    for name in ("name", "group", "supercategory", "color", "hue"):
        table = table.append_column(name, table["class_id"])
    path = tmp_path / "vocabulary.parquet"
    pq.write_table(table, path, row_group_size=rows)
    assert path.stat().st_size < 100_000  # and 48 MB in memory
    assert len(read_parquet(path, remedy="make it again")) == rows
    monkeypatch.setattr(readers, "MAX_TABLE_BYTES", 40 * 2**20)
    with pytest.raises(RunError, match=r"damaged \(its 1000000 rows are over 40 MB\)") as caught:
        read_parquet(path, remedy="make it again")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="rows are over"):
        Vocabulary.from_parquet(path)
    with pytest.raises(RunError, match="is damaged"):
        RunDirectory(tmp_path).vocabulary()


ALIASES = "a0: &a0 [x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize("reader", ["configuration", "settings of a run"], indirect=True)
@pytest.mark.parametrize(
    "text",
    [ALIASES, "a: &a [*a]", "data: &d {root: *d}", "#" + "x" * 300_000],
    ids=["aliases of aliases", "a list in itself", "a section in itself", "long"],
)
def test_settings_that_nobody_means_are_refused(reader: Reader, text: str) -> None:
    assert refused(reader, text.encode()) or reader.name in FORGIVING


def test_settings_may_be_repeated_by_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {mean: &m [0.1, 0.2, 0.3], std: *m}\n")
    assert config.load_yaml(path).model.std == (0.1, 0.2, 0.3)
