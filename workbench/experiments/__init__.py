"""Comparisons of methods under one protocol: what is planned, run, and told.

``plan`` says what is compared, ``budget`` what fits and how fast it is, ``cell`` trains and
scores one entry, ``run`` does them all and can be stopped and resumed, ``report`` makes the page.
"""

from __future__ import annotations

from workbench.experiments.plan import EXPERIMENTS, Cell, Experiment, get_experiment

__all__ = ["EXPERIMENTS", "Cell", "Experiment", "get_experiment"]
