from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from workbench.constants import IGNORE_INDEX
from workbench.errors import DataError
from workbench.vocabulary import Vocabulary, load_table, palette, raw_to_train, read_table

# Written down from the paper's appendix, not read from the shipped table.
MERGED = {
    92: ("banner", 50),
    93: ("blanket", 110),
    98: ("cabinet", 181),
    108: ("cupboard", 346),
    109: ("curtain", 350),
    137: ("napkin", 713),
    141: ("pillow", 804),
    153: ("salad", 904),
    165: ("table", 1050),
    168: ("towel", 1108),
}


def table(**changes: object) -> pd.DataFrame:
    columns: dict[str, object] = {
        "class_id": [0, 1, 2],
        "name": ["sky", "sea", "sun"],
        "group": ["stuff", "stuff", "rare"],
        "supercategory": ["", "", ""],
        "color": ["#0000ff", "#00ffFF", "#ffff00"],
        "train_images": [3, 2, 1],
        "train_pixels": [30, 20, 10],
        "hue": ["blue", "cyan", "yellow"],
    }
    return pd.DataFrame(columns | changes)


def lookup(key: str, source: str | None = None) -> np.ndarray:
    rows = load_table(key)
    return raw_to_train(rows if source is None else rows[rows["source"] == source])


def test_lvis_coco_has_1284_classes_in_the_published_proportions() -> None:
    vocabulary = Vocabulary.from_table(load_table("lvis-coco"))
    assert len(vocabulary) == 1284
    assert Counter(vocabulary.groups) == {"rare": 337, "common": 461, "frequent": 405, "stuff": 81}
    assert vocabulary.names[0] == "aerosol_can"
    assert vocabulary.names[1202] == "zucchini"
    assert vocabulary.names[1203] == "branch"
    assert vocabulary.names[1283] == "wood"
    assert len(set(vocabulary.names)) == 1284
    assert len(np.unique(vocabulary.colors, axis=0)) == 1284


def test_ten_stuff_categories_are_lvis_categories() -> None:
    stuff = lookup("lvis-coco", "stuff")
    names = Vocabulary.from_table(load_table("lvis-coco")).names
    for raw, (name, lvis) in MERGED.items():
        assert stuff[raw] == lvis - 1
        assert names[lvis - 1] == name
    rest = [raw for raw in range(92, 183) if raw not in MERGED]
    assert stuff[rest].tolist() == list(range(1203, 1284))
    assert stuff[183] == IGNORE_INDEX
    assert lookup("lvis-coco", "lvis")[1:].tolist() == list(range(1203))


def test_blanket_and_cabinet_are_not_remapped_twice() -> None:
    # In place, 93 -> 110 would be taken for desk-stuff (110 -> 1217), 98 -> 181 for a window.
    mask = np.array([93, 98, 110, 181])
    assert lookup("lvis-coco", "stuff")[mask].tolist() == [109, 180, 1216, 1282]


def test_ade20k_and_voc_lookups() -> None:
    ade = lookup("ade20k")
    assert ade[0] == IGNORE_INDEX
    assert ade[1:].tolist() == list(range(150))
    voc = lookup("voc")
    assert voc[:21].tolist() == list(range(21))
    assert voc[255] == IGNORE_INDEX
    assert Vocabulary.from_table(load_table("voc")).table["color"][15] == "#c08080"  # person


def test_raw_to_train_is_one_step_and_sized() -> None:
    rows = pd.DataFrame(
        {
            "raw_id": [1, 2, 5],
            "train_id": pd.array([2, 1, pd.NA], dtype="Int64"),
            "name": list("abc"),
        }
    )
    assert raw_to_train(rows).tolist() == [-100, 2, 1, -100, -100, -100]
    assert raw_to_train(rows, 7, unlisted=-1).tolist() == [-1, 2, 1, -1, -1, -100, -1]
    with pytest.raises(DataError, match=r"does not fit a lookup of 3 ids"):
        raw_to_train(rows, 3)


def test_attributes_survive_parquet(tmp_path: Path) -> None:
    vocabulary = Vocabulary(table())
    vocabulary.to_parquet(tmp_path / "vocabulary.parquet")
    again = Vocabulary.from_parquet(tmp_path / "vocabulary.parquet")
    pd.testing.assert_frame_equal(again.table, vocabulary.table)
    assert again.table["hue"].tolist() == ["blue", "cyan", "yellow"]
    assert again.colors.tolist() == [[0, 0, 255], [0, 255, 255], [255, 255, 0]]


