"""Why a class fails and what may help, in sentences with numbers; pure, and all tested.

Names come through a function that makes them safe for Markdown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pandas as pd

from app.failure_frames import Margin
from workbench.evaluation import failures

Name = Callable[[int], str]
Row = Mapping[Any, Any]

_MORE_IMAGES = "Label more images that show it: it has too few to learn from."
_REPEAT = (
    "Show the images it has more often: train with `--data.repeat_threshold 0.001` "
    "(a larger number repeats more)."
)
_ADJUST = "Keep frequent classes from outvoting it: train with `--loss.logit_adjustment 1`."
_BALANCE = "Draw its pixels more often: train with `--loss.balance inverse_sqrt`."
_LESS = "Rare classes are favoured; favour them less: a smaller `--loss.logit_adjustment`."
_LESS_THAN_OTHER = (
    "Where {other} is the rarer of the two, favour rare classes less: a smaller "
    "`--loss.logit_adjustment`."
)
_MERGE = (
    "If {other} is the same thing to you, merge the two on the Vocabulary page: no training needed."
)
_APART = (
    "If it is not, push the two apart: train with `--loss.separation_weight 1` and a larger "
    "`--loss.separation_margin`, such as 0.4."
)

REMEDIES: Final[dict[str, tuple[str, ...]]] = {
    "absent_from_val": (
        "Nothing says that the model fails here: evaluate on images that show the class, with "
        "`workbench evaluate RUN --split SPLIT`, or on all images, without `--images`.",
    ),
    "absent_from_train": (
        "Label training images that show it.",
        "Or add it from a few clicked pixels on the Vocabulary page: no training needed.",
    ),
    "never_predicted": (_MORE_IMAGES, _REPEAT, _ADJUST),
    "swallowed": (_MERGE, _APART, _REPEAT, _LESS_THAN_OTHER),
    "boundary_only": (
        "Draw finer outlines: train with `--model.output_stride 8` (network deeplabv3plus).",
        "Show it larger: a wider `--data.scale`, such as [0.5,3.0], or a larger `--data.crop`.",
    ),
    "mostly_misses": (_REPEAT, _ADJUST, _BALANCE),
    "unverified_false_alarms": (
        "Look at the pictures first: where nobody checked for the class, the model may be right.",
    ),
    "mostly_false_alarms": (
        "Label more images of {other}, whose pixels it takes.",
        _LESS,
        _MERGE,
    ),
}
"""What may help, by reason code; ``{other}`` is the class it is confused with."""


def _adjustment(loss: Row) -> float:
    strength = loss.get("logit_adjustment")
    return strength if isinstance(strength, (int, float)) else 0.0


_POINTLESS: Final[dict[str, Callable[[Row], bool]]] = {
    _ADJUST: lambda loss: _adjustment(loss) >= 1,
    _BALANCE: lambda loss: loss.get("balance") == "inverse_sqrt",
    _LESS: lambda loss: _adjustment(loss) <= 0,
    _LESS_THAN_OTHER: lambda loss: _adjustment(loss) <= 0,
}
"""Whether a remedy changes nothing, from the settings of the loss the run was trained with."""


def remedies(code: str, other: str | None, settings: Row) -> list[str]:
    """What may help against a reason, as Markdown.

    Args:
        code: The reason; an unknown one has no remedy.
        other: The class it is confused with, safe for Markdown; None leaves out what needs it.
        settings: Of the run, as its file has them; what would change nothing is left out.
    """
    loss = settings.get("loss")
    trained_with = loss if isinstance(loss, dict) else {}
    return [
        line.format(other=other)
        for line in REMEDIES.get(code, ())
        if (other or "{other}" not in line)
        and not (line in _POINTLESS and _POINTLESS[line](trained_with))
    ]


def explain(
    row: Row,
    name: Name,
    *,
    seen: Mapping[int, int] | None,
    takers: pd.DataFrame,
    victims: pd.DataFrame,
) -> list[str]:
    """Says why a class fails, from its counts.

    Args:
        row: Of `failure_frames.class_table`.
        name: A class's name, safe for Markdown.
        seen: Training images by class id; None where nobody counted them.
        takers: Who takes its pixels, from `frames.taken_for`.
        victims: Whose pixels it takes, from `frames.taken_as`.

    Returns:
        Sentences, as Markdown.
    """
    code = str(row["reason"])
    if code == "absent_from_val":
        said = ["No pixel of it is labelled in this split, so it has no score."]
        said += _alarms(row, name, victims) if row["predicted_pixels"] else []
    elif code == "never_predicted":
        said = [
            f"Not one of its {_pixels(row['truth_pixels'])} in {_images(row['val_images'])} is "
            f"predicted as it.",
            *_losses(row, name, takers),
        ]
    elif code == "absent_from_train":
        said = ["No training image shows it.", *_losses(row, name, takers)]
    elif code in ("mostly_false_alarms", "unverified_false_alarms"):
        said = _alarms(row, name, victims)
    elif code == "boundary_only":
        near = _percent(row["boundary_share"], "Most")
        said = [
            f"{near} of its wrong pixels lie close to a boundary of the truth: it is recognised, "
            f"but its outline is off.",
            *_losses(row, name, takers),
        ]
    elif code:
        said = _losses(row, name, takers)
        if code != "swallowed" and row["predicted_pixels"]:
            said.append(f"Where it is predicted, {_percent(row['precision'])} is right.")
    else:
        said = _fine(row, name, takers)
    if code != "absent_from_train":
        said += _training(row, name, seen)
    return said + _unverified(row, code)


def _fine(row: Row, name: Name, takers: pd.DataFrame) -> list[str]:
    if row["iou"] != row["iou"]:
        return ["It has no score in this split."]
    said = [f"It counts as fine: its IoU of {row['iou']:.3f} is not below {failures.FINE_IOU}."]
    return said + (_losses(row, name, takers) if row["missed"] else [])


def _losses(row: Row, name: Name, takers: pd.DataFrame) -> list[str]:
    """Where its pixels go."""
    total = int(row["truth_pixels"])
    if takers.empty:
        missed = int(row["missed"])
        return [f"{missed:,} of its {_pixels(total)} are given no class at all."] if missed else []
    first = takers.iloc[0]
    said = f"{int(first['pixels']):,} of its {_pixels(total)} ({_percent(first['share'])}) go to "
    said += f"**{name(int(first['class_id']))}**"
    more = [
        f"{name(int(other['class_id']))} ({_percent(other['share'])})"
        for other in takers.iloc[1:3].to_dict("records")
        if other["share"] >= 0.05
    ]
    return [said + (f", then {' and '.join(more)}" if more else "") + "."]


def _alarms(row: Row, name: Name, victims: pd.DataFrame) -> list[str]:
    """Whose pixels it takes."""
    given, wrong = int(row["predicted_pixels"]), int(row["false_alarms"])
    said = f"{wrong:,} of the {_pixels(given)} predicted as it are wrong"
    if victims.empty:
        return [f"{said}."]
    first = victims.iloc[0]
    return [f"{said}, most of them **{name(int(first['class_id']))}** ({int(first['pixels']):,})."]


def _training(row: Row, name: Name, seen: Mapping[int, int] | None) -> list[str]:
    """How often it was seen, beside the class that takes its pixels."""
    if seen is None:
        return []
    own, other = int(row["train_images"]), int(row["taken_by"])
    said = f"It has {own:,} training {'image' if own == 1 else 'images'}"
    if other not in seen:
        return [f"{said}."]
    return [f"{said}, {name(other)} has {seen[other]:,}."]


def _unverified(row: Row, code: str) -> list[str]:
    share = row["unverified_share"]
    if share != share or share <= 0:  # NaN: not counted
        return []
    said = f"Of its false alarms, {_percent(share)} are in images that nobody checked for it"
    much = code == "unverified_false_alarms" or share >= failures.UNVERIFIED_SHARE
    return [said + (": they may be right." if much else ".")]


def margin_sentence(found: Margin, other: str) -> str:
    """How far two class embeddings are apart, as a sentence; ``other`` is safe for Markdown."""
    rank = "its nearest" if found.rank == 1 else f"number {found.rank:,} by distance"
    said = f"In the class table {other} is {rank}, {found.distance:.2f} away"
    share = found.closer_than
    if share >= 0.5:
        said += f"; {_percent(share)} of all classes keep more distance from their nearest"
    elif share < 0.5:  # neither where it is not known
        said += f"; {_percent(1 - share)} of all classes have a nearer neighbour"
    return f"{said}."


def _percent(share: object, unknown: str = "–") -> str:
    value = 100 * float(str(share))
    if value != value:
        return unknown
    if 0 < value < 1:
        return "under 1 %"
    if 99 < value < 100:
        return "over 99 %"
    return f"{value:.0f} %"


def _pixels(count: object) -> str:
    number = int(str(count))
    return f"{number:,} labelled pixel" if number == 1 else f"{number:,} labelled pixels"


def _images(count: object) -> str:
    number = int(str(count))
    return f"{number:,} image" if number == 1 else f"{number:,} images"
