"""The section about exported graphs on the page about performance."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.benchmarks.report_text import busy, mib, pick, place, seconds, significant
from workbench.benchmarks.rows import Row

_EXPORT = """\
## Exported graphs

`workbench export` to ONNX, one picture of {pixels:,} pixels, {classes:,} classes, D = {dim}, as \
`workbench bench export` measures it, each line in a fresh process. `embeddings` is the same graph \
without the search: what the search adds in memory should stay below a fifth. Memory is what is \
taken beyond the loaded model.

Machine: {place}.
{busy}
| network | method | peak, MiB | peak / `embeddings` | s / picture | cores' seconds a picture |
|---|---|---:|---:|---:|---:|
{table}
{agreement}
```sh
workbench bench export --run runs/demo --json benchmarks/export.json
```
"""


def render_export(rows: Sequence[Row]) -> str:
    """The section about ``benchmarks/export.json`` as Markdown."""
    measured = [row for row in rows if row["method"] != "agreement"]
    table = []
    for row in measured:
        plain = pick(measured, network=row["network"], method="embeddings")
        ratio = ""
        if plain and row["method"] == "onnxruntime":
            ratio = significant(row["peak_bytes"] / plain["peak_bytes"])
        table.append(
            f"| {row['network']} | {row['method']} | {mib(row['peak_bytes'])} | {ratio} "
            f"| {seconds(row['seconds'])} | {seconds(row['cpu_seconds'])} |"
        )
    first = measured[0]
    return _EXPORT.format(
        **{key: first[key] for key in ("pixels", "classes", "dim")},
        place=place(first),
        busy=busy(measured),
        table="\n".join(table),
        agreement="".join(_agreement(row) for row in rows if row["method"] == "agreement"),
    )


def _agreement(row: Row) -> str:
    return (
        f"\nThe {row['network']} run against PyTorch, {row['pictures']} pictures: "
        f"{row['agreement']:.4%} of the pixels have the same label, the largest error of a "
        f"distance is {row['largest_error']:.1e}; the file has {mib(row['bytes'])} MiB.\n"
    )
