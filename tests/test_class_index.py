"""The approximate index against all products in float64."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from workbench.class_index import ClassIndex, load_faiss
from workbench.config import Loss
from workbench.distances import ClassEmbeddings
from workbench.errors import ConfigError
from workbench.losses import LossTerms, build_loss
from workbench.losses.modules import Nearest

needs_faiss = pytest.mark.usefixtures("faiss")


@pytest.fixture
def faiss() -> None:
    pytest.importorskip("faiss", reason="the extra `index` is not installed")


def unit(*shape: int, seed: int = 0) -> Tensor:
    return functional.normalize(torch.randn(shape, generator=generator(seed)), dim=-1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def clusters(classes: int, dim: int) -> Tensor:
    """Classes in 50 groups of very different width."""
    width = torch.logspace(-3, -0.5, 50)[torch.arange(classes) % 50, None]
    noise = width * torch.randn((classes, dim), generator=generator(1))
    return functional.normalize(unit(50, dim)[torch.arange(classes) % 50] + noise, dim=1)


def all_scores(pixels: Tensor, weight: Tensor, offset: Tensor | None = None) -> Tensor:
    scores = pixels.double() @ weight.double().T
    return scores if offset is None else scores + offset.double()


def share_found(ids: Tensor, scores: Tensor) -> float:
    """Recall of ids (N, k), of which none may come twice."""
    right = scores.topk(ids.shape[1], dim=1).indices
    assert all(len(set(row)) == len(row) for row in ids.tolist())
    return float((right[:, :, None] == ids[:, None]).any(dim=2).double().mean())


@needs_faiss
@pytest.mark.parametrize("table", ["random", "clusters"])
def test_a_tuned_index_finds_what_it_promises(table: str) -> None:
    weight = unit(60_000, 12) if table == "random" else clusters(60_000, 12)
    # Half of the pixels anywhere, half close to their class as in training.
    near = functional.normalize(weight[:300] + 0.05 * unit(300, 12, seed=3), dim=1)
    pixels = torch.cat((unit(300, 12, seed=2), near))
    index = ClassIndex(weight)
    measured = index.tune(pixels, 7)
    assert measured >= 0.95 and 1 <= index.probes < index.lists / 4
    assert index.recall(pixels, 7) == measured
    true = share_found(index.search(pixels, 7), all_scores(pixels, weight))
    assert true >= 0.95 and true == pytest.approx(measured, abs=0.02)


@needs_faiss
def test_offsets_and_lengths_count() -> None:
    weight = 2 * torch.randn((20_000, 6), generator=generator(0))
    weight[7] *= 50  # far longer than all others
    offset = 3 * torch.randn(20_000, generator=generator(1))
    pixels = torch.randn((1_000, 6), generator=generator(2))
    pixels[::10] *= 1e-3  # whose neighbours the offsets decide
    index = ClassIndex(weight, offset)
    assert index.tune(pixels, 5) >= 0.95
    assert share_found(index.search(pixels, 5), all_scores(pixels, weight, offset)) >= 0.95


@needs_faiss
def test_the_excluded_class_is_never_found_and_costs_no_place() -> None:
    weight, pixels = unit(5_000, 8), unit(600, 8, seed=1)
    scores = all_scores(pixels, weight)
    exclude = scores.argmax(dim=1)
    index = ClassIndex(weight, probes=10_000)
    ids = index.search(pixels, 5, exclude)
    assert ids.dtype == torch.int64 and ids.shape == (600, 5)
    assert not (ids == exclude[:, None]).any()
    scores[torch.arange(600), exclude] = -torch.inf
    assert share_found(ids, scores) == 1.0
    assert torch.equal(ids[:, 0], scores.argmax(dim=1))  # nearest first


@needs_faiss
@pytest.mark.parametrize("classes", [2, 3, 300])
def test_all_other_classes_can_be_asked_for(classes: int) -> None:
    """Few lists hold fewer classes than asked for: such a pixel is searched exactly."""
    weight, pixels = unit(classes, 4), unit(50, 4, seed=1)
    exclude = torch.arange(50) % classes
    index = ClassIndex(weight, probes=1)
    ids = index.search(pixels, classes - 1, exclude)
    for row, own in zip(ids.tolist(), exclude.tolist(), strict=True):
        assert sorted([*row, own]) == list(range(classes))
    for k in (0, classes):
        with pytest.raises(ValueError, match=f"between 1 and {classes - 1}, got {k}"):
            index.search(pixels, k, exclude)


@needs_faiss
def test_the_table_of_the_moment_ranks_the_candidates() -> None:
    weight, pixels = unit(20_000, 12), unit(500, 12, seed=1)
    index = ClassIndex(weight)
    index.tune(pixels, 7)
    before = index.search(pixels, 7)
    moved = functional.normalize(weight + 0.1 * unit(20_000, 12, seed=2), dim=1)
    index.update(moved)
    scores = all_scores(pixels, moved)
    ids = index.search(pixels, 7)
    assert (scores.gather(1, ids).diff(dim=1) <= 1e-6).all()
    assert share_found(ids, scores) > share_found(before, scores) + 0.1
    assert share_found(ids, scores) == pytest.approx(index.recall(pixels, 7), abs=1e-3)
    assert index.recall(pixels, 7) >= 0.9


@needs_faiss
def test_another_table_needs_another_index() -> None:
    index = ClassIndex(unit(100, 4))
    for weight, offset in ((unit(101, 4), None), (unit(100, 4), torch.zeros(100))):
        with pytest.raises(ValueError, match=r"a table \(100, 4\) without offsets"):
            index.update(weight, offset)


@needs_faiss
def test_equal_classes_are_equally_near() -> None:
    """Which of them come first is chance, so the recall must not depend on it."""
    weight = unit(40, 6).repeat(500, 1)
    index = ClassIndex(weight)
    assert index.tune(unit(300, 6, seed=1), 7) == 1.0
    assert index.probes < index.lists


@needs_faiss
def test_the_same_seed_gives_the_same_neighbours_whatever_the_budget() -> None:
    weight, pixels = unit(10_000, 12), unit(300, 12, seed=1)
    once, again, other = (ClassIndex(weight, probes=4, seed=seed) for seed in (5, 5, 6))
    ids = once.search(pixels, 7)
    assert torch.equal(ids, again.search(pixels, 7, budget=20_000))
    assert not torch.equal(ids, other.search(pixels, 7))  # so the seed is what decides


@needs_faiss
def test_the_index_takes_as_many_threads_as_torch() -> None:
    import faiss

    threads = torch.get_num_threads()
    try:
        for wanted in (1, 2):
            torch.set_num_threads(wanted)
            ClassIndex(unit(100, 4)).search(unit(3, 4), 1)
            assert faiss.omp_get_max_threads() == wanted
    finally:
        torch.set_num_threads(threads)


def test_without_faiss_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    build_loss(Loss(search="exact"), "euclidean")
    words = r"loss\.search: .*pip install 'segmentation-workbench\[index\]'"
    with pytest.raises(ConfigError, match=words):
        build_loss(Loss(search="index"), "euclidean")
    with pytest.raises(ConfigError, match=words):
        load_faiss()


class Batch:
    """A small network's output, its class table and a mask."""

    def __init__(self, distance: str, classes: int = 3_000) -> None:
        self.distance = distance
        self.features = torch.randn((2, 6, 5, 5), generator=generator(0)).requires_grad_()
        self.mask = torch.randint(0, classes, (2, 20, 20), generator=generator(1))
        self.mask[:, :2] = -100
        weight = torch.randn((classes, 6), generator=generator(2)).requires_grad_()
        bias = torch.randn(classes, generator=generator(3)).requires_grad_()
        temperature = torch.tensor(1.0 if distance == "linear" else 20.0, requires_grad=True)
        self.table = ClassEmbeddings(weight, bias if distance == "linear" else None, temperature)

    def loss(self, search: str, refresh: int = 100) -> Nearest:
        settings = Loss(search=search, index_refresh=refresh)  # type: ignore[arg-type]
        loss = build_loss(settings, self.distance)
        assert isinstance(loss, Nearest)
        return loss

    def gradients(self, terms: LossTerms) -> list[Tensor]:
        leaves = [self.features, *(leaf for leaf in self.table if leaf is not None)]
        return list(torch.autograd.grad(terms.mean(), leaves))


