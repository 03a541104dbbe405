"""``workbench vocabulary``: classes as small files, edited without training again."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.command import Commands, command
from workbench.errors import ConfigError, DataError

if TYPE_CHECKING:
    from workbench.inference.vocabulary_edits import Edited
    from workbench.runs.class_file import ClassSet


def add_vocabulary(commands: Commands) -> None:
    """Adds ``vocabulary`` with its actions."""
    text = "the classes of a model as a small file: taken out, edited, put to use elsewhere"
    parser = commands.add_parser("vocabulary", help=text, description=text, allow_abbrev=False)
    actions = parser.add_subparsers(title="actions", required=True, metavar="ACTION")
    for add in (_add_export, _add_import, _add_subset, _add_merge, _add_rename, _add_add):
        add(actions)


def _add_export(actions: Commands) -> None:
    text = "write a model's class embeddings and names to a file that predict --vocabulary takes"
    parser = command(actions, "export", _export, text)
    parser.add_argument("run", help="folder of a run or of a shared model, or NAME/MODEL on a hub")
    _add_out(parser)
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))
    text = "also write who the classes are, a row each, for other tools: .parquet, .json or .csv"
    parser.add_argument("--table", type=_table, metavar="TABLE", help=text)


def _export(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.inference.class_sets import classes_of
    from workbench.runs.class_table import write_class_table
    from workbench.sharing.source import load_source

    source = load_source(options.run, options.checkpoint)
    classes = classes_of(
        source.model, source.vocabulary, source=source.title, step=source.step, label=options.run
    )
    said = _written(options.out, classes)
    if options.table is not None:
        said["table"] = str(write_class_table(options.table, classes.vocabulary))
    return said


def _add_import(actions: Commands) -> None:
    text = "make a class file of a table of names and a file of embeddings"
    parser = command(actions, "import", _import, text)
    parser.add_argument(
        "table", type=_table, help=".parquet, .json or .csv with a column 'name', a row per class"
    )
    parser.add_argument(
        "embeddings", type=Path, help="safetensors with the tensor 'weight', a row per class"
    )
    _add_out(parser)
    parser.add_argument("--distance", help="of the model they are for, unless the file says so")
    parser.add_argument("--temperature", type=float, help="factor of the logits, likewise")


def _import(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.inference.class_sets import check_fit
    from workbench.runs.class_table import import_classes

    classes = import_classes(
        options.table,
        options.embeddings,
        distance=options.distance,
        temperature=options.temperature,
    )
    check_fit(classes, dim=classes.dim, distance=classes.distance, label=str(options.embeddings))
    return _written(options.out, classes)


def _add_subset(actions: Commands) -> None:
    parser = command(actions, "subset", _subset, "keep only some classes, in the order of ids")
    _add_file(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--classes", metavar="NAME,...", help="names or ids")
    which.add_argument("--classes-file", type=Path, help="a text file, a name or id a line")


def _subset(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.inference.vocabulary_edits import subset

    classes = _read(options.file)
    if options.classes_file is not None:
        words = _lines(options.classes_file)
        return _edited(options.out, subset(classes, _found(classes, words, options)))
    return _edited(options.out, subset(classes, _named(classes, options)))


def _add_merge(actions: Commands) -> None:
    parser = command(actions, "merge", _merge, "make one class of several")
    _add_file(parser)
    parser.add_argument("--classes", required=True, metavar="NAME,...", help="names or ids")
    parser.add_argument("--name", required=True, help="of the merged class")


def _merge(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.inference.vocabulary_edits import merge

    classes = _read(options.file)
    class_ids = _named(classes, options)
    edited = merge(classes, class_ids, options.name)
    return _edited(options.out, edited, int(edited.lookup[class_ids[0]]))


def _add_rename(actions: Commands) -> None:
    parser = command(actions, "rename", _rename, "give a class another name")
    _add_file(parser)
    parser.add_argument("--class", required=True, dest="one", metavar="NAME", help="name or id")
    parser.add_argument("--name", required=True, help="the new name")


def _rename(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.inference.vocabulary_edits import rename

    classes = _read(options.file)
    (class_id,) = _found(classes, [options.one], options)
    return _edited(options.out, rename(classes, class_id, options.name), class_id)


def _add_add(actions: Commands) -> None:
    text = "add a class from a few pictures in which it is marked; nothing is trained"
    parser = command(actions, "add", _add, text)
    parser.add_argument("run", help="folder of the run, or of a shared model")
    _add_file(parser)
    parser.add_argument("--name", required=True, help="of the new class")
    parser.add_argument(
        "--from-mask",
        nargs="+",
        required=True,
        type=Path,
        metavar="PICTURE MASK",
        help="pairs of a picture and a mask of its size, a PNG of 8 or 16 bits that is not 0 "
        "where the class is",
    )
    parser.add_argument("--mask-value", type=int, help="only this value marks the class")
    parser.add_argument("--checkpoint", default="last", choices=("last", "best"))


def _add(options: argparse.Namespace) -> dict[str, Any]:
    from workbench.inference.class_sets import fitted
    from workbench.inference.examples import read_examples
    from workbench.inference.vocabulary_edits import add_class, free_name
    from workbench.sharing.source import load_source

    files = options.from_mask
    if len(files) % 2:
        raise ConfigError(f"--from-mask: each picture needs its mask; {files[-1]} has none")
    classes = _read(options.file)
    free_name(classes, options.name)  # before the network has run for nothing
    model = load_source(options.run, options.checkpoint).model
    fitted(classes, model, label=str(options.file))
    pairs = list(zip(files[::2], files[1::2], strict=True))
    shown = read_examples(model, pairs, value=options.mask_value)
    edited = add_class(
        classes, options.name, shown.inside, others=shown.outside, marked=shown.marked
    )
    said = _edited(options.out, edited, len(classes))
    return {**said, "pictures": len(pairs), "pixels": len(shown.inside)}


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=_class_file, help="class file to write, .safetensors")


def _add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, help="class file to start from")
    _add_out(parser)


def _class_file(text: str) -> Path:
    from workbench.runs.class_file import SUFFIX

    path = Path(text)
    if path.suffix not in ("", SUFFIX):
        raise argparse.ArgumentTypeError(f"a class file ends in {SUFFIX}, not {path.suffix}")
    return path


def _table(text: str) -> Path:
    from workbench.runs.class_table import TABLE_SUFFIXES

    path = Path(text)
    if path.suffix.lower() not in TABLE_SUFFIXES:
        known = ", ".join(TABLE_SUFFIXES)
        raise argparse.ArgumentTypeError(f"{text}: a table of classes ends in one of {known}")
    return path


def _read(path: Path) -> ClassSet:
    from workbench.runs.class_file import read_class_file

    return read_class_file(path)


def _named(classes: ClassSet, options: argparse.Namespace) -> list[int]:
    from workbench.inference.class_names import split_names

    return _found(classes, split_names(classes.vocabulary, options.classes), options)


def _found(classes: ClassSet, words: list[str], options: argparse.Namespace) -> list[int]:
    from workbench.inference.class_names import find_classes

    return find_classes(classes.vocabulary, words, label=str(options.file))


def _lines(path: Path) -> list[str]:
    from workbench.runs.class_file import read_limited

    try:
        text = read_limited(path, "a list of classes").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8; save it so, a class a line") from error
    return [line for raw in text.splitlines() if (line := raw.strip())]


def _edited(out: Path, edited: Edited, class_id: int | None = None) -> dict[str, Any]:
    """Writes the classes of an edit; warns where one that it made can hardly be told apart."""
    said = _written(out, edited.classes)
    if class_id is not None:
        said["class_id"] = class_id
    if edited.near is not None:
        near, names = edited.near, edited.classes.vocabulary.names
        said["warning"] = (
            f"{names[near.class_id]!r} lies {near.distance:.3f} from {near.name!r} (class "
            f"{near.other_id}): pixels of one may be taken for the other"
        )
    return said


def _written(out: Path, classes: ClassSet) -> dict[str, Any]:
    from workbench.runs.class_file import write_class_file

    path = write_class_file(out, classes)
    return {
        "file": str(path),
        "classes": len(classes),
        "embedding_dim": classes.dim,
        "distance": classes.distance,
        "bytes": path.stat().st_size,
    }
