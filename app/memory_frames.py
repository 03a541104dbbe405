"""Pure functions from settings and benchmark rows to what the Memory page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from workbench.memory_model import DENSE, EMBEDDING, HEADS, Part, Setting, parts, total

MEASURED_COLUMNS = (
    "head",
    "method",
    "classes",
    "crop",
    "batch",
    "dim",
    "pixels",
    "bytes",
    "formula",
    "seconds",
)
_MEGABYTES = 2**20


def setting_of(config: Mapping[str, Any]) -> Setting:
    """The setting a run was trained with; the usual one where its settings do not say.

    Args:
        config: Of the run, read from a file: anything may be missing or of another kind.
    """
    usual = Setting()

    def number(section: str, name: str, default: float) -> float:
        values = config.get(section)
        value = values.get(name) if isinstance(values, Mapping) else None
        known = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        return float(value) if known and value is not None else default

    training = config.get("train")
    adam = isinstance(training, Mapping) and "adam" in str(training.get("optimizer", "")).lower()
    model = config.get("model")
    linear = isinstance(model, Mapping) and model.get("distance") == "linear"
    return Setting(
        batch=max(1, int(number("train", "batch_size", usual.batch))),
        crop=max(16, int(number("data", "crop", usual.crop))),
        dim=max(1, int(number("model", "embedding_dim", usual.dim))),
        pixels=int(number("loss", "pixels", usual.pixels)),
        budget=int(number("loss", "budget_mb", usual.budget / _MEGABYTES) * _MEGABYTES),
        optimizer=2 if adam else 1,
        normalized=not linear,
    )


def curves(counts: Sequence[int], setting: Setting) -> pd.DataFrame:
    """The formula of both heads: columns head, classes, bytes."""
    rows = [(head, count, total(head, count, setting)) for head in HEADS for count in counts]
    return pd.DataFrame(rows, columns=["head", "classes", "bytes"])


def parts_table(classes: int, setting: Setting) -> pd.DataFrame:
    """What each head's memory consists of: columns head, name, formula, numbers, bytes."""
    rows = [(head, *part) for head in HEADS for part in parts(head, classes, setting)]
    return pd.DataFrame(rows, columns=["head", *Part._fields])


def measured(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Measured steps beside the formula.

    Args:
        rows: As ``workbench bench memory`` and ``bench step`` write them; rows without figures,
            or of another kind, are left out.

    Returns:
        Columns ``MEASURED_COLUMNS``: bytes are the peak less that of the same step without
        class scores and loss; pixels 0 are all; dim is 0 for the dense head.
    """
    found = []
    for row in rows:
        figures = [row.get(name) for name in ("peak_bytes", "baseline_bytes", "classes", "crop")]
        if not all(isinstance(value, (int, float)) for value in figures):
            continue
        head = DENSE if row.get("method") == DENSE else EMBEDDING
        setting = Setting(
            batch=int(row.get("batch_size") or 1),
            crop=int(row["crop"]),
            dim=int(row.get("dim") or Setting().dim),
            pixels=int(row.get("pixels") or 0) if row.get("sampled") else 0,
        )
        found.append(
            (
                head,
                str(row.get("method")),
                int(row["classes"]),
                setting.crop,
                setting.batch,
                setting.dim if head == EMBEDDING else 0,
                setting.pixels,
                int(row["peak_bytes"] - row["baseline_bytes"]),
                total(head, int(row["classes"]), setting),
                float(row.get("seconds") or float("nan")),
            )
        )
    return pd.DataFrame(found, columns=list(MEASURED_COLUMNS))


def like(table: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The measurements of one setting; the dense head has no D."""
    same = (
        (table["crop"] == setting.crop)
        & (table["batch"] == setting.batch)
        & (table["pixels"] == setting.pixels)
        & ((table["dim"] == setting.dim) | (table["head"] == DENSE))
    )
    return table[same]


def machine(rows: Sequence[Mapping[str, Any]]) -> str:
    """The machine the rows were measured on, in words; "" where they do not say."""
    for row in rows:
        facts = row.get("machine")
        if isinstance(facts, Mapping):
            memory = facts.get("ram_bytes")
            words = [str(facts.get("cpu", "")), f"{facts.get('cpu_count', '?')} cores"]
            if isinstance(memory, (int, float)):
                words.append(f"{memory / 2**30:.0f} GiB")
            words += [str(gpu) for gpu in facts.get("gpus") or [] if row.get("device") == "cuda"]
            return ", ".join([*words, f"torch {facts.get('torch', '?')}"])
    return ""
