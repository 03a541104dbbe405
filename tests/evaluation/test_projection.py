from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from workbench.evaluation.projection import (
    _nearest,
    close_gaps,
    pca,
    project_pca,
    project_steps,
    project_table,
)
from workbench.runs import PROJECTION_COLUMNS

CLUSTERS, EACH = 6, 50
UMAP2, UMAP3 = ["umap2_x", "umap2_y"], ["umap3_x", "umap3_y", "umap3_z"]


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """300 classes in 6 bunches of directions, 12 dimensions."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(CLUSTERS, 12)), EACH, axis=0)
    return (centres + 0.2 * rng.normal(size=centres.shape)).astype(np.float32)


@pytest.fixture(scope="module")
def projection(table: np.ndarray) -> pd.DataFrame:
    return project_table(table, step=500)


def spread(points: np.ndarray) -> float:
    """Mean distance within the bunches, over the mean distance of all."""
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    bunch = np.repeat(np.arange(CLUSTERS), EACH)
    return float(distances[bunch[:, None] == bunch[None]].mean() / distances.mean())


def test_columns_and_ids(projection: pd.DataFrame) -> None:
    assert tuple(projection.columns) == PROJECTION_COLUMNS
    assert projection["class_id"].tolist() == list(range(300))
    assert set(projection["step"]) == {500}
    assert np.isfinite(projection.to_numpy()).all()


@pytest.mark.parametrize("names", [UMAP2, UMAP3, ["pca_x", "pca_y", "pca_z"]])
def test_similar_classes_lie_together(projection: pd.DataFrame, names: list[str]) -> None:
    assert spread(projection[names].to_numpy()) < 0.5


def test_the_length_of_the_vectors_does_not_matter_to_umap(
    table: np.ndarray, projection: pd.DataFrame
) -> None:
    # Powers of two scale without rounding, so the directions are the same to the last bit.
    scaled = project_table(4 * table, step=500)
    np.testing.assert_allclose(scaled["pca_x"], 4 * projection["pca_x"])
    assert spread(scaled[UMAP2].to_numpy()) < 0.5


def test_the_same_seed_gives_the_same_map(table: np.ndarray, projection: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(project_table(table, step=500), projection)
    assert not project_table(table, step=500, seed=1)[UMAP2].equals(projection[UMAP2])


def test_neighbours_are_the_exact_ones(table: np.ndarray) -> None:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=15, metric="cosine", algorithm="brute")
    right, ids_right = search.fit(table.astype(np.float64)).kneighbors()
    ids, distances = _nearest(table.astype(np.float64), 16)
    assert (ids[:, 0] == np.arange(300)).all() and (distances[:, 0] == 0).all()
    np.testing.assert_array_equal(ids[:, 1:], ids_right)
    np.testing.assert_allclose(distances[:, 1:], right, atol=1e-6)


def test_steps_stay_comparable(table: np.ndarray, projection: pd.DataFrame) -> None:
    rng = np.random.default_rng(1)
    earlier = table + 0.05 * rng.normal(size=table.shape)
    both = project_steps({500: table, 100: earlier})
    assert both["step"].tolist() == [100] * 300 + [500] * 300
    last = both[both["step"] == 500].reset_index(drop=True)
    pd.testing.assert_frame_equal(last, projection)
    first = both[both["step"] == 100]
    for names in (UMAP2, UMAP3):
        # The centre of each bunch is nearest to its own of the other step; in maps made apart
        # about half of them are, on one kind of processor these and on another those.
        a, b = (frame[names].to_numpy().reshape(CLUSTERS, EACH, -1) for frame in (first, last))
        distances = np.linalg.norm(a.mean(axis=1)[:, None] - b.mean(axis=1), axis=-1)
        assert distances.argmin(axis=1).tolist() == [*range(CLUSTERS)]


def test_a_far_group_is_brought_near_and_nothing_else_changes() -> None:
    rng = np.random.default_rng(3)
    places = rng.uniform(0, 8, (300, 2))
    places[:40, 0] -= 100.0  # an island far to the left
    closed = close_gaps(places)
    for axis in (0, 1):
        assert (np.argsort(closed[:, axis]) == np.argsort(places[:, axis])).all()
    for group in (slice(None, 40), slice(40, None)):
        before, after = places[group], closed[group]
        np.testing.assert_allclose(after - after[0], before - before[0], atol=1e-9)
    gap = closed[40:, 0].min() - closed[:40, 0].max()
    assert 0.5 < gap < 2.0
    np.testing.assert_allclose(closed.mean(axis=0), 0.0, atol=1e-9)


def test_a_map_without_gaps_only_moves_to_the_middle() -> None:
    places = np.random.default_rng(4).uniform(0, 8, (300, 3))
    np.testing.assert_allclose(close_gaps(places), places - places.mean(axis=0), atol=1e-9)
    few = np.array([[0.0], [1.0], [50.0]])
    np.testing.assert_allclose(close_gaps(few), few - 17.0)


def test_a_turned_table_does_not_move_in_the_pca_map() -> None:
    from scipy.stats import ortho_group

    rng = np.random.default_rng(2)
    table = rng.normal(size=(4, 9)) + 5.0  # few classes: their UMAP columns repeat PCA
    turned = table @ ortho_group.rvs(9, random_state=3)
    back = turned @ ortho_group.rvs(9, random_state=4)
    steps = project_steps({900: table, 300: turned, 100: back})
    axes = ["pca_x", "pca_y", "pca_z"]
    expected = pca(table, 3)
    for step in (100, 300, 900):
        found = steps.loc[steps["step"] == step, axes].to_numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_pca_of_an_earlier_step_shows_what_moved_and_nothing_else() -> None:
    from scipy.stats import ortho_group

    rng = np.random.default_rng(5)
    table = rng.normal(size=(400, 6)) * [9, 7, 5, 1, 1, 1]
    moved = table.copy()
    moved[399, 0] += 4.0
    steps = project_pca({1: moved @ ortho_group.rvs(6, random_state=6), 2: table})
    shift = np.linalg.norm(steps[1] - steps[2], axis=1)
    assert shift.argmax() == 399
    assert shift[399] == pytest.approx(4.0, rel=0.05)
    assert shift[:399].max() < 0.2


@pytest.mark.parametrize(("classes", "width"), [(1, 4), (2, 1), (4, 12), (5, 2), (7, 12), (40, 1)])
def test_few_classes_and_dimensions(classes: int, width: int) -> None:
    table = np.random.default_rng(0).normal(size=(classes, width))
    found = project_table(table)
    assert len(found) == classes
    assert np.isfinite(found.to_numpy()).all()
    if classes < 5:
        np.testing.assert_array_equal(found[UMAP2], found[["pca_x", "pca_y"]])


def test_a_table_without_differences() -> None:
    assert np.isfinite(project_table(np.ones((20, 4))).to_numpy()).all()


def test_pca_equals_scikit_learn_up_to_sign(table: np.ndarray) -> None:
    from sklearn.decomposition import PCA

    expected = PCA(3, svd_solver="full").fit_transform(table.astype(np.float64))
    found = pca(table, 3)
    for axis in range(3):
        sign = np.sign(found[:, axis] @ expected[:, axis])
        np.testing.assert_allclose(found[:, axis], sign * expected[:, axis], atol=1e-9)
        assert found[np.abs(found[:, axis]).argmax(), axis] > 0
    np.testing.assert_allclose(pca(-table, 3), pca(-table.copy(), 3))


@pytest.mark.parametrize(
    "table", [np.zeros((0, 3)), np.zeros(3), np.zeros((3, 0)), np.full((9, 3), np.nan)]
)
def test_what_is_no_table_is_refused(table: np.ndarray) -> None:
    with pytest.raises(ValueError, match="class table"):
        project_table(table)