@needs_faiss
@pytest.mark.parametrize("distance", ["euclidean", "cosine", "linear"])
def test_the_loss_is_nearly_that_of_the_exact_search(distance: str) -> None:
    batch = Batch(distance)
    exact = batch.loss("exact")(batch.features, batch.table, batch.mask)
    loss = batch.loss("index")
    terms = loss(batch.features, batch.table, batch.mask)
    assert loss.recall >= 0.95
    assert terms.count == exact.count == 2 * 18 * 20
    assert 0.98 * exact.sum < terms.sum < 1.001 * exact.sum  # a missed neighbour makes it less
    for found, right in zip(batch.gradients(terms), batch.gradients(exact), strict=True):
        cosine = functional.cosine_similarity(found.flatten(), right.flatten(), dim=0)
        assert cosine > 0.99


@needs_faiss
def test_the_index_is_built_anew_every_so_many_batches() -> None:
    batch = Batch("euclidean")
    loss = batch.loss("index", refresh=3)
    ignored = torch.full_like(batch.mask, -100)
    assert loss(batch.features, batch.table, ignored).count == 0
    assert loss.index is None  # no pixel, no index
    built = []
    for _ in range(7):
        loss(batch.features, batch.table, batch.mask)
        built.append(loss.index)
        with torch.no_grad():
            batch.table.weight.add_(1e-3)
    kept = [one is other for one, other in pairwise(built)]
    assert kept == [True, True, False, True, True, False]


@needs_faiss
def test_between_two_builds_the_classes_of_the_moment_count() -> None:
    batch = Batch("euclidean")
    loss = batch.loss("index")
    loss(batch.features, batch.table, batch.mask)
    with torch.no_grad():
        batch.table.weight.add_(0.05 * torch.randn((3_000, 6), generator=generator(5)))
    exact = batch.loss("exact")(batch.features, batch.table, batch.mask)
    terms = loss(batch.features, batch.table, batch.mask)
    torch.testing.assert_close(terms.sum, exact.sum, rtol=0.02, atol=0.0)


@needs_faiss
def test_blocks_of_a_batch_share_one_index() -> None:
    batch = Batch("cosine")
    whole = batch.loss("index")(batch.features, batch.table, batch.mask)
    loss = batch.loss("index")
    loss.budget = 100_000
    terms = loss(batch.features, batch.table, batch.mask)
    torch.testing.assert_close(terms.sum, whole.sum, rtol=0.02, atol=0.0)


@needs_faiss
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_diverged_table_gives_a_loss_the_trainer_reports(value: float) -> None:
    batch = Batch("euclidean", classes=300)
    with torch.no_grad():
        batch.table.weight[:] = value
    terms = batch.loss("index")(batch.features, batch.table, batch.mask)
    assert terms.sum.isnan()
