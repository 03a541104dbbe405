"""The card of a shared model: what it is, how good it is, and what nobody has measured.

Every number comes from the model or from its run. Names are foreign text and are escaped.
"""

from __future__ import annotations

import copy
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from huggingface_hub import EvalResult, ModelCardData

from workbench import config
from workbench.datasets import DATASETS, get_dataset
from workbench.errors import one_line
from workbench.models import SegmentationModel
from workbench.sharing.facts import Facts
from workbench.vocabulary import Vocabulary

PAPER: Final = (
    "https://openaccess.thecvf.com/content/ICCV2021/html/Jain_Scaling_Semantic_Segmentation_"
    "Beyond_1K_Classes_on_a_Single_GPU_ICCV_2021_paper.html"
)
_SCORES: Final = {
    "miou": ("mean_iou", "mean IoU"),
    "pixel_accuracy": ("accuracy", "pixel accuracy"),
}
_USE: Final = """\
```python
from pathlib import Path
from workbench.datasets.base import to_tensor
from workbench.datasets.images import read_image
from workbench.inference import predict_labels
from workbench.sharing import SharedModel

shared = SharedModel.from_pretrained("FOLDER, OR NAME ON THE HUB")
picture = to_tensor(read_image(Path("picture.jpg")))
labels = predict_labels(shared.model, picture[None])[0]  # (H, W) class ids
print({shared.vocabulary.names[i] for i in labels.unique().tolist()})
```"""


def card_data(facts: Facts, run_config: config.Run, base: ModelCardData) -> ModelCardData:
    """The head of the card, which hubs read.

    Args:
        facts: Of the run.
        run_config: Of the run.
        base: What all models of this library say.
    """
    dataset = one_line(run_config.data.dataset)
    results = [
        EvalResult(
            task_type="image-segmentation",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=one_line(split),
            metric_type=kind,
            metric_name=words,
            metric_value=summary[key],
        )
        for split, summary in facts.evaluations.items()
        for key, (kind, words) in _SCORES.items()
        if _is_number(summary.get(key))
    ]
    head = copy.deepcopy(base)
    head.license = facts.license or None
    head.model_name = one_line(facts.source) or "model"
    head.eval_results = results or None
    return head


def card_text(
    model: SegmentationModel, vocabulary: Vocabulary, run_config: config.Run, facts: Facts
) -> str:
    """The body of the card, in Markdown."""
    table = "".join(
        f"| {name} | {value} |\n" for name, value in _rows(model, vocabulary, run_config, facts)
    )
    idea = "One output per class and pixel: the usual head, to compare with."
    if model.table is not None:
        idea = (
            "Every pixel gets a few numbers, every class is a point among them, and a pixel's "
            f"class is the nearest point ([the method]({PAPER}))."
        )
    scores = "".join(_scores(split, summary) for split, summary in facts.evaluations.items())
    missing = "".join(f"- {line}\n" for line in _not_measured(run_config, facts))
    return (
        f"# {_text(facts.source)}: semantic segmentation, {len(vocabulary):,} classes\n\n{idea}\n\n"
        f"## How good it is\n\n{scores}Not measured:\n\n{missing}\n"
        f"## What it is\n\n| | |\n|---|---|\n{table}\n"
        f"## How to use it\n\n{_USE}\n\n"
        "The folder holds weights (safetensors), settings and classes (JSON): no code, no pickle.\n"
    )