def test_with_counts_leaves_the_original() -> None:
    vocabulary = Vocabulary(table())
    counted = vocabulary.with_counts([7, 8, 9], [70, 80, 2**40])
    assert counted.table["train_pixels"].tolist() == [70, 80, 2**40]
    assert vocabulary.table["train_images"].tolist() == [3, 2, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_id": [0, 2, 1]}, "must be 0..C-1 in order"),
        ({"name": ["sky", " ", "sun"]}, "class 1: name ' ' is empty"),
        ({"color": ["#0000ff", "red", "#ffff00"]}, "class 1: color 'red'"),
        ({"train_pixels": [1, -1, 1]}, "'train_pixels' has a negative value"),
        ({"train_images": ["a", "b", "c"]}, "'train_images' holds something else"),
    ],
)
def test_faulty_vocabularies_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Vocabulary(table(**changes))
    assert "\n" not in str(caught.value)


def test_missing_column_and_no_rows() -> None:
    with pytest.raises(DataError, match="lacks the column 'color'"):
        Vocabulary(table().drop(columns="color"))
    with pytest.raises(DataError, match="has no class"):
        Vocabulary(table().iloc[:0])


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.parquet"
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match=r"vocabulary\.parquet: not a readable vocabulary"):
        Vocabulary.from_parquet(path)
    with pytest.raises(DataError, match=r"none\.parquet"):
        Vocabulary.from_parquet(tmp_path / "none.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raw_id,name\n1,a\n", "column 'train_id' is missing"),
        ("raw_id,train_id,name\n1,x,a\n", "line 2: train_id 'x' is not a whole number"),
        ("raw_id,train_id,name\n-1,0,a\n", "line 2: raw_id '-1' is not a whole number"),
        ("raw_id,train_id,name\n1,0,a\n1,1,b\n", "line 3: raw_id 1 is listed twice"),
        ("raw_id,train_id,name\n1,0,a\n2,2,b\n", "train_id 1 is missing"),
        ("raw_id,train_id,name\n1,,a\n", "no row has a train_id"),
        ("", "not a readable class table"),
    ],
)
def test_faulty_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


def test_words_that_pandas_takes_for_missing_are_names(tmp_path: Path) -> None:
    path = tmp_path / "mapping.csv"
    path.write_text("raw_id,train_id,name,group\n4,1,null,\n9,0,NA,rare\n")
    vocabulary = Vocabulary.from_table(read_table(path))
    assert vocabulary.names == ["NA", "null"]
    assert vocabulary.groups == ["rare", "all"]


def test_unknown_table_lists_the_shipped_ones() -> None:
    with pytest.raises(DataError, match=r"known: ade20k, .*lvis_coco, voc"):
        load_table("imagenet")


def test_palette_is_distinct_stable_and_grows_at_the_end() -> None:
    colors = palette(3000)
    assert len(set(colors)) == 3000
    assert palette(1284) == colors[:1284]
    first = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colors[:20]])
    gaps = np.abs(first[:, None] - first[None]).sum(axis=2)[~np.eye(20, dtype=bool)]
    assert gaps.min() > 60
    assert len(palette(400_000)) == 400_000


def test_shipped_facts_match_the_datasets_own(realdata: Path) -> None:
    facts = {path.stem: json.loads(path.read_text()) for path in realdata.glob("classes/*.json")}
    lvis = facts["lvis_v1"]
    vocabulary = Vocabulary.from_table(load_table("lvis-coco"))
    assert vocabulary.names[:1203] == [entry["name"] for entry in lvis]
    words = {"r": "rare", "c": "common", "f": "frequent"}
    assert vocabulary.groups[:1203] == [words[entry["frequency"]] for entry in lvis]
    stuff = {e["id"]: e["name"] for e in facts["cocostuff_182"] if e["kind"] == "stuff"}
    rows = load_table("lvis-coco")
    rows = rows[(rows["source"] == "stuff") & rows["train_id"].notna()]
    assert dict(zip(rows["raw_id"], rows["name"], strict=True)) == stuff
    ade = Vocabulary.from_table(load_table("ade20k")).names
    assert ade == [entry["name_first"] for entry in facts["ade20k_150"]]
