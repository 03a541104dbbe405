"""Memory: what a number of classes costs, as a sum and as it was measured."""

from __future__ import annotations

import dataclasses
import html
from typing import Any

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import data, data_machine, memory_frames, shell
from workbench import charts, memory_model
from workbench.memory_model import DENSE, EMBEDDING, Setting

_LARGEST = 1_000_000
_PIXELS = (0, 4096, 16_384, 65_536)
_STYLE = """<style>
.memory-sums { width: 100%; border-collapse: collapse; font-size: .9rem; line-height: 1.35; }
.memory-sums td { border: 0; padding: .28rem .4rem .28rem 0; vertical-align: top; }
.memory-sums td:last-child { text-align: right; white-space: nowrap; padding-right: 0; }
.memory-sums small { opacity: .72; }
.memory-sums i { display: inline-block; width: .75rem; height: .75rem; border-radius: 3px; }
</style>"""
_COMMAND = """workbench bench memory --json benchmarks/memory.json
workbench bench step --json benchmarks/step.json"""


def page() -> None:
    """Draws the page."""
    run = shell.context()
    st.title("Memory")
    st.caption(
        "What one training step holds above the network itself: class scores, loss and their "
        "gradients. A dense head makes C numbers for every pixel, an embedding head only D."
    )
    rows = data_machine.benchmark_rows(str(shell.REPOSITORY / "benchmarks"))
    measured = memory_frames.measured(rows)
    _explore(run, measured)
    _measured(rows, measured)  # the same whatever is chosen above


@st.fragment
def _explore(run: shell.Context, measured: pd.DataFrame) -> None:
    """Choices, chart and sums; a change draws nothing else again."""
    classes, setting = _controls(run, measured)
    parts = memory_frames.parts_table(classes, setting)
    _headline(parts, classes)
    left, right = shell.stack("memory", [3, 2])
    with left:
        st.subheader("Against the number of classes")
        counts = memory_model.class_counts(_LARGEST, extra=classes)
        figure = charts.memory_against_classes(
            memory_frames.curves(counts, setting),
            memory_frames.like(measured, setting),
            classes=classes,
            limit=data_machine.machine_memory(),
            dark=shell.dark(),
        )
        shell.show_plot(figure, "memory_curve")
        if not measured.empty and memory_frames.like(measured, setting).empty:
            st.caption("No measurement has this setting; *As measured* chooses one that has.")
    with right:
        st.subheader(f"At {classes:,} classes")
        shell.show_plot(charts.memory_bars(parts, dark=shell.dark()), "memory_bars")
        _sums(parts, setting, classes)


def _controls(run: shell.Context, measured: pd.DataFrame) -> tuple[int, Setting]:
    """The row of choices, from the run's own settings at first."""
    own = memory_frames.setting_of(data.config(run.path))
    vocabulary = data.vocabulary(run.path)
    first = {
        "classes": 1284 if vocabulary is None else len(vocabulary),
        "crop": own.crop,
        "batch": own.batch,
        "dim": own.dim,
        "pixels": own.pixels,
    }
    if st.session_state.get("memory_run") != run.path:
        st.session_state["memory_run"] = run.path
        st.session_state["memory_kept"] = first
    kept = st.session_state["memory_kept"]
    for name, value in kept.items():  # a page's widgets are forgotten where it is left
        st.session_state.setdefault(f"memory_{name}", value)
    columns = shell.flow("filters_memory", [1, 1, 1, 1, 1.3, 1.2])
    columns[0].number_input("Classes C", 2, 10_000_000, step=100, key="memory_classes")
    columns[1].number_input("Crop, pixels", 16, 8192, step=64, key="memory_crop")
    columns[2].number_input("Batch B", 1, 4096, step=1, key="memory_batch")
    columns[3].number_input("Dimensions D", 1, 4096, step=4, key="memory_dim")
    columns[4].selectbox(
        "Pixels in the loss",
        sorted({*_PIXELS, kept["pixels"], first["pixels"]}),
        format_func=lambda number: f"{number:,} drawn" if number else "all",
        key="memory_pixels",
    )
    _presets(columns[5], first, measured)
    chosen = {name: int(st.session_state[f"memory_{name}"]) for name in first}
    st.session_state["memory_kept"] = chosen
    setting = dataclasses.replace(
        own,
        crop=chosen["crop"],
        batch=chosen["batch"],
        dim=chosen["dim"],
        pixels=chosen["pixels"],
    )
    return chosen["classes"], setting


def _presets(column: DeltaGenerator, first: dict[str, int], measured: pd.DataFrame) -> None:
    """Buttons that set everything at once."""
    with column, st.container(horizontal=True, gap="small"):
        st.button("This run", on_click=_choose, args=(first,), help="The open run's own settings.")
        dense = measured[measured["head"] == DENSE]
        if not dense.empty:
            row = dense.sort_values(["pixels", "classes"], ascending=[True, False]).iloc[0]
            dim = measured.loc[measured["head"] == EMBEDDING, "dim"]
            numbers = {name: int(row[name]) for name in ("classes", "crop", "batch", "pixels")}
            numbers["dim"] = int(dim.iloc[0]) if len(dim) else first["dim"]
            st.button(
                "As measured",
                on_click=_choose,
                args=(numbers,),
                help="The setting of the benchmark, so that formula and measurement can be "
                "compared in the chart.",
            )


