"""What a run was made with: versions and hardware, no paths and no names of machines."""

from __future__ import annotations

import os
import platform
from typing import Any


def describe_environment() -> dict[str, Any]:
    """Describes the software and the machine a run is made on.

    Returns:
        Versions of Python, torch and this package, the kind of system, the number of CPU
        cores, and the GPUs' product names.
    """
    import torch

    from workbench import __version__

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "workbench": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu_count": os.cpu_count(),
        "gpus": gpus,
    }
