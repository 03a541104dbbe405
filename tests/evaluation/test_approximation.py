"""The approximation against softmax over all classes in plain numpy, and against the losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workbench.distances import DISTANCES, ClassEmbeddings, get_distance
from workbench.evaluation import approximation as module
from workbench.evaluation.approximation import approximation
from workbench.losses import nearest_cross_entropy, streaming_cross_entropy

CLASSES, DIM, PIXELS = 37, 5, 90


def make(
    distance: str, temperature: float = 6.0
) -> tuple[torch.Tensor, ClassEmbeddings, np.ndarray]:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randn(PIXELS, DIM, generator=generator)
    weight = torch.randn(CLASSES, DIM, generator=generator)
    bias = torch.randn(CLASSES, generator=generator) if distance == "linear" else None
    heat = torch.tensor(1.0 if distance == "linear" else temperature)
    targets = torch.randint(0, CLASSES, (PIXELS,), generator=generator).numpy()
    return pixels, ClassEmbeddings(weight, bias, heat), targets


def by_hand(k: int) -> dict[str, float]:
    """Cosine logits, one pixel after another."""
    pixels, classes, targets = make("cosine")
    found = []
    for pixel, target in zip(pixels.double().numpy(), targets, strict=True):
        rows = classes.weight.double().numpy()
        cosines = rows @ pixel / np.linalg.norm(rows, axis=1) / np.linalg.norm(pixel)
        scores = np.exp(6.0 * cosines)
        order = [index for index in np.argsort(-scores) if index != target][:k]
        members = scores[[target, *order]].sum()
        rank = int((scores > scores[target]).sum())
        found.append((rank < k, scores[target] / scores.sum(), scores[target] / members,
                      members / scores.sum()))  # fmt: skip
    means = np.mean(found, axis=0)
    return dict(zip(("hit_rate", "exact", "approximate", "covered"), means, strict=True))


@pytest.mark.parametrize("k", [1, 4, CLASSES - 1])
def test_one_pixel_after_another(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", 7 * CLASSES)  # several blocks, the last not full
    pixels, classes, targets = make("cosine")
    row = approximation(pixels, classes, targets, "cosine", ks=[2, k]).iloc[1]
    for name, value in by_hand(k).items():
        assert row[name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("distance", sorted(DISTANCES))
def test_losses_are_those_of_training(distance: str) -> None:
    pixels, classes, targets = make(distance)
    row = approximation(pixels, classes, targets, distance, ks=[6]).iloc[0]
    ids, measure = torch.from_numpy(targets), get_distance(distance)
    exact = streaming_cross_entropy(pixels, classes, ids, measure).mean()
    near = nearest_cross_entropy(pixels, classes, ids, measure, k=6).mean()
    assert row["exact_loss"] == pytest.approx(float(exact), rel=1e-5)
    assert row["approximate_loss"] == pytest.approx(float(near), rel=1e-5)


def test_all_other_classes_are_exact() -> None:
    pixels, classes, targets = make("euclidean")
    rows = approximation(pixels, classes, targets, "euclidean", ks=[1, 5, CLASSES - 1])
    assert rows["covered"].iloc[-1] == pytest.approx(1.0)
    assert rows["exact"].nunique() == 1
    assert (rows["approximate"] >= rows["exact"]).all()
    assert rows["covered"].is_monotonic_increasing
    assert rows["hit_rate"].is_monotonic_increasing


@pytest.mark.parametrize("ks", [[0], [CLASSES]])
def test_too_few_or_too_many_neighbours(ks: list[int]) -> None:
    pixels, classes, targets = make("cosine")
    with pytest.raises(ValueError, match=f"between 1 and {CLASSES - 1}"):
        approximation(pixels, classes, targets, "cosine", ks=ks)


def test_pixels_and_targets_go_together() -> None:
    pixels, classes, targets = make("cosine")
    with pytest.raises(ValueError, match="3 pixels and 90 targets"):
        approximation(pixels[:3], classes, targets, "cosine", ks=[1])
