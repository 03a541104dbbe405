"""What can stop a training, in one line that says what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from workbench import config, processes
from workbench.errors import ConfigError, RunError, first_line, is_out_of_memory

_NAMED_IMAGES: Final = 8


class NonFiniteLoss(RunError):
    """The loss of a step, or its gradient, is infinite or not a number.

    Attributes:
        step: The step, 1-based.
        loss: "nan", "inf" or "-inf"; a number where only the gradient is not finite.
        images: Ids of all images of the step.
    """

    def __init__(self, step: int, loss: float, images: Sequence[str], what: str = "loss") -> None:
        """Names the first few images, and what is not finite."""
        self.step, self.loss, self.images = step, str(loss), list(images)
        value = loss if what == "loss" else "not finite"
        more = len(images) - _NAMED_IMAGES
        names = ", ".join(images[:_NAMED_IMAGES]) + (f" and {more} more" if more > 0 else "")
        super().__init__(
            f"step {step}: the {what} is {value} on images {names}; "
            "lower train.lr, or resume from the last checkpoint with another train.seed"
        )


def expect_finite(what: str, value: float, step: int, loss: float, images: Sequence[str]) -> None:
    """Ends a step whose loss or gradient is not finite.

    Args:
        what: "loss" or "gradient".
        value: The loss, or the gradient's length; the same in all processes.
        step: The step, 1-based.
        loss: Of the step.
        images: Ids of this process's images.

    Raises:
        NonFiniteLoss: It is not; the error has the images of all processes.
    """
    if not math.isfinite(value):
        raise NonFiniteLoss(step, loss, processes.all_gather_texts(images), what)


def explained(error: BaseException, settings: config.Run, step: int) -> BaseException:
    """The error to show for one that stopped a training; itself where nothing is clearer.

    Args:
        error: As it was raised.
        settings: Of the training.
        step: Steps taken before.
    """
    text = str(error)
    if is_out_of_memory(error):
        return RunError(f"step {step + 1}: out of memory; {_smaller(settings)}")
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return RunError(
            f"step {step + 1}: a process that loads images ended ({first_line(error)}); if memory "
            f"ran out, lower --data.workers (now {settings.data.workers})"
        )
    if (missed := processes.lost(error)) is not None:
        return RunError(
            f"step {step + 1}: {missed}; go on with --resume, on any number of processes"
        )
    if settings.train.compile and _is_of_the_compiler(error):
        return ConfigError(
            f"train.compile: the network could not be compiled ({first_line(error)[:200]}); "
            "install a C++ compiler (g++), or set --train.compile false"
        )
    return error


def _is_of_the_compiler(error: BaseException) -> bool:
    """Whether torch's compiler raised it; its classes are not loaded before it is used."""
    return any(
        kind.__module__.startswith(("torch._dynamo", "torch._inductor"))
        for kind in type(error).__mro__
    )


def _smaller(settings: config.Run) -> str:
    """What to change for a step that needs less memory, with the present values."""
    train, data, loss = settings.train, settings.data, settings.loss
    ways = []
    if train.accumulate < train.batch_size:
        ways.append(f"raise --train.accumulate (now {train.accumulate}), which changes no result")
    if train.batch_size > 1:
        ways.append(f"lower --train.batch_size (now {train.batch_size})")
    ways.append(f"lower --data.crop (now {data.crop})")
    pixels = "all" if loss.pixels == 0 else str(loss.pixels)
    ways.append(f"draw fewer pixels by --loss.pixels (now {pixels})")
    if loss.name == "dense":
        ways.append("take another --loss.name than dense")
    return ", or ".join(ways)