def _choose(numbers: dict[str, int]) -> None:
    for name, value in numbers.items():
        st.session_state[f"memory_{name}"] = value


def _headline(parts: pd.DataFrame, classes: int) -> None:
    sums = parts.groupby("head")["bytes"].sum()
    columns = shell.flow("memory_numbers", [1, 1, 1])
    columns[0].metric("Dense head", charts.bytes_text(sums[DENSE]))
    columns[1].metric("Embedding head", charts.bytes_text(sums[EMBEDDING]))
    ratio = sums[DENSE] / sums[EMBEDDING]
    columns[2].metric(
        "Dense over embedding",
        f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.2g} x",
        help=f"At {classes:,} classes, above the network.",
    )


def _sums(parts: pd.DataFrame, setting: Setting, classes: int) -> None:
    """The formula in letters and numbers, which is also the legend of the bars."""
    lines = []
    for (head, part), color in zip(
        parts.set_index("head").iterrows(), charts.part_colors(len(parts)), strict=True
    ):
        mark = f"<i style='background:{color}'></i>"
        lines.append(
            f"<tr><td>{mark}</td><td><b>{html.escape(str(part['name']))}</b> "
            f"<small>{html.escape(str(head))}</small><br><small>{html.escape(part['formula'])}<br>"
            f"= {html.escape(part['numbers'])}</small></td>"
            f"<td>{charts.bytes_text(part['bytes'])}</td></tr>"
        )
    st.html(f"{_STYLE}<table class='memory-sums'>{''.join(lines)}</table>")
    st.caption(
        f"B = {setting.batch}, C = {classes:,}, D = {setting.dim}, H = W = {setting.crop:,}, "
        f"h = w = {setting.side:,} (the network's output). All numbers are fp32."
    )


def _measured(rows: list[dict[str, Any]], measured: pd.DataFrame) -> None:
    st.subheader("Formula beside measurement")
    if measured.empty:
        shell.explain_missing(
            "No measurement lies in the folder benchmarks of this checkout. Measure here:",
            _COMMAND,
        )
        return
    st.caption(
        f"Measured on {shell.plain(memory_frames.machine(rows))}: peak of a training step in a "
        "process of its own, less the peak of the same step without class scores and loss."
    )
    mib = 2**20
    view = pd.DataFrame(
        {
            "head": measured["head"],
            "method": measured["method"],
            "classes": measured["classes"],
            "pixels": [f"{n:,}" if n else "all" for n in measured["pixels"]],
            "formula": measured["formula"] / mib,
            "measured": measured["bytes"] / mib,
            "difference": (measured["bytes"] - measured["formula"]) / mib,
            "setting": [
                f"{crop} px, batch {batch}" + (f", D = {dim}" if dim else "")
                for crop, batch, dim in zip(
                    measured["crop"], measured["batch"], measured["dim"], strict=True
                )
            ],
        }
    )
    number = st.column_config.NumberColumn
    st.dataframe(
        view,
        hide_index=True,
        width="stretch",
        height=min(423, 35 * (len(view) + 1) + 3),
        column_config={
            "head": "Head",
            "method": "Loss",
            "classes": number("Classes", format="localized"),
            "pixels": "Pixels in the loss",
            "formula": number("Formula, MiB", format="%.0f"),
            "measured": number("Measured, MiB", format="%.0f"),
            "difference": number("Difference, MiB", format="%+.0f"),
            "setting": "Setting",
        },
    )
    _differences(measured)


def _differences(measured: pd.DataFrame) -> None:
    """Where the two differ, and why."""
    mib = 2**20
    lines = []
    dense = measured[(measured["head"] == DENSE) & (measured["formula"] > 256 * mib)]
    off = (dense["bytes"] / dense["formula"] - 1).abs()
    everywhere = dense["pixels"] == 0
    if everywhere.any():
        lines.append(
            f"**Dense, all pixels**: within {off[everywhere].max():.0%} where the logits are "
            "large. With few classes they hide below the network's own peak, which comes at "
            "another moment of the step."
        )
    if (~everywhere).any():
        lines.append(
            f"**Dense, drawn pixels**: up to {off[~everywhere].max():.0%} beyond the formula: what "
            "autograd holds for a moment on the way back to the low-resolution logits."
        )
    small = measured[measured["head"] == EMBEDDING]
    if not small.empty:
        extra = (small["bytes"] - small["formula"]) / mib
        lines.append(
            f"**Embedding**: {extra.min():+,.0f} to {extra.max():+,.0f} MiB beside the formula, "
            "whatever C is. LLVM, which links the loss's compiled kernels and is loaded once a "
            "process, adds to it; the loss's budget, of which a step may use little, takes away."
        )
    for line in lines:
        st.markdown(f"- {line}")


if __name__ == "__main__":
    page()
