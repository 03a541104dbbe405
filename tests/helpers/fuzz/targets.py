"""Every reader of files and texts of strangers, as a function of one file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from helpers.fuzz import seeds
from workbench.errors import WorkbenchError


class WrongResult(Exception):
    """What a reader has made of a file cannot be right."""


class Target(NamedTuple):
    """A reader.

    Attributes:
        suffix: Of the file it is given.
        read: Reads it, and checks the result where something is known about it.
        files: Makes valid ones.
        documents: Makes valid ones as plain values, where they are JSON or YAML.
        refusals: How it says that a file is not to be had.
        cost: Cases of the cheapest reader that one of this takes the time of.
    """

    suffix: str
    read: Callable[[Path], object]
    files: Callable[[], Sequence[bytes]]
    documents: Callable[[], Sequence[Any]] = tuple
    refusals: tuple[type[Exception], ...] = (WorkbenchError,)
    cost: int = 1


def _check(fine: bool, what: str) -> None:
    if not fine:
        raise WrongResult(what)


def _config(path: Path) -> None:
    from workbench import config

    run = config.load_yaml(path)
    _check(config.from_dict(config.to_dict(run)) == run, "does not survive being written")
    _check(np.isfinite([run.train.lr, run.model.temperature]).all(), "numbers that are none")


def _annotations(path: Path) -> None:
    from workbench.datasets.annotations import load_annotations, paint

    loaded = load_annotations(path)
    whole = json.loads(path.read_bytes())  # the strict parser must take it too
    ids = [entry["id"] for entry in whole["images"]]
    _check([entry["id"] for entry in loaded.images] == ids, "images are missing")
    for entry in loaded.images:
        regions = loaded.regions.get(entry["id"], [])
        if entry["height"] * entry["width"] > 10**6:
            continue
        allowed = {65535, *(region.class_id for region in regions)}
        try:
            mask = paint(regions, entry["height"], entry["width"], 65535)
        except (ValueError, TypeError, OverflowError):  # which make_masks turns into a line
            continue
        _check(set(np.unique(mask).tolist()) <= allowed, "ids that no annotation has")


def _panoptic(path: Path) -> None:
    from workbench.datasets.panoptic_json import load_entries

    entries = load_entries(path, {1: "person", 200: "rug-merged"})
    json.loads(path.read_bytes())
    for entry in entries:
        _check(".." not in str(entry).split("/"), "a path that leads out")


def _label_map(path: Path) -> None:
    from workbench.datasets.coco_stuff10k import read_label_map

    ids = read_label_map(path)
    _check(ids.ndim == 2 and ids.dtype.kind in "iu", "no matrix of ids")


def _mask(path: Path) -> None:
    from workbench.datasets.images import read_mask

    ids = read_mask(path)
    _check(ids.ndim == 2 and ids.dtype in (np.uint8, np.uint16, np.int32), "no label map")


def _image(path: Path) -> None:
    from workbench.datasets.images import read_color_codes, read_image

    _check(read_image(path).mode == "RGB", "no RGB")
    _check(read_color_codes(path).shape[2:] == (3,), "no colours")


def _picture(path: Path) -> None:
    from workbench.datasets.pictures import picture_pixels, read_picture

    picture_pixels(path)
    _check(read_picture(path).mode == "RGB", "no RGB")


def _upload(path: Path) -> None:
    from app.uploads import WORK_PIXELS, read_upload

    image = read_upload(path.read_bytes()).image
    _check(image.mode == "RGB" and image.width * image.height <= WORK_PIXELS, "too large")


def _class_file(path: Path) -> None:
    import torch

    from workbench.runs.class_file import read_class_file

    classes = read_class_file(path)
    _check(bool(torch.isfinite(classes.weight).all()), "embeddings that are no numbers")
    _check(len(classes.vocabulary) == len(classes.weight), "not a name for each class")


def _class_table(path: Path) -> None:
    from workbench.runs.class_table import read_class_table

    _vocabulary_is_sound(read_class_table(path))


def _vocabulary_is_sound(vocabulary: Any) -> None:
    table = vocabulary.table
    _check(table["class_id"].tolist() == list(range(len(table))), "ids are not the rows")
    _check(all(isinstance(name, str) for name in table["name"]), "names that are no text")


def _raw_table(path: Path) -> None:
    from workbench.vocabulary import Vocabulary, read_table

    _vocabulary_is_sound(Vocabulary.from_table(read_table(path, number=True)))


def _vocabulary(path: Path) -> None:
    from workbench.runs import RunDirectory

    _vocabulary_is_sound(RunDirectory(path.parent).vocabulary())


def _vocabulary_json(path: Path) -> None:
    from workbench.runs.vocabulary_json import vocabulary_from_json

    text = path.read_text("utf-8", "replace")
    vocabulary = vocabulary_from_json(text, seeds.CLASSES)
    _vocabulary_is_sound(vocabulary)
    given = json.loads(text)["name"]
    _check(vocabulary.table["name"].tolist() == given, "other names than the file's")


def _settings_of_run(path: Path) -> None:
    from workbench.runs import RunDirectory
    from workbench.runs.listing import describe_run

    run = RunDirectory(path.parent)
    describe_run(path.parent)
    _check(isinstance(run.config(), dict), "no settings")


def _metrics(path: Path) -> None:
    from workbench.runs import RunDirectory

    run = RunDirectory(path.parent)
    _check("step" in run.metrics() or len(run.metrics()) > 0, "no table")
    run.truncate_metrics(5)


def _status(path: Path) -> None:
    from workbench.runs import RunDirectory

    _check(isinstance(RunDirectory(path.parent).status()["state"], str), "no state")


def _summary(path: Path) -> None:
    from workbench.runs.readers import read_json

    _check(isinstance(read_json(path, remedy="x"), dict), "no object")


def _parquet(path: Path) -> None:
    from workbench.runs.readers import read_parquet

    read_parquet(path, remedy="x").astype(object)


def _tensors(path: Path) -> None:
    from workbench.runs.checkpoints import load_table, load_tensors

    load_tensors(path, remedy="x")
    _check(load_table(path, "a.weight", remedy="x").ndim == 2, "no table")


def _weights(path: Path) -> None:
    from workbench.models.weights import read_tensors

    read_tensors(path)


def _archive(path: Path) -> None:
    from workbench.datasets.unpack import unpack

    out = path.parent / "unpacked"
    before = set(path.parent.iterdir())
    try:
        unpack(path, out, max_bytes=10**6, max_files=100)
    finally:
        outside = set(path.parent.iterdir()) - before - {out}
        _check(not outside, "files outside of the folder")
    found = [item for item in out.rglob("*") if item.is_symlink()]
    _check(not found, "a link")


def _predictions(path: Path) -> None:
    from workbench.inference.manifest import Manifest

    manifest = Manifest(path.parent).read()
    for name in manifest.results():
        _check(".." not in name.split("/") and not name.startswith("/"), "a path that leads out")
    for stem in {*manifest.begun, *manifest.done}:
        manifest.is_done(stem, 9, 1)
        manifest.foreign(stem)


def _shared(path: Path) -> None:
    from workbench.runs.shared_folder import read_shared

    read_shared(path.parent)


def _exported(path: Path) -> None:
    from workbench.export import load_exported

    model = load_exported(path)
    _vocabulary_is_sound(model.vocabulary)
    labels, distances = model(np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4))
    _check(labels.shape == distances.shape, "labels without their distances")


def _url(path: Path) -> None:
    from helpers.fuzz.urls import check_url

    check_url(path.read_text("utf-8", "surrogateescape"))


def _vocabulary_columns() -> list[Any]:
    from workbench.runs.vocabulary_json import vocabulary_to_json

    columns = json.loads(vocabulary_to_json(seeds.vocabulary()))
    return [columns]


def _vocabulary_parquet() -> list[bytes]:
    return seeds.tables(".parquet")


def _shared_settings() -> list[Any]:
    return [{"format": "workbench-model", "version": 1, "classes": seeds.CLASSES, "model": {}}]


def _metric_lines() -> list[bytes]:
    lines = [json.dumps({"step": step, "loss": 1 / step, "lr": 0.1}) for step in range(1, 20)]
    return ["\n".join(lines).encode() + b"\n"]


def _statuses() -> list[Any]:
    return [{"state": "running", "step": 3, "steps": 9, "heartbeat": 1.0e9, "pid": 1}]


def _uploads() -> tuple[type[Exception], ...]:
    from app.uploads import UploadError

    return (UploadError,)


TARGETS: dict[str, Target] = {
    "configuration": Target(
        ".yaml",
        _config,
        lambda: seeds.as_json(seeds.configurations()),
        seeds.configurations,
        cost=60,
    ),
    "annotations": Target(
        ".json", _annotations, lambda: seeds.as_json(seeds.annotations()), seeds.annotations
    ),
    "panoptic": Target(".json", _panoptic, lambda: seeds.as_json(seeds.panoptic()), seeds.panoptic),
    "label map (.mat)": Target(".mat", _label_map, seeds.matlab, cost=2),
    "mask": Target(".png", _mask, seeds.masks),
    "image": Target(".jpg", _image, seeds.pictures),
    "picture": Target(".png", _picture, seeds.pictures),
    "upload": Target(".bin", _upload, seeds.pictures, refusals=_uploads()),
    "class file": Target(".safetensors", _class_file, seeds.class_files, cost=4),
    "class table (csv)": Target(".csv", _class_table, lambda: seeds.tables(".csv"), cost=8),
    "class table (json)": Target(".json", _class_table, lambda: seeds.tables(".json"), cost=8),
    "class table (parquet)": Target(
        ".parquet", _class_table, lambda: seeds.tables(".parquet"), cost=8
    ),
    "table of ids": Target(".csv", _raw_table, seeds.raw_tables, cost=8),
    "vocabulary": Target(".parquet", _vocabulary, _vocabulary_parquet, cost=8),
    "vocabulary (json)": Target(
        ".json",
        _vocabulary_json,
        lambda: seeds.as_json(_vocabulary_columns()),
        _vocabulary_columns,
        cost=8,
    ),
    "settings of a run": Target(
        ".yaml",
        _settings_of_run,
        lambda: seeds.as_json(seeds.configurations()),
        seeds.configurations,
        cost=8,
    ),
    "metrics": Target(".jsonl", _metrics, _metric_lines, cost=4),
    "status": Target(".json", _status, lambda: seeds.as_json(_statuses()), _statuses),
    "summary": Target(".json", _summary, lambda: seeds.as_json(_statuses()), _statuses),
    "table of a run": Target(".parquet", _parquet, _vocabulary_parquet, cost=4),
    "checkpoint": Target(".safetensors", _tensors, lambda: seeds.weights()[1:]),
    "weights": Target(".pth", _weights, seeds.weights, cost=2),
    "archive": Target(".zip", _archive, seeds.archives, cost=4),
    "list of predictions": Target(".jsonl", _predictions, seeds.predictions),
    "shared model": Target(
        ".json", _shared, lambda: seeds.as_json(_shared_settings()), _shared_settings, cost=8
    ),
    "exported model": Target(".onnx", _exported, seeds.exported, cost=8),
    "address": Target(".txt", _url, lambda: [b"12,7", b"1283", b"0.25", b"UMAP 2D", b"a/b.jpg"]),
}
"""All readers. Files of a run lie under the names they have there, see ``place``."""

_NAMES: dict[str, str] = {
    "vocabulary": "vocabulary.parquet",
    "settings of a run": "config.yaml",
    "metrics": "metrics.jsonl",
    "status": "status.json",
    "list of predictions": "predict.jsonl",
    "shared model": "config.json",
}


def place(name: str, folder: Path) -> Path:
    """Where a target's file lies in a folder, which is made ready for it."""
    if name == "shared model":
        from workbench.runs.vocabulary_json import vocabulary_to_json

        (folder / "vocabulary.json").write_text(vocabulary_to_json(seeds.vocabulary()))
        (folder / "model.safetensors").write_bytes(seeds.weights()[1])
    return folder / _NAMES.get(name, f"case{TARGETS[name].suffix}")
