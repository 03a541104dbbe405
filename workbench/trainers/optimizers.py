"""Parameter groups, gradients, and optimiser state as plain named tensors (no pickle)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from workbench import config
from workbench.errors import RunError
from workbench.trainers.schedules import poly

_STEP = "step"
_STATES = {"sgd": {"momentum_buffer"}, "adamw": {_STEP, "exp_avg", "exp_avg_sq"}}
"""What torch's optimisers keep of a parameter, by ``train.optimizer``."""
_NORMALIZATION = (
    nn.modules.batchnorm._BatchNorm,
    nn.GroupNorm,
    nn.LayerNorm,
)


def parameter_groups(model: nn.Module, settings: config.Train) -> list[dict[str, object]]:
    """Sorts a model's parameters into groups with their own learning rate and decay.

    Backbone, the rest of the network, and the class table; each with and without weight
    decay (normalisation, biases, class embeddings and temperature are not decayed: a decay
    of normalised vectors only changes their step size).

    Args:
        model: A ``SegmentationModel``.
        settings: Learning rates and schedule.

    Returns:
        Groups with the extra keys "name", "base_lr" and "power".
    """
    undecayed = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, _NORMALIZATION)
        for parameter in module.parameters(recurse=False)
    }
    sorted_names: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        part = _part(name)
        decay = part != "table" and not name.endswith("bias") and id(parameter) not in undecayed
        sorted_names.setdefault((part, decay), []).append(parameter)
    factors = {"backbone": settings.backbone_lr_factor, "table": settings.table_lr_factor}
    return [
        {
            "name": part + ("" if decay else ", no decay"),
            "params": parameters,
            "lr": settings.lr * factors.get(part, 1.0),
            "base_lr": settings.lr * factors.get(part, 1.0),
            "power": settings.table_power if part == "table" else settings.power,
            "weight_decay": settings.weight_decay if decay else 0.0,
        }
        for (part, decay), parameters in sorted_names.items()
    ]


def clip_gradients(accelerator: Accelerator, model: nn.Module, longest: float) -> float:
    """Shortens the gradient of all parameters to a length, where it is longer.

    Args:
        accelerator: Which knows the scale of an fp16 loss.
        model: After the backward pass.
        longest: 0 for any length.

    Returns:
        The length before, the L2 norm over all parameters.
    """
    if longest > 0:
        return float(accelerator.clip_grad_norm_(model.parameters(), longest))
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def _part(name: str) -> str:
    if name.startswith("table."):
        return "table"
    return "backbone" if ".backbone." in f".{name}" else "network"


def build_optimizer(model: nn.Module, settings: config.Train) -> Optimizer:
    """The optimiser a configuration names, over :func:`parameter_groups`."""
    groups = parameter_groups(model, settings)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


def set_learning_rates(optimizer: Optimizer, step: int, settings: config.Train) -> None:
    """Sets every group's rate for the step about to be taken (0-based)."""
    for group in optimizer.param_groups:
        group["lr"] = poly(
            step,
            settings.steps,
            power=group["power"],
            base=group["base_lr"],
            floor=settings.lr_floor,
            warmup=settings.warmup_steps,
        )


def _parameters(optimizer: Optimizer) -> Iterator[tuple[int, nn.Parameter]]:
    yield from enumerate(
        parameter for group in optimizer.param_groups for parameter in group["params"]
    )


def state_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Everything an optimiser remembers, as {"<parameter index>.<name>": tensor}."""
    return {
        f"{index}.{key}": value.detach()
        if isinstance(value, Tensor)
        else torch.tensor(value, dtype=torch.float64)
        for index, parameter in _parameters(optimizer)
        for key, value in optimizer.state.get(parameter, {}).items()
        if value is not None
    }


def load_state_tensors(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts back what :func:`state_tensors` returned.

    Raises:
        RunError: The state does not fit the optimiser's parameters, or is another optimiser's.
    """
    parameters = {str(index): parameter for index, parameter in _parameters(optimizer)}
    known = _STATES["sgd" if isinstance(optimizer, torch.optim.SGD) else "adamw"]
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters.get(index)
        shape = torch.Size() if key == _STEP else None if parameter is None else parameter.shape
        if parameter is None or key not in known or value.shape != shape:
            raise RunError(
                f"checkpoint: optimiser state {name!r} does not fit the model; "
                "resume with the configuration the run was started with"
            )
        # Adam counts its steps on the CPU, wherever the parameter is.
        device = value.device if key == _STEP else parameter.device
        optimizer.state[parameter][key] = value.to(device).clone()


def bare(optimizer: object) -> Optimizer:
    """The optimiser within Accelerate's wrapper."""
    inner = getattr(optimizer, "optimizer", optimizer)
    assert isinstance(inner, Optimizer)
    return inner
