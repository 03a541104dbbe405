"""How the pages about performance write figures and machines."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.rows import Row

MIB = 2**20
IDLE = 0.5
"""Cores at work on other things, up to which a machine counts as idle."""


def mib(value: float | None) -> str:
    """Bytes in MiB; nothing for None. Below 10 with one digit after the point."""
    if value is None:
        return ""
    return f"{value / MIB:,.0f}" if value >= 9.95 * MIB else f"{value / MIB:.1f}"


def seconds(value: float | None) -> str:
    """Seconds with three digits; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def duration(value: float) -> str:
    """Seconds as one would say them: minutes from two on."""
    return f"{value / 60:.0f} minutes" if value >= 120 else f"{value:.0f} seconds"


def significant(value: float) -> str:
    """A ratio."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def place(row: Row) -> str:
    """The machine of a row, in a sentence without an end."""
    machine = row["machine"]
    what = host(machine)
    if row["device"] == "cuda":
        what = f"{', '.join(machine['gpus'])} (host: {what})"
    return f"{what}, torch {machine['torch']}"


def host(machine: Row) -> str:
    """Processor and memory of a machine, as ``describe_machine`` says them."""
    memory = machine["ram_bytes"] / 2**30
    return f"{machine['cpu']}, {machine['cpu_count']} cores, {memory:.0f} GiB"


def busy(rows: Sequence[Row]) -> str:
    """A paragraph where other work went on beside the measurements, else nothing."""
    load = rows[0]["machine"]["load"]
    if load <= IDLE:
        return ""
    turns = rows[0].get("rounds", 1)
    order = f"{turns} times, taking turns" if turns > 1 else "one after the other"
    return (
        f"\nOther work went on beside these measurements (load {load} before the first line): "
        "memory holds, times are too long. Ratios of times compare lines of this one run, "
        f"measured {order}; they are rougher than on an idle machine.\n"
    )


def pick(rows: Sequence[Row], **columns: object) -> Row | None:
    """The row with these values and figures, None where there is none."""
    for row in rows:
        if row["peak_bytes"] is not None and all(row.get(k) == v for k, v in columns.items()):
            return row
    return None


def counts(rows: Sequence[Row]) -> str:
    """The class counts as the command line takes them."""
    return ",".join(str(count) for count in sorted({row["classes"] for row in rows}))


def remarks(rows: Sequence[Row]) -> list[str]:
    """Lines below a table: what is wrong with rows that have figures."""
    noted = [row for row in rows if row["peak_bytes"] is not None and row["note"]]
    lines = [f"- {row['method']} at {row['classes']:,}: {row['note']}" for row in noted]
    return ["", *lines] if lines else []
