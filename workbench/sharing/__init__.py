"""Trained models as folders that others can use, on a hub or by any other way.

::

    SharedModel.from_run("runs/demo").save_pretrained("shared/demo")
    shared = SharedModel.from_pretrained("shared/demo")  # or a name on the hub
    predict_labels(shared.model, images)
"""

from __future__ import annotations

from workbench.sharing.facts import Facts
from workbench.sharing.model import SharedModel

__all__ = ["Facts", "SharedModel"]
