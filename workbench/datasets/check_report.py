"""What ``workbench data check`` found, and how it is told to people."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

_WIDTH: Final = 100


@dataclass(frozen=True)
class PartFound:
    """A part of the layout and how many of its files are there."""

    what: str
    pattern: str
    split: str
    found: int
    full: int
    """Files in the complete published dataset; 0 where that is not fixed."""
    optional: bool


@dataclass(frozen=True)
class SplitFound:
    """What opening and reading a split gave.

    Attributes:
        name: The split.
        images: Images it lists; 0 where it does not open.
        absent: Listed images without their picture or mask file.
        read: Pairs that were read.
        faulty: Of these, pairs with a fault.
        faults: The first few faults, one line each.
        error: Why the split cannot be used as a whole; "" where it can.
    """

    name: str
    images: int = 0
    absent: int = 0
    read: int = 0
    faulty: int = 0
    faults: tuple[str, ...] = ()
    error: str = ""

    @property
    def usable(self) -> bool:
        """Whether it opens and nothing of it is known to be wrong."""
        return not self.error and not self.faulty and not self.absent


@dataclass(frozen=True)
class Step:
    """Something to do next: why, and the command."""

    why: str
    command: str


@dataclass(frozen=True)
class CheckReport:
    """What ``check_dataset`` found.

    Attributes:
        key: Registry key.
        variant: The reading of the files that was checked.
        root: The folder that was given.
        folder: The dataset's own folder, in or near the given one; None where there is none.
        problem: Why the dataset is unusable, in a line; "" where it is usable.
        classes: Number of classes C; 0 where no split opens.
        parts: The layout's parts.
        splits: The dataset's splits.
        notes: What the dataset says about itself, for instance images it skips.
        steps: What to do next.
    """

    key: str
    variant: str
    root: Path
    folder: Path | None
    problem: str
    classes: int = 0
    parts: tuple[PartFound, ...] = ()
    splits: tuple[SplitFound, ...] = ()
    notes: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether training and evaluation can start."""
        return not self.problem

    def values(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        plain = asdict(self) | {"usable": self.usable, "root": str(self.root)}
        plain["folder"] = None if self.folder is None else str(self.folder)
        for split, values in zip(self.splits, plain["splits"], strict=True):
            values["usable"] = split.usable
        return plain

    def text(self) -> str:
        """For people, at most about 100 columns wide."""
        blocks = (_head(self), _parts(self), _splits(self), _notes(self), _steps(self))
        return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _head(report: CheckReport) -> list[str]:
    name = f"{report.key} ({report.variant})" if report.variant else report.key
    verdict = "usable" if report.usable else "NOT USABLE"
    classes = f", {report.classes} classes" if report.classes else ""
    lines = [f"{name}: {verdict}{classes}", f"  {(report.folder or report.root).absolute()}"]
    return lines + (_wrapped(report.problem, "  ") if report.problem else [])


def _parts(report: CheckReport) -> list[str]:
    if not report.parts:
        return []
    what = max(len(part.what) for part in report.parts)
    pattern = max(len(part.pattern) for part in report.parts)
    rows = [
        f"  {part.what:<{what}}  {part.pattern:<{pattern}}  {_amount(part)}"
        for part in report.parts
    ]
    return ["files", *rows]


def _amount(part: PartFound) -> str:
    if not part.found:
        return "none (optional)" if part.optional else "MISSING"
    if part.full == 1:
        return "there"
    return f"{part.found:,} of {part.full:,}" if part.full else f"{part.found:,}"


def _splits(report: CheckReport) -> list[str]:
    if not report.splits or {split.error for split in report.splits} == {report.problem} != {""}:
        return []  # one reason for all, told already
    width = max(len(split.name) for split in report.splits)
    lines = ["splits"]
    for split in report.splits:
        first, *more = _split_lines(split)
        lines += _wrapped(first, f"  {split.name:<{width}}  ")
        lines += [line for text in more for line in _wrapped(text, f"  {'':<{width}}  - ")]
    return lines


def _split_lines(split: SplitFound) -> list[str]:
    """A summary, then the faults."""
    if not split.images:
        return [f"cannot be opened: {split.error}"]
    summary = f"{split.images:,} image{'s' if split.images > 1 else ''}"
    if split.absent:
        summary += f", FILES MISSING of {split.absent:,}"
    if split.read:
        verdict = f"{split.faulty:,} FAULTY" if split.faulty else "no fault"
        summary += f"; {split.read:,} read, {verdict}"
    if split.error:
        summary += f"; {split.error}"
    hidden = split.absent + split.faulty - len(split.faults)
    return [summary, *split.faults, *([f"and {hidden:,} more"] if hidden else [])]


def _notes(report: CheckReport) -> list[str]:
    lines = [line for note in report.notes for line in _wrapped(note, "  - ")]
    return ["notes", *lines] if lines else []


def _steps(report: CheckReport) -> list[str]:
    # Commands are never wrapped: they are there to be copied.
    lines = [line for step in report.steps for line in (f"  {step.why}:", f"    {step.command}")]
    return ["next", *lines] if lines else []


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
