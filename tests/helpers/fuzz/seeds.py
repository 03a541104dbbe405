"""Small valid files of every kind that is read."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from helpers.vocabularies import make_vocabulary
from workbench import config
from workbench.presets import PRESETS, get_preset
from workbench.vocabulary import Vocabulary

CLASSES = 300


def vocabulary() -> Vocabulary:
    """300 classes with a column of the user's own."""
    return make_vocabulary(CLASSES, hue="teal")


def configurations() -> list[Any]:
    """Settings of some presets, as plain values."""
    return [config.to_dict(get_preset(name)) for name in list(PRESETS)[:4]]


def annotations() -> list[Any]:
    """LVIS's and COCO's json, as plain values: polygons and run lengths of both kinds."""
    images = [
        {"id": number, "width": 8, "height": 6, "coco_url": f"x/{number}.jpg"} for number in (1, 2)
    ]
    square = [1.0, 1.0, 5.0, 1.0, 5.0, 4.0, 1.0, 4.0]
    segmentations: list[Any] = [
        [square],
        {"size": [6, 8], "counts": [10, 4, 34]},
        {"size": [6, 8], "counts": "11g0"},
        [[0.0, 0.0, 3.0, 0.0, 0.0, 3.0], square],
    ]
    entries = [
        *(
            {"id": number, "image_id": 1 + number % 2, "category_id": 1000 + number, "area": 9.0}
            | {"segmentation": one, "bbox": [1, 1, 4, 3], "iscrowd": 0}
            for number, one in enumerate(segmentations)
        ),
    ]
    lists = {"images": images, "annotations": entries}
    return [lists | {"categories": [{"id": 1000 + number, "name": "n"} for number in range(4)]}]


def panoptic() -> list[Any]:
    """COCO's panoptic json, as plain values."""
    segments = [
        {"id": 3226956, "category_id": 1, "area": 10, "bbox": [0, 0, 2, 2], "iscrowd": 0},
        {"id": 65793, "category_id": 200, "area": 5, "bbox": [0, 0, 1, 1], "iscrowd": 1},
    ]
    return [
        {
            "images": [{"id": 1, "file_name": "1.jpg", "width": 8, "height": 6}],
            "annotations": [{"image_id": 1, "file_name": "1.png", "segments_info": segments}],
            "categories": [{"id": 1, "name": "person", "isthing": 1, "color": [1, 2, 3]}],
        }
    ]


def pictures() -> list[bytes]:
    """PNG, JPEG, WebP, GIF, TIFF and 16-bit PNG of a few pixels."""
    rng = np.random.default_rng(0)
    colors = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    found = [
        *(_saved(colors, "PNG"), _saved(colors, "JPEG", exif=exif.tobytes())),
        *(_saved(colors, "JPEG", progressive=True), _saved(colors.convert("P"), "PNG")),
        *(_saved(colors, "WEBP"), _saved(colors.convert("CMYK"), "JPEG")),
        *(_saved(colors, "TIFF", compression="tiff_deflate"), _saved(colors.convert("P"), "GIF")),
    ]
    return [*found, *masks()]


def masks() -> list[bytes]:
    """Label maps: 16-bit PNG, palette PNG, 32-bit TIFF."""
    ids = np.random.default_rng(1).integers(0, 1284, (24, 32))
    palette_mask = Image.fromarray((ids % 21).astype(np.uint8)).convert("P")
    return [
        _saved(Image.fromarray(ids.astype(np.uint16)), "PNG"),
        _saved(palette_mask, "PNG"),
        _saved(Image.fromarray(ids.astype(np.int32)), "TIFF", compression="tiff_deflate"),
    ]


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def matlab() -> list[bytes]:
    """COCO-Stuff 10K's files, compressed and not, and one of an old version."""
    from scipy.io import savemat

    ids = np.random.default_rng(0).integers(0, 182, (6, 8)).astype(np.uint8)
    content = {"S": ids, "captions": np.array([["a"], ["b"]], dtype=object), "names": "x"}
    found = []
    for options in ({"do_compression": True}, {"do_compression": False}, {"format": "4"}):
        buffer = io.BytesIO()
        savemat(buffer, {"S": ids} if "format" in options else content, **options)  # type: ignore[arg-type]
        data = buffer.getvalue()
        # The text at the beginning tells the time; cases are the same every time.
        dated = data.startswith(b"MATLAB")
        found.append(b"MATLAB 5.0 MAT-file".ljust(116) + data[116:] if dated else data)
    return found


