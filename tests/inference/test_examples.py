"""Classes from pictures with masks: which pixels are taken, and how far a row is pushed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from workbench.inference import examples, load_model
from workbench.inference.examples import read_examples, sample_pixels
from workbench.inference.inspect import PixelFeatures, extract_features
from workbench.inference.pushed_rows import PUSHES, pushed_row
from workbench.models import SegmentationModel
from workbench.runs import RunDirectory


def test_a_sample_is_of_the_mask_and_the_same_every_time() -> None:
    where = np.random.default_rng(0).random((60, 70)) < 0.5
    few = sample_pixels(where, most=100)
    assert few.sum() == 100 and not (few & ~where).any()
    assert np.array_equal(few, sample_pixels(where, most=100))
    assert not np.array_equal(few, sample_pixels(where, most=100, seed=1))
    assert np.array_equal(sample_pixels(where, most=where.sum()), where)


def unit(vectors: np.ndarray) -> torch.Tensor:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return torch.from_numpy(vectors / lengths).float()


def crowd(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels of a new class, of an old one, and the old rows, as training leaves them.

    All pixels share the first axis, which rows of trained classes do not have.
    """
    rng = np.random.default_rng(seed)
    noise = 0.1 * rng.normal(size=(600, 4))
    inside = noise[:200] + np.array([2.0, 1.0, 0.0, 0.0])
    outside = noise[200:] + np.array([2.0, 0.0, 1.0, 0.0])
    return unit(inside), unit(outside), unit(np.array([[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]))


def claimed(row: torch.Tensor, pixels: torch.Tensor, table: torch.Tensor) -> float:
    return float((pixels @ row > (pixels @ table.T).amax(dim=1)).float().mean())


def test_a_row_is_pushed_until_it_leaves_the_others_alone() -> None:
    inside, outside, table = crowd()
    plain = unit(inside.mean(dim=0).numpy())
    assert claimed(plain, outside, table) == 1.0  # what the push is for
    row = pushed_row(inside, outside, table, 0.3)
    assert row.norm().item() == pytest.approx(1.0, abs=1e-6)
    assert claimed(row, inside, table) > 0.95 and claimed(row, outside, table) < 0.05


def test_no_push_is_better_on_the_examples() -> None:
    """Against a search by hand over the overlap that the push is chosen by."""
    inside, outside, table = crowd(1)
    away = outside.mean(dim=0)
    best = 0.0
    for push in PUSHES:
        row = unit((inside.mean(dim=0) - push * away).numpy())
        found, taken = claimed(row, inside, table), claimed(row, outside, table)
        best = max(best, 0.2 * found / (0.2 + 3 * taken * 0.8))
    row = pushed_row(inside, outside, table, 0.2)
    found, taken = claimed(row, inside, table), claimed(row, outside, table)
    assert 0.2 * found / (0.2 + 3 * taken * 0.8) == pytest.approx(best, abs=1e-6)


def test_where_all_is_marked_the_row_is_the_mean() -> None:
    inside, _, table = crowd()
    row = pushed_row(inside, torch.empty(0, 4), table, 1.0)
    assert torch.allclose(row, unit(inside.mean(dim=0).numpy()), atol=1e-6)


def test_of_a_large_picture_the_part_around_the_marks_is_seen(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = load_model(run)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (200, 240, 3), dtype=np.uint8)
    marks = np.zeros((200, 240), dtype=np.uint8)
    marks[150:160, 20:30] = 1
    picture, mask = tmp_path / "p.png", tmp_path / "m.png"
    Image.fromarray(pixels).save(picture)
    Image.fromarray(marks).save(mask)
    whole = read_examples(model, [(picture, mask)])
    sizes = []

    def spy(model_: SegmentationModel, image: np.ndarray) -> PixelFeatures:
        sizes.append(image.shape)
        return extract_features(model_, image)

    monkeypatch.setattr(examples, "MOST_SIDE", 96)
    monkeypatch.setattr(examples, "extract_features", spy)
    part = read_examples(model, [(picture, mask)])
    assert sizes == [(96, 96, 3)]
    assert part.inside.shape == whole.inside.shape == (100, 6)
    # Far from the cut the network sees nearly the same.
    likeness = torch.cosine_similarity(part.inside, whole.inside)
    assert float(likeness.min()) > 0.99
    assert part.marked == pytest.approx(100 / 96**2)
