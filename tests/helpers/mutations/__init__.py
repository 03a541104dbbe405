"""Formulas broken on purpose, one at a time, to see that a test notices: see ``__main__``."""

from __future__ import annotations
