"""Scores and explanations: streaming IoU, sparse confusions, reason codes, class maps."""

from __future__ import annotations

from workbench.evaluation.confusions import SparseConfusions
from workbench.evaluation.evaluate import Evaluation, Evaluator, evaluate_predictions
from workbench.evaluation.failures import REASONS
from workbench.evaluation.iou import Counts, StreamingIoU, count_pixels, miou, miou_union
from workbench.evaluation.projection import project_steps, project_table

__all__ = [
    "REASONS",
    "Counts",
    "Evaluation",
    "Evaluator",
    "SparseConfusions",
    "StreamingIoU",
    "count_pixels",
    "evaluate_predictions",
    "miou",
    "miou_union",
    "project_steps",
    "project_table",
]
