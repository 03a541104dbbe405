"""Edits of the classes against plain numpy, and against pictures of the shipped run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.constants import IGNORE_INDEX
from workbench.distances import ClassEmbeddings, get_distance, logits
from workbench.errors import DataError, RunError
from workbench.inference import load_model
from workbench.inference.class_sets import check_fit, class_set, classes_of_run, embeddings_of
from workbench.inference.inspect import PixelFeatures, embeddings_in, extract_features, pixel_maps
from workbench.inference.relabel import label, relabel
from workbench.inference.vocabulary_edits import (
    SEPARATION_MARGIN,
    Add,
    ClassSet,
    Edit,
    Load,
    Merge,
    Rename,
    Subset,
    add_class,
    load,
    merge,
    remap,
    rename,
    replay,
    subset,
)
from workbench.inference.vocabulary_rows import ADDED
from workbench.runs import RunDirectory
from workbench.vocabulary import Vocabulary, palette

CLASSES, DIM = 300, 8
Floats = npt.NDArray[np.float64]


def make(classes: int = CLASSES, distance: str = "euclidean", seed: int = 0) -> ClassSet:
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "class_id": np.arange(classes),
            "name": [f"class {index}" for index in range(classes)],
            "group": [("rare", "common", "frequent")[index % 3] for index in range(classes)],
            "supercategory": [f"super {index % 7}" for index in range(classes)],
            "color": palette(classes),
            "train_images": rng.integers(1, 500, classes),
            "train_pixels": rng.integers(1, 50_000, classes),
            "hue": [f"hue {index % 5}" for index in range(classes)],
            "size": rng.normal(size=classes),
        }
    )
    linear = not get_distance(distance).normalized
    weight = torch.from_numpy(rng.normal(size=(classes, DIM))).float()
    bias = torch.from_numpy(rng.normal(size=classes)).float() if linear else None
    table_of = ClassEmbeddings(weight, bias, torch.tensor(7.5))
    return class_set(table_of, distance, Vocabulary(table), source="run", step=500)


def unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def names(classes: ClassSet) -> list[str]:
    assert classes.vocabulary.table["class_id"].tolist() == list(range(len(classes)))
    assert len(classes.weight) == len(classes.vocabulary)
    return classes.vocabulary.names


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "squared_euclidean"])
def test_an_added_row_is_the_normalised_mean_of_unit_embeddings(distance: str) -> None:
    classes = make(distance=distance)
    pixels = np.random.default_rng(1).normal(1.0, 0.5, (40, DIM)) * np.linspace(1, 90, 40)[:, None]
    edited = add_class(classes, "  my \n class ", torch.from_numpy(pixels).float())
    mean = unit(pixels).mean(axis=0)
    assert np.allclose(edited.classes.weight[-1].numpy(), unit(mean), atol=1e-6)
    assert torch.equal(edited.classes.weight[:-1], classes.weight)
    assert edited.lookup.tolist() == list(range(CLASSES))
    assert names(edited.classes)[-1] == "my class"
    row = edited.classes.vocabulary.table.iloc[-1]
    assert (row["group"], row["hue"], row["train_images"], row["train_pixels"]) == (ADDED, "", 0, 0)
    assert np.isnan(row["size"])
    assert row["color"] not in set(classes.vocabulary.table["color"])
    assert len(names(classes)) == CLASSES  # the old value is as it was


def test_an_added_class_of_the_linear_distance_wins_half_of_its_pixels() -> None:
    classes = make(distance="linear")
    pixels = torch.from_numpy(np.random.default_rng(2).normal(0.3, 0.4, (41, DIM))).float()
    edited = add_class(classes, "new", pixels).classes
    lengths = classes.weight.norm(dim=1)
    assert edited.weight[-1].norm().item() == pytest.approx(lengths.median().item(), rel=1e-5)
    direction = unit(unit(pixels.numpy()).mean(axis=0))
    assert np.allclose(unit(edited.weight[-1].numpy()), direction, atol=1e-5)
    scores = logits(pixels, embeddings_of(edited), get_distance("linear"))
    assert (scores.argmax(dim=1) == CLASSES).float().mean().item() >= 0.5
    assert edited.bias is not None and classes.bias is not None
    assert edited.bias[-1] >= classes.bias.median()


def test_a_class_within_the_separation_margin_is_named() -> None:
    assert SEPARATION_MARGIN == 0.2
    classes = make()
    row = classes.weight[299]
    close = add_class(classes, "twin", row[None] * 3)
    assert close.near is not None
    assert (close.near.class_id, close.near.other_id, close.near.name) == (300, 299, "class 299")
    assert close.near.distance == pytest.approx(0.0, abs=1e-5)
    other = torch.zeros(DIM)
    other[0] = 1.0
    aside = row / row.norm() + 0.5 * (other - (other @ row) * row / row.norm() ** 2)
    apart = add_class(classes, "else", aside[None])
    points = unit(classes.weight.numpy().astype(np.float64))
    nearest = np.linalg.norm(points - unit(aside.numpy().astype(np.float64)), axis=1).min()
    assert nearest > 0.2
    assert apart.near is None
    assert add_class(classes, "else", aside[None], margin=nearest + 0.01).near is not None


def test_pixels_without_a_common_direction_are_refused() -> None:
    pixels = torch.eye(DIM)[:1].repeat(2, 1) * torch.tensor([[1.0], [-1.0]])
    with pytest.raises(DataError, match="no direction in common"):
        add_class(make(), "new", pixels)
    with pytest.raises(DataError, match="mark at least one pixel"):
        add_class(make(), "new", torch.zeros(0, DIM))
    with pytest.raises(DataError, match="no finite embedding"):
        add_class(make(), "new", torch.full((3, DIM), torch.nan))


@pytest.mark.parametrize(("name", "words"), [("class 7", "class 7"), (" ", "no name")])
def test_names_are_there_and_unique(name: str, words: str) -> None:
    classes = make()
    for edit in (
        Add(name, torch.ones(1, DIM)),
        Rename(280, name),
        Merge((1, 299), name),
    ):
        with pytest.raises(DataError, match=words):
            replay(classes, [edit])
    assert names(rename(classes, 7, "class 7").classes)[7] == "class 7"  # its own name is free
    assert names(merge(classes, [7, 299], "class 7").classes)[7] == "class 7"


@pytest.mark.parametrize("bad", [-1, CLASSES])
def test_unknown_classes_are_refused(bad: int) -> None:
    for edit in (Rename(bad, "x"), Merge((0, bad), "x"), Subset((bad,))):
        with pytest.raises(DataError, match=r"only the classes 0\.\.299"):
            replay(make(), [edit])
    with pytest.raises(DataError, match="at least two"):
        merge(make(), [5, 5], "x")
    with pytest.raises(DataError, match="at least one"):
        subset(make(), [])


@pytest.mark.parametrize("distance", ["euclidean", "linear"])
def test_a_merged_class_has_the_mean_row_and_the_sum_of_pixels(distance: str) -> None:
    classes = make(distance=distance)
    ids = [260, 3, 299]
    edited = merge(classes, ids, "merged")
    rows = classes.weight.numpy().astype(np.float64)[ids]
    wanted = unit(unit(rows).mean(axis=0))
    if distance == "linear":
        wanted = wanted * np.linalg.norm(rows, axis=1).mean()
        assert edited.classes.bias is not None and classes.bias is not None
        assert edited.classes.bias[3].item() == pytest.approx(classes.bias[ids].mean().item())
    assert np.allclose(edited.classes.weight[3].numpy(), wanted, atol=1e-6)
    old, new = classes.vocabulary.table, edited.classes.vocabulary.table
    assert len(names(edited.classes)) == CLASSES - 2
    assert new["name"].iloc[3] == "merged"
    assert new["train_pixels"].iloc[3] == old["train_pixels"].iloc[ids].sum()
    assert new["train_images"].iloc[3] == old["train_images"].iloc[ids].max()
    leader = old.iloc[ids].sort_values("train_pixels").iloc[-1]
    assert (new["group"].iloc[3], new["color"].iloc[3]) == (leader["group"], leader["color"])
    assert new["hue"].iloc[3] == ""  # they differ
    assert old["name"].iloc[3] == "class 3"
    untouched = [index for index in range(CLASSES) if index not in ids]
    assert torch.equal(
        edited.classes.weight[edited.lookup[untouched]], classes.weight[torch.tensor(untouched)]
    )


id_sets = st.sets(st.integers(0, CLASSES - 1), min_size=2, max_size=40)


@given(merged=id_sets, kept=id_sets)
@settings(max_examples=25, deadline=None)
def test_truth_follows_through_merge_and_subset(merged: set[int], kept: set[int]) -> None:
    """The lookup against names: what a pixel was called tells what it must be called after."""
    classes = make()
    first = merge(classes, sorted(merged), "merged")
    chosen = sorted(int(index) for index in set(first.lookup[sorted(kept)].tolist()))
    edited = replay(classes, [Merge(tuple(sorted(merged)), "merged"), Subset(tuple(chosen))])
    mask = np.arange(-2, CLASSES).reshape(2, -1)
    mask[0, 0] = IGNORE_INDEX
    after = remap(mask, edited.lookup)
    new_names = names(edited.classes)
    survivors = {first.classes.vocabulary.names[index] for index in chosen}
    for old, new in zip(mask.flat, after.flat, strict=True):
        called = "merged" if old in merged else f"class {old}"
        if old < 0 or called not in survivors:
            assert new == IGNORE_INDEX
        else:
            assert new_names[new] == called
    assert set(new_names) == survivors


def test_edits_replay_to_the_same_classes() -> None:
    classes = make()
    edits: list[Edit] = [
        Add("new", torch.ones(3, DIM)),
        Merge((299, 300, 256), "both"),
        Rename(256, "renamed"),
        Subset(tuple(range(200, 290))),
    ]
    once, again = replay(classes, edits), replay(classes, edits)
    assert torch.equal(once.classes.weight, again.classes.weight)
    assert once.lookup.tolist() == again.lookup.tolist()
    assert names(once.classes)[once.lookup[299]] == "renamed" == names(once.classes)[56]
    assert once.lookup[0] == IGNORE_INDEX
    undone = replay(classes, edits[:-1])
    assert len(undone.classes) == CLASSES - 1
    assert (once.classes.source, once.classes.step) == ("run", 500)


def test_loaded_classes_are_found_by_name() -> None:
    classes = make()
    other = rename(subset(classes, range(250, 300)).classes, 0, "stranger").classes
    edited = load(classes, other)
    assert edited.lookup[250] == IGNORE_INDEX
    assert edited.lookup[251:].tolist() == list(range(1, 50))
    assert replay(classes, [Load(other)]).classes is other
    twice = other.vocabulary.table.assign(name="same")
    same = class_set(embeddings_of(other), other.distance, Vocabulary(twice))
    assert set(load(classes, same).lookup.tolist()) == {IGNORE_INDEX}


def test_classes_of_another_model_are_refused() -> None:
    with pytest.raises(DataError, match="distance is cosine, the run's is euclidean"):
        load(make(), make(distance="cosine"))
    with pytest.raises(DataError, match="embedding_dim is 8, the run's is 64"):
        check_fit(make(), dim=64, distance="euclidean")
    biased = class_set(
        ClassEmbeddings(torch.ones(CLASSES, DIM), torch.ones(CLASSES), torch.tensor(1.0)),
        "euclidean",
        make().vocabulary,
    )
    with pytest.raises(DataError, match="'bias' does not go with"):
        check_fit(biased, dim=DIM, distance="euclidean")


@pytest.mark.parametrize("distance", ["euclidean", "cosine", "linear"])
def test_a_relabelled_picture_is_the_one_segmented_anew(distance: str) -> None:
    classes = make(distance=distance)
    rng = np.random.default_rng(5)
    features = PixelFeatures(torch.from_numpy(rng.normal(size=(DIM, 7, 9))).float(), (27, 33))
    before = label(features, classes)
    ours = pixel_maps(features, embeddings_of(classes), distance).labels
    assert (before.labels == ours).mean() > 0.998  # but for rounding ties
    assert ours.max() > 255
    present = [int(one) for one in np.unique(before.labels)]
    absent = sorted(set(range(CLASSES)) - set(present))
    pixels = embeddings_in(features, before.labels == present[-1])
    for edits in (
        [Add("new", pixels)],
        [Rename(present[0], "x"), Subset(tuple(sorted({*present, *absent[::2]})))],
        [Merge(tuple(present[:3]), "m"), Add("new", pixels)],
        [Merge(tuple(absent[:3]), "m")],
        [Subset(tuple(absent))],
        [Subset(tuple(absent[:2])), Add("new", pixels), Rename(0, "y")],
    ):
        edited = replay(classes, edits)
        fresh = pixel_maps(features, embeddings_of(edited.classes), distance).labels
        after = relabel(features, before, classes, edited.classes, edited.lookup)
        assert (after == fresh).mean() > 0.998


@pytest.fixture(scope="module")
def demo(repository: Path) -> RunDirectory:
    run = RunDirectory(repository / "runs" / "demo")
    if not run.has_checkpoint():
        pytest.skip("the shipped run is not there")
    return run


def test_a_removed_class_comes_back_from_a_dozen_pixels(demo: RunDirectory) -> None:
    """Twelve pixels of truth in one kept picture; scored in another one."""
    model, _ = load_model(demo)
    base = classes_of_run(demo)
    per_class = demo.read_per_class("val")
    counts = demo.read_per_image_class("val")
    counts = counts.assign(image_id=counts["image_id"].astype(str))
    kept = counts["image_id"].isin(demo.samples("val")) & (counts["truth_pixels"] >= 150)
    images = counts[kept].groupby("class_id")["image_id"].agg(lambda ids: sorted(set(ids)))
    learned = per_class[(per_class["iou"] > 0.6) & (per_class["group"] != "stuff")]
    learned = learned.sort_values(["iou", "class_id"], ascending=False)["class_id"]
    chosen = [int(c) for c in learned if len(images.get(c, ())) >= 2][:8]
    assert len(chosen) == 8
    scores = []
    for class_id in chosen:
        (there, truth), (here, target) = (
            (extract_features(model, np.array(picture)), mask)
            for picture, mask, _ in (
                demo.read_sample("val", image) for image in images[class_id][:2]
            )
        )
        found = np.flatnonzero(truth == class_id)
        few = np.zeros(truth.size, dtype=bool)
        few[found[np.linspace(0, len(found) - 1, 12).astype(int)]] = True
        without = subset(base, [c for c in range(len(base)) if c != class_id]).classes
        pixels = embeddings_in(there, few.reshape(truth.shape))
        edited = add_class(without, "again", pixels).classes
        given_it = pixel_maps(here, embeddings_of(edited), edited.distance).labels == len(without)
        true = target == class_id
        scores.append((given_it & true).sum() / (given_it | true).sum())
    assert np.median(scores) > 0.5, scores
    assert min(scores) > 0.1, scores


def test_a_dense_run_has_no_classes_to_take_out(tmp_path: Path) -> None:
    from workbench import config
    from workbench.inference import build_from_config

    settings_ = config.Run(
        model=config.Model(network="small", width=8), loss=config.Loss(name="dense")
    )
    vocabulary = make(12).vocabulary
    run = RunDirectory.create(tmp_path, config=config.to_dict(settings_), vocabulary=vocabulary)
    model = build_from_config(settings_, 12)
    run.save_checkpoint(1, model=model.state_dict(), optimizer=None, trainer={})
    with pytest.raises(RunError, match="dense"):
        classes_of_run(run)
