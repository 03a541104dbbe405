"""The right side of the Vocabulary page: what to change, and what was changed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import pandas as pd
import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from app import basket, data_classes, edited, frames, shell, state, vocabulary_frames
from workbench.errors import DataError

if TYPE_CHECKING:  # the edits load torch, so each callback loads them for itself
    from workbench.inference.class_sets import ClassSet
    from workbench.inference.vocabulary_edits import Edit, Edited

ADD: Final = "Add"
_RENAME: Final = "Rename"
_MERGE: Final = "Merge"
_SUBSET: Final = "Subset"
_FILE: Final = "File"
_ACTIONS: Final = (ADD, _RENAME, _MERGE, _SUBSET, _FILE)
_MOST_UPLOAD_MB: Final = 20
_NOTE = "vocabulary_note"
_UPLOAD = "vocabulary_uploaded"


def show(run: shell.Context, table: pd.DataFrame) -> str:
    """Draws it; returns the action that is chosen.

    Args:
        run: The run.
        table: Its vocabulary as it is now, row = class id.
    """
    action = st.segmented_control(
        "Change the classes",
        _ACTIONS,
        default=ADD,
        required=True,
        key="vocabulary_action",
        on_change=lambda: st.session_state.pop(_NOTE, None),
    )
    draw = {ADD: _add, _RENAME: _rename, _MERGE: _merge, _SUBSET: _subset, _FILE: _file}
    draw[action or ADD](run, table)
    _note(run)
    _history(run, table)
    return str(action or ADD)


def _note(run: shell.Context) -> None:
    """What came of the last button; stays until the next."""
    note = st.session_state.get(_NOTE)
    if note is not None and note[0] == run.path:
        _, success, warning, error = note
        if error:
            st.error(error)
        if success:
            st.success(success)
        if warning:
            st.warning(warning)


def _tell(run: shell.Context, success: str = "", warning: str = "", error: str = "") -> None:
    st.session_state[_NOTE] = (run.path, success, warning, error)


def _try(run: shell.Context, edit: Callable[[], Edit]) -> Edited | None:
    """Makes an edit and says what came of it."""
    try:
        made = edit()
        outcome = edited.make(run.path, made)
    except DataError as error:
        _tell(run, error=shell.plain(error))
        return None
    warning = ""
    if outcome.near is not None:
        near = outcome.near
        warning = (
            f"It lies {near.distance:.3f} from **{shell.plain(near.name)}**, within the separation "
            f"margin of {edited.margin(run.path):g}: the two will be hard to tell apart. Mark "
            "other pixels, or merge the two."
        )
    _tell(run, f"{shell.plain(vocabulary_frames.edit_text(made))}.", warning)
    return outcome


def _add(run: shell.Context, table: pd.DataFrame) -> None:
    if run.split is None:
        return
    split = run.split
    marked = basket.content(run.path, split)
    with st.container(border=True, gap="small"):
        if not marked:
            st.caption("No pixel is marked yet. Mark some in one picture or in several.")
        for picture, one in list(marked.items())[:12]:
            text, away = st.columns([6, 1], vertical_alignment="center")
            facts = vocabulary_frames.describe_marks(one.marks, one.width, one.height)
            text.markdown(f"**{shell.plain(picture)}** :small[{facts}]")
            away.button(
                "",
                icon=":material/close:",
                type="tertiary",
                help="Take the marks of this picture out",
                key=f"vocabulary_away_{picture}",
                on_click=basket.remove,
                args=(run.path, split, picture),
            )
        if len(marked) > 12:
            st.caption(f"and {len(marked) - 12:,} pictures more")

    def add() -> None:
        def edit() -> Edit:
            from workbench.inference.vocabulary_edits import Add

            name = str(st.session_state.get("vocabulary_name", ""))
            found = basket.embeddings(run.path, split, basket.content(run.path, split))
            return Add(name, found)

        if _try(run, edit) is not None:
            basket.remove(run.path, split)
            st.session_state["vocabulary_name"] = ""

    with st.form("vocabulary_add", border=False):
        st.text_input("Name of the new class", key="vocabulary_name", max_chars=200)
        st.form_submit_button("Add class", type="primary", icon=":material/add:", on_click=add)
    st.caption(
        "Its row is the mean of the marked pixels' unit embeddings. Pixels nearer to it than to "
        "any other class are given it."
    )


def _rename(run: shell.Context, table: pd.DataFrame) -> None:
    names = frames.labels(table)
    chosen = st.session_state.get(state.widget_key("class"))  # on another page, by its own id
    lookup = edited.edited_lookup(run.path)
    if chosen is not None and lookup is not None:
        chosen = int(lookup[chosen])

    def rename() -> None:
        from workbench.inference.vocabulary_edits import Rename

        class_id = st.session_state.get("vocabulary_rename")
        name = str(st.session_state.get("vocabulary_new_name", ""))
        if class_id is None:
            _tell(run, error="Choose the class to rename.")
        elif _try(run, lambda: Rename(int(class_id), name)) is not None:
            st.session_state["vocabulary_new_name"] = ""

    with st.form("vocabulary_rename_form", border=False):
        st.selectbox(
            "Class",
            list(names),
            index=chosen if chosen in names else None,
            format_func=lambda class_id: names.get(class_id, ""),
            placeholder="type to find it",
            key="vocabulary_rename",
        )
        st.text_input("New name", key="vocabulary_new_name", max_chars=200)
        st.form_submit_button("Rename", type="primary", on_click=rename)


def _merge(run: shell.Context, table: pd.DataFrame) -> None:
    names = frames.labels(table)

    def merge() -> None:
        from workbench.inference.vocabulary_edits import Merge

        ids = tuple(int(one) for one in st.session_state.get("vocabulary_merge", []))
        name = str(st.session_state.get("vocabulary_merged_name", ""))
        if _try(run, lambda: Merge(ids, name)) is not None:
            st.session_state["vocabulary_merge"] = []
            st.session_state["vocabulary_merged_name"] = ""

    with st.form("vocabulary_merge_form", border=False):
        st.multiselect(
            "Classes to merge",
            list(names),
            format_func=lambda class_id: names.get(class_id, ""),
            placeholder="type to find them",
            key="vocabulary_merge",
        )
        st.text_input("Name of the merged class", key="vocabulary_merged_name", max_chars=200)
        st.form_submit_button("Merge", type="primary", on_click=merge)
    st.caption("The merged class gets the mean of their rows; a pixel of any of them is one of it.")


def _subset(run: shell.Context, table: pd.DataFrame) -> None:
    groups = list(dict.fromkeys(map(str, table["group"])))
    supers = sorted({str(name) for name in table["supercategory"] if str(name)})
    text = st.text_input("Search", placeholder="name or id", key="vocabulary_subset_text")
    picked = st.pills(
        "Group",
        groups,
        selection_mode="multi",
        format_func=shell.plain,
        key="vocabulary_subset_groups",
    )
    within = st.multiselect(
        "Supercategory", supers, placeholder="any", key="vocabulary_subset_supers"
    )
    found = frames.filter_classes(table, text=text, groups=picked, supercategories=within)
    ids = [int(one) for one in found["class_id"]]
    rest = sorted(set(range(len(table))) - set(ids))
    st.caption(f"{len(ids):,} of {len(table):,} classes found. {_some_names(found)}")
    with st.container(horizontal=True):
        for label, keep, key in (
            (f"Keep only these {len(ids):,}", ids, "vocabulary_keep"),
            (f"Leave these {len(ids):,} out", rest, "vocabulary_leave"),
        ):
            st.button(
                label,
                key=key,
                disabled=not keep or len(keep) == len(table),
                on_click=_keep,
                args=(run, tuple(keep)),
            )
    st.caption("Pixels of a class that is left out go to the nearest of those that stay.")


def _keep(run: shell.Context, ids: tuple[int, ...]) -> None:
    from workbench.inference.vocabulary_edits import Subset

    _try(run, lambda: Subset(ids))


def _some_names(found: pd.DataFrame) -> str:
    some = [shell.plain(name) for name in found["name"].head(6)]
    return ", ".join(some) + (" ..." if len(found) > 6 else "")


def _file(run: shell.Context, table: pd.DataFrame) -> None:
    st.markdown("**Take classes from a file**")
    upload = st.file_uploader(
        f"Class file, {data_classes.SUFFIX}",
        key="vocabulary_upload",
        help="As downloaded below, or made by: workbench vocabulary export RUN FILE",
    )
    st.caption(f"At most {_MOST_UPLOAD_MB} MB; larger ones go to the command line.")
    if upload is None:
        return
    loaded = _read(run, upload)
    if isinstance(loaded, str):
        st.error(shell.plain(loaded))
        return
    origin = f" of the run {shell.plain(loaded.source)}" if loaded.source else ""
    st.caption(f"{len(loaded):,} classes{origin}: {_some_names(loaded.vocabulary.table)}")
    st.button(
        "Use these classes",
        type="primary",
        key="vocabulary_load",
        on_click=_load,
        args=(run, loaded),
    )


def _read(run: shell.Context, upload: UploadedFile) -> ClassSet | str:
    """The classes of an uploaded file, or what is wrong with it; read once."""
    known = st.session_state.get(_UPLOAD)
    if known is not None and known[0] == upload.file_id:
        found: ClassSet | str = known[1]
        return found
    name = upload.name if len(upload.name) <= 80 else f"{upload.name[:77]}..."
    if upload.size > _MOST_UPLOAD_MB << 20:
        found = (
            f"{name} has {upload.size / 2**20:.0f} MB, this page takes {_MOST_UPLOAD_MB} MB; "
            f"use it on the command line: {command(run)}"
        )
    else:
        try:
            found = data_classes.parse_class_file(upload.getvalue(), label=name)
        except DataError as error:
            found = str(error)
    st.session_state[_UPLOAD] = (upload.file_id, found)
    return found


def _load(run: shell.Context, loaded: ClassSet) -> None:
    from workbench.inference.vocabulary_edits import Load

    _try(run, lambda: Load(loaded))


def _history(run: shell.Context, table: pd.DataFrame) -> None:
    """The edits in their order, the way back, and the outcome as a file."""
    edits = edited.edits(run.path)
    now = edited.current(run.path) if edits else None
    classes = None if now is None else now.classes
    with st.container(border=True, gap="small"):
        count = len(edits)
        st.markdown(
            f"**{len(table):,} classes** :small[:gray["
            + (f"after {count} edit{'s' * (count != 1)}" if edits else "as trained")
            + "]]"
        )
        if edits:
            lines = [
                f"{at}. {shell.plain(vocabulary_frames.edit_text(edit))}"
                for at, edit in enumerate(edits, 1)
            ]
            st.markdown("\n".join(lines[-12:]))
        with st.container(horizontal=True):
            st.button(
                "Undo",
                icon=":material/undo:",
                key="vocabulary_undo",
                disabled=not edits,
                on_click=_undo,
                args=(run, False),
            )
            st.button(
                "Undo all",
                key="vocabulary_undo_all",
                disabled=not edits,
                on_click=_undo,
                args=(run, True),
            )
            st.download_button(
                "Download",
                data=lambda: _as_file(run.path, classes),
                file_name=f"{run.name}-classes{data_classes.SUFFIX}",
                mime="application/octet-stream",
                icon=":material/download:",
                key="vocabulary_download",
                on_click="ignore",
            )
        st.caption("Segment pictures with the downloaded classes:")
        st.code(command(run), language="bash", wrap_lines=True)


def _as_file(path: str, classes: ClassSet | None) -> bytes:
    """The edited classes, or the run's own: outside of the session, where no edits are known.

    Raises:
        DataError: The network is gone.
    """
    if classes is None:
        classes = data_classes.model_classes(path)
    if classes is None:
        raise DataError("the network of this run cannot be read any more")
    return data_classes.class_file_bytes(classes)


def _undo(run: shell.Context, everything: bool) -> None:
    edited.undo(run.path, everything=everything)
    st.session_state.pop(_NOTE, None)


def command(run: shell.Context) -> str:
    """How the command line uses the classes."""
    file = shlex.quote(f"{run.name}-classes{data_classes.SUFFIX}")
    return f"{run.command('predict')} IMAGE.jpg --out masks --vocabulary {file}"
