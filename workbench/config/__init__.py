"""Everything a run can be told: keyword-only dataclasses, YAML round trip.

The command line's flags are the dotted fields (``--train.steps 500``); a run directory
keeps the whole configuration as ``config.yaml``. Types are checked by jsonargparse, values
by the dataclasses themselves, and both speak one clear line.
"""

from __future__ import annotations

from workbench.config.reading import (
    describe_settings,
    from_dict,
    from_overrides,
    load_yaml,
    setting_names,
    to_dict,
)
from workbench.config.sections import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Data,
    Loss,
    Model,
    Run,
    Train,
)

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Data",
    "Loss",
    "Model",
    "Run",
    "Train",
    "describe_settings",
    "from_dict",
    "from_overrides",
    "load_yaml",
    "setting_names",
    "to_dict",
]
