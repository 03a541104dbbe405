"""The registry and the modules over the loss functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.config import Loss
from workbench.distances import ClassEmbeddings
from workbench.errors import ConfigError
from workbench.losses import LOSSES, build_loss, get_loss

CLASSES = 300
TABLE_LOSSES = ["nearest", "streaming"]


@pytest.fixture
def features() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 6, 4, 5, requires_grad=True)


@pytest.fixture
def classes() -> ClassEmbeddings:
    torch.manual_seed(1)
    weight = torch.randn(CLASSES, 6, requires_grad=True)
    return ClassEmbeddings(weight, None, torch.tensor(10.0, requires_grad=True))


@pytest.fixture
def mask() -> Tensor:
    torch.manual_seed(2)
    mask = torch.randint(0, CLASSES, (2, 15, 18))
    mask[:, :, :3] = -100
    return mask


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_the_registry_names_the_losses() -> None:
    assert set(LOSSES) == {"nearest", "streaming", "dense", "published"}
    assert not get_loss("dense").uses_class_table
    with pytest.raises(ConfigError, match=r"loss\.name: .*'focal'.*nearest, streaming, dense"):
        get_loss("focal")


@pytest.mark.parametrize("name", TABLE_LOSSES)
def test_drawing_every_pixel_is_taking_all(
    name: str, features: Tensor, classes: ClassEmbeddings, mask: Tensor
) -> None:
    everything = build_loss(Loss(name=name, pixels=0), "cosine")(features, classes, mask)
    settings = Loss(name=name, pixels=10_000)
    drawn = build_loss(settings, "cosine")(features, classes, mask, generator())
    assert everything.count == drawn.count == 2 * 15 * 15
    leaves = [features, classes.weight, classes.temperature]
    torch.testing.assert_close(everything.sum, drawn.sum)
    for one, other in zip(
        torch.autograd.grad(everything.sum, leaves),
        torch.autograd.grad(drawn.sum, leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TABLE_LOSSES)
def test_a_sample_counts_what_it_drew(
    name: str, features: Tensor, classes: ClassEmbeddings, mask: Tensor
) -> None:
    loss = build_loss(Loss(name=name, pixels=40), "euclidean")
    one = loss(features, classes, mask, generator())
    assert one.count == 40
    assert torch.equal(one.sum, loss(features, classes, mask, generator()).sum)


def test_the_dense_loss_is_torchs_on_upsampled_logits(mask: Tensor) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, CLASSES, 4, 5, requires_grad=True)
    full = functional.interpolate(logits, (15, 18), mode="bilinear", align_corners=False)
    right = functional.cross_entropy(full, mask)
    for pixels in (0, 10_000):
        terms = build_loss(Loss(name="dense", pixels=pixels), "cosine")(logits, None, mask)
        assert terms.count == 2 * 15 * 15
        torch.testing.assert_close(terms.mean(), right)
        one, other = (
            torch.autograd.grad(v, [logits], retain_graph=True) for v in (terms.mean(), right)
        )
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_more_logits_than_torch_upsamples_at_once_give_the_same(
    mask: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = torch.randn(len(mask), CLASSES, 6, 6)
    loss = build_loss(Loss(name="dense", pixels=0, logit_adjustment=0.5), "cosine")
    loss.use_prior(np.arange(CLASSES) + 1)
    whole = loss(logits, None, mask)
    monkeypatch.setattr("workbench.losses.modules._MOST_LOGITS", 1)
    parts = loss(logits, None, mask)
    assert int(parts.count) == int(whole.count) > 0
    torch.testing.assert_close(parts.sum, whole.sum)


@pytest.mark.parametrize("pixels", [0, 16])
@pytest.mark.parametrize("name", ["nearest", "streaming", "dense"])
def test_an_ignored_batch_gives_zero_and_finite_gradients(
    name: str, pixels: int, classes: ClassEmbeddings
) -> None:
    channels = CLASSES if name == "dense" else 6
    features = torch.randn(2, channels, 4, 5, requires_grad=True)
    mask = torch.full((2, 15, 18), -100)
    table = None if name == "dense" else classes
    terms = build_loss(Loss(name=name, pixels=pixels), "euclidean")(features, table, mask)
    assert terms.sum == 0 and terms.count == 0
    leaves = [features] if table is None else [features, classes.weight, classes.temperature]
    for gradient in torch.autograd.grad(terms.mean(), leaves):
        assert (gradient == 0).all()


@pytest.mark.parametrize("name", TABLE_LOSSES)
def test_a_table_loss_without_a_table_says_so(name: str, features: Tensor, mask: Tensor) -> None:
    with pytest.raises(ValueError, match="class table"):
        build_loss(Loss(name=name), "cosine")(features, None, mask)


@pytest.mark.parametrize("name", TABLE_LOSSES)
def test_batches_of_one_add_up_to_a_batch_of_two(
    name: str, features: Tensor, classes: ClassEmbeddings, mask: Tensor
) -> None:
    mask[0, 4:] = -100  # the two images count differently
    loss = build_loss(Loss(name=name, budget_mb=0.01), "squared_euclidean")
    whole = loss(features, classes, mask)
    halves = [loss(features[i : i + 1], classes, mask[i : i + 1]) for i in (0, 1)]
    assert halves[0].count + halves[1].count == whole.count and halves[0].count == 4 * 15
    mean = (halves[0].sum + halves[1].sum) / whole.count
    leaves = [features, classes.weight, classes.temperature]
    torch.testing.assert_close(mean, whole.mean())
    for one, other in zip(
        torch.autograd.grad(mean, leaves), torch.autograd.grad(whole.mean(), leaves), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["streaming", "nearest", "dense"])
@pytest.mark.parametrize("distance", ["euclidean", "linear"])
def test_logit_adjustment_adds_the_log_prior(
    name: str, distance: str, logits_oracle: Any, make_problem: Any
) -> None:
    problem = make_problem(distance, dtype=torch.float32, pixels=36, classes=300)
    counts = np.arange(300) ** 2  # one class was never seen
    loss = build_loss(Loss(name=name, k=299, pixels=0, logit_adjustment=0.7), distance)
    loss.use_prior(counts)
    logits = logits_oracle(problem, distance)
    seen = torch.from_numpy(counts).double().clamp_min(1)
    prior = (seen / seen.sum()).log()
    right = functional.cross_entropy(
        logits.double() + 0.7 * prior, problem.targets, reduction="sum"
    ).float()
    mask = problem.targets.reshape(1, 6, 6)
    rows = (problem.pixels if name != "dense" else logits.detach()).T.reshape(1, -1, 6, 6)
    terms = loss(rows, None if name == "dense" else problem.classes, mask)
    torch.testing.assert_close(terms.sum, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "distance"), [("streaming", "euclidean"), ("dense", "linear")])
def test_label_smoothing_is_that_of_torch(
    name: str, distance: str, logits_oracle: Any, make_problem: Any
) -> None:
    problem = make_problem(distance, dtype=torch.float32, pixels=36, classes=300)
    loss = build_loss(Loss(name=name, pixels=0, label_smoothing=0.2), distance)
    logits = logits_oracle(problem, distance).detach()
    right = functional.cross_entropy(logits, problem.targets, reduction="sum", label_smoothing=0.2)
    rows = (problem.pixels if name != "dense" else logits).T.reshape(1, -1, 6, 6)
    table = None if name == "dense" else problem.classes
    terms = loss(rows, table, problem.targets.reshape(1, 6, 6))
    torch.testing.assert_close(terms.sum.detach(), right, rtol=1e-4, atol=1e-4)