def _rows(
    model: SegmentationModel, vocabulary: Vocabulary, run_config: config.Run, facts: Facts
) -> Iterator[tuple[str, str]]:
    settings, data, train = run_config.model, run_config.data, run_config.train
    backbone = f" over {_text(settings.backbone)}" if hasattr(model.network, "backbone") else ""
    yield "network", _text(settings.network) + backbone
    parameters = sum(weight.numel() for weight in model.parameters())
    own = 0 if model.table is None else sum(weight.numel() for weight in model.table.parameters())
    yield "parameters", f"{parameters:,}" + (f" ({own:,} the classes' own)" if own else "")
    groups = Counter(vocabulary.groups)
    said = ", ".join(f"{count:,} {_text(group)}" for group, count in groups.most_common())
    yield "classes", f"{len(vocabulary):,}: {said}"
    yield "loss", _text(run_config.loss.name)
    if model.table is not None:
        yield "numbers per pixel and class, D", str(model.table.weight.shape[1])
        yield "distance", _text(model.distance)
        learned = ", learned" if settings.learn_temperature else ""
        yield "temperature, T", f"{float(model.table().temperature.detach()):.4g}{learned}"
    yield "trained on", f"{_text(data.dataset)}, split {_text(data.train_split)}"
    yield "terms of these data", _terms(data.dataset)
    if settings.weights or settings.pretrained:
        start = _text(settings.weights) or "published weights of the backbone"
        yield "started from", f"{start}: see their terms"
    size = f"{train.batch_size} crops of {data.crop} pixels a step and process"
    yield "training", f"{facts.step:,} steps, {size}"
    yield "time", "not recorded" if facts.seconds is None else _duration(facts.seconds)
    yield "machine", _machine(facts.environment)
    yield "license of these weights", _text(facts.license) or "not stated: ask who shared them"


def _terms(dataset: str) -> str:
    return (get_dataset(dataset).terms if dataset in DATASETS else "") or "not known"


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:,.0f} seconds"
    return f"{seconds / 60:,.0f} minutes" if seconds < 6000 else f"{seconds / 3600:,.1f} hours"


def _machine(environment: Mapping[str, Any]) -> str:
    gpus = environment.get("gpus")
    parts = [", ".join(map(_text, gpus)) if isinstance(gpus, list) and gpus else "no GPU"]
    if "cpu_count" in environment:
        parts.append(f"{_text(environment['cpu_count'])} CPU cores")
    for name in ("machine", "python", "torch", "workbench"):
        if name in environment:
            word = "" if name == "machine" else f"{name} "
            parts.append(word + _text(environment[name]))
    return ", ".join(parts) if environment else "not recorded"


def _scores(split: str, summary: Mapping[str, Any]) -> str:
    groups = summary.get("groups")
    lines = [
        f"| {_text(split)}, {_count(summary.get('images'))} images | classes | mean IoU |",
        "|---|---:|---:|",
        f"| all | {_count(summary.get('miou_classes'))} | {_figure(summary.get('miou'))} |",
    ]
    for name, group in groups.items() if isinstance(groups, dict) else ():
        values = group if isinstance(group, dict) else {}
        lines.append(
            f"| {_text(name)} | {_count(values.get('classes'))} | {_figure(values.get('miou'))} |"
        )
    absent, weak = summary.get("absent_classes"), summary.get("weak_classes")
    said = f"Pixel accuracy {_figure(summary.get('pixel_accuracy'))}."
    if _is_number(weak):
        said += f" {_count(weak)} classes have an IoU below 0.25."
    if _is_number(absent) and absent:
        said += f" {_count(absent)} classes do not occur in the split and have none."
    return "\n".join(lines) + f"\n\n{said}\n\n"


def _not_measured(run_config: config.Run, facts: Facts) -> Iterator[str]:
    if not facts.evaluations:
        yield "how good these weights are: nothing was evaluated (`workbench evaluate RUN` does)"
    for split in facts.stale:
        yield f"the split {_text(split)} with these weights: its evaluation is of other ones"
    yield f"the spread between trainings: this is one, with seed {run_config.train.seed}"
    yield "pictures of another kind than those it was trained on"
    yield "time and memory of a prediction"


def _is_number(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


def _figure(value: object) -> str:
    return f"{value:.3f}" if _is_number(value) else "not defined"


def _count(value: object) -> str:
    return f"{value:,.0f}" if _is_number(value) else "unknown"


def _text(value: object) -> str:
    """Foreign text on one line, with nothing that Markdown or HTML would take for its own."""
    return re.sub(r"([^\w\s.,:;=+/'%-]|_)", r"\\\1", one_line(value))
