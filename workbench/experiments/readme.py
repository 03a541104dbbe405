"""What was measured, as the table in the README: made from the committed rows.

``python -m workbench.experiments.readme benchmarks README.md``, or ``make readme``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from workbench.benchmarks.report_targets import peak_to_dense_few, step_time, to_a_million
from workbench.benchmarks.report_text import significant
from workbench.benchmarks.rows import Row, read_rows
from workbench.errors import DataError
from workbench.experiments.plan import DEFAULT, get_experiment
from workbench.experiments.run import read_cells
from workbench.experiments.summary import entries, pick
from workbench.runs import write_text

BEGIN: Final = "<!-- made by `make readme` from benchmarks/ -->"
END: Final = "<!-- end -->"

Rows = Sequence[Row]


def render_measured(costs: Mapping[str, Rows], cells: Rows) -> str:
    """The table.

    Args:
        costs: Name of a benchmark's file -> its rows; those of reliability with "reliability/".
        cells: Trainings of the experiments "budgets", "images" and "factors".
    """
    lines = [*_costs(costs), *_scores(cells), *_app(costs.get("app", ())), *_reliability(costs)]
    head = "| what | measured | more in |\n|---|---|---|\n"
    return head + "".join(f"| {what} | {value} | {page} |\n" for what, value, page in lines)


def _costs(costs: Mapping[str, Rows]) -> Iterator[tuple[str, str, str]]:
    page = "[performance](docs/performance.md)"
    for what, ratios in (
        ("peak memory of a training step at 1,284 classes / of a dense head at 21",
         peak_to_dense_few(costs)),
        ("the same at 1,000,000 classes / at 21, the class table aside", to_a_million(costs)),
        ("time of a step at 1,284 classes, dense head / embedding", step_time(costs)),
    ):  # fmt: skip
        told = ", ".join(f"{name} **{significant(value)}**" for name, value in ratios)
        if told:
            yield what, told, page


def _scores(cells: Rows) -> Iterator[tuple[str, str, str]]:
    found = entries(cells)
    tight = {"memory": min(row["memory"] for row in cells), "length": "time"} if cells else {}
    names = {
        DEFAULT: "exact loss with adjusted logits (`default`)",
        "ours": "exact loss",
        "dense": "dense head",
        "nearest": "the paper's loss",
    }
    seconds = f"{get_experiment('budgets').seconds:g} s on a CPU"
    images = f"{get_experiment('images').images:,} images each"
    for what, where in (
        (f"mIoU over 1,284 generated classes, same memory and {seconds}", tight),
        (f"the same where memory is no limit, {images}", {"length": "images"}),
    ):
        scores = [
            f"{words} **{entry.miou:#.2g}** ({len(entry.rows)} seed{'s' * (len(entry.rows) > 1)})"
            for method, words in names.items()
            if (entry := pick(found, method, **where)) is not None
        ]
        if scores:
            yield what, ", ".join(scores), "[accuracy](docs/accuracy.md)"


def _app(rows: Rows) -> Iterator[tuple[str, str, str]]:
    warm = [row["seconds"] for row in rows if row["condition"] == "warm" and row["seconds"]]
    if warm:
        what = f"a page of the app on an evaluation of {rows[0]['images']:,} images"
        told = f"**{min(warm):.2f} to {max(warm):.2f} s**"
        yield what, told, "[performance](docs/performance.md#the-app)"


def _reliability(costs: Mapping[str, Rows]) -> Iterator[tuple[str, str, str]]:
    page = "[reliability](docs/reliability.md)"
    kills = [row for row in costs.get("reliability/faults", ()) if row["fault"] == "kill"]
    if kills:
        count = sum(sum(row["kills"].values()) for row in kills)
        lost = sum(len(row["losses"]) for row in kills)
        yield (
            "commands killed in the middle, then taken up again",
            f"**{count}**, {lost} lost",
            page,
        )
    cases = costs.get("reliability/fuzz", ())
    if cases:
        count = sum(row["cases"] for row in cases)
        bad = sum(one["cases"] for row in cases for one in row["findings"])
        told = f"**{count:,}**, {bad} that crashed, hung or were read wrongly"
        yield "damaged files and settings", told, page


def put_between_marks(text: str, table: str) -> str:
    """The README with a new table.

    Raises:
        DataError: The marks are not there, once each and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise DataError(f"README.md: expected one {BEGIN} and, after it, one {END}")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def main(source: Path, readme: Path) -> None:
    """Writes the table.

    Raises:
        DataError: A file of rows cannot be read, or the README has no place for them.
    """
    names = ("step", "memory", "app", "reliability/faults", "reliability/fuzz")
    paths = {name: source / f"{name}.json" for name in names}
    costs = {name: read_rows(path) for name, path in paths.items() if path.exists()}
    trained = (get_experiment(name) for name in ("budgets", "images", "factors"))
    cells = [row for one in trained for row in read_cells(one, source / "accuracy")]
    table = render_measured(costs, cells)
    write_text(readme, put_between_marks(readme.read_text("utf-8"), table))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