def class_files() -> list[bytes]:
    """Class files of two distances."""
    from workbench.runs.class_file import ClassSet, class_file_bytes

    names = vocabulary()
    weight = torch.randn(CLASSES, 4, generator=torch.Generator().manual_seed(0))
    made = []
    for distance in ("cosine", "linear"):
        bias = torch.zeros(CLASSES) if distance == "linear" else None
        classes = ClassSet(weight, bias, 20.0, distance, names, "mine", 5)
        made.append(_in_order(class_file_bytes(classes)))
    return made


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its header in an order that does not change by chance."""
    (length,) = struct.unpack_from("<Q", data)
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode()
    header = header.ljust(-(-len(header) // 8) * 8)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def tables(suffix: str) -> list[bytes]:
    """Tables of classes as CSV, JSON or Parquet."""
    from workbench.runs.class_table import write_class_table

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"classes{suffix}"
        write_class_table(path, vocabulary())
        return [path.read_bytes()]


def raw_tables() -> list[bytes]:
    """Tables from ids of a dataset to train ids, as CSV."""
    rows = "".join(f"{raw},{raw - 1},class {raw},teal\n" for raw in range(1, CLASSES))
    return [b"raw_id,train_id,name,hue\n" + rows.encode() + b"900,,nothing,\n"]


def archives() -> list[bytes]:
    """A zip and two tars of some files."""
    contents = {"a/one.txt": b"1" * 300, "a/b/two.txt": b"2", "three.bin": bytes(range(256))}
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    found = [zipped.getvalue()]
    for mode in ("w", "w:gz"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
            for name, data in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        data = buffer.getvalue()
        # Bytes 4 to 7 of a gzip file tell the time.
        found.append(data[:4] + bytes(4) + data[8:] if mode == "w:gz" else data)
    return found


def weights() -> list[bytes]:
    """A state dict as torch saves it, and as safetensors."""
    from safetensors.torch import save

    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    tensors = {"a.weight": weight, "a.bias": torch.zeros(4)}
    buffer = io.BytesIO()
    torch.save({"state_dict": tensors, "epoch": 3}, buffer)
    return [buffer.getvalue(), _in_order(save(tensors))]


def predictions() -> list[bytes]:
    """The list of a batch of predictions."""
    done = {"stem": "a", "path": "/a.jpg", "name": "a.jpg", "size": 9, "mtime_ns": 1}
    done |= {"results": {".png": 5}, "stamps": {".png": 7}}
    lines = [
        {"format": "workbench-predict", "version": 1, "settings": {"run": "x", "top_k": 0}},
        {"begun": "a", "suffixes": [".png", ".topk.npz"]},
        {"done": done | {"classes": [1283], "segments": None}},
        {"done": done | {"stem": "b/c", "classes": [], "segments": [0, 5]}},
        {"begun": "d", "suffixes": [".png"]},
    ]
    return ["".join(json.dumps(line) + "\n" for line in lines).encode()]


def exported(*, classes: int = CLASSES, axis: int = 1) -> list[bytes]:
    """A graph with the metadata of a file that `workbench export` wrote.

    Args:
        classes: So many names; the labels are 0 to 2.
        axis: Over which distances are summed; only 1, the channels, is right.
    """
    from onnx import TensorProto, helper

    from workbench.export.facts import KEY, to_text

    batch = ["b", "h", "w"]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["b", 3, "h", "w"])
    outputs = [
        helper.make_tensor_value_info("labels", TensorProto.INT64, batch),
        helper.make_tensor_value_info("distances", TensorProto.FLOAT, batch),
    ]
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["pixels"], ["labels"], axis=1, keepdims=0),
        helper.make_node("ReduceL2", ["pixels", "axes"], ["distances"], keepdims=0),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [axis])
    graph = helper.make_graph(nodes, "model", [images], outputs, [axes])
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, producer_name="workbench"
    )
    text = to_text(
        None, make_vocabulary(classes), distance="dense", size=None, source="run", step=5
    )
    helper.set_model_props(made, {KEY: text})
    data: bytes = made.SerializeToString(deterministic=True)
    return [data]


def as_json(documents: list[Any]) -> list[bytes]:
    """The documents as files."""
    return [json.dumps(document).encode() for document in documents]
