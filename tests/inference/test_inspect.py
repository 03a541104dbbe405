"""Looking into pixels, against full upsampling and all classes at once in float64 numpy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch

from workbench import config
from workbench.distances import DISTANCES, ClassEmbeddings
from workbench.inference import build_from_config, inspect, predict_labels
from workbench.inference.inspect import PixelFeatures

CLASSES, DIM, SIZE = 700, 6, (23, 31)
NAMES = sorted(DISTANCES)
Array = npt.NDArray[np.float64]


@pytest.fixture
def features() -> PixelFeatures:
    generator = torch.Generator().manual_seed(3)
    return PixelFeatures(torch.randn(DIM, 6, 8, generator=generator) * 3, SIZE)


@pytest.fixture
def classes() -> ClassEmbeddings:
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(CLASSES, DIM, generator=generator)
    return ClassEmbeddings(weight, None, torch.tensor(7.5))


def for_distance(classes: ClassEmbeddings, name: str) -> ClassEmbeddings:
    if name != "linear":
        return classes
    bias = torch.randn(CLASSES, generator=torch.Generator().manual_seed(5))
    return classes._replace(bias=bias, temperature=torch.tensor(1.0))


def upsampled(features: PixelFeatures) -> Array:
    """(H, W, D) by hand: pixel centres, edges repeated."""
    low = features.pixels.double().numpy().transpose(1, 2, 0)
    for axis, full in enumerate(features.size):
        at = np.clip((np.arange(full) + 0.5) * low.shape[axis] / full - 0.5, 0, None)
        first = np.floor(at).astype(int)
        second = np.minimum(first + 1, low.shape[axis] - 1)
        share = (at - first).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        low = np.take(low, first, axis) * (1 - share) + np.take(low, second, axis) * share
    return np.asarray(low)


def unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def truth(features: PixelFeatures, classes: ClassEmbeddings, name: str) -> tuple[Array, Array]:
    """(logits, distances), each (H, W, C)."""
    pixels, weight = upsampled(features), classes.weight.double().numpy()
    temperature = float(classes.temperature)
    if name == "linear":
        assert classes.bias is not None
        logits = temperature * pixels @ weight.T + classes.bias.double().numpy()
        return logits, -logits
    difference = unit(pixels)[:, :, None] - unit(weight)
    apart = np.sqrt((difference**2).sum(axis=-1))
    raw = {
        "euclidean": -apart,
        "squared_euclidean": -(apart**2),
        "cosine": unit(pixels) @ unit(weight).T,
    }
    return temperature * raw[name], apart


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


PIXELS = [(0, 0), (30, 22), (0, 22), (7, 11), (15, 3)]


@pytest.mark.parametrize(("x", "y"), PIXELS)
def test_one_pixel_has_the_embedding_of_full_upsampling(
    features: PixelFeatures, x: int, y: int
) -> None:
    got = inspect.embedding_at(features, x, y).numpy()
    np.testing.assert_allclose(got, upsampled(features)[y, x], atol=1e-5)


def test_pixels_in_a_mask_and_in_a_box(features: PixelFeatures) -> None:
    full = upsampled(features)
    mask = np.zeros(SIZE, dtype=bool)
    mask[3, 4] = mask[20, 30] = mask[3, 2] = True
    got = inspect.embeddings_in(features, mask).numpy()
    np.testing.assert_allclose(got, full[mask], atol=1e-5)
    got = inspect.embeddings_in(features, (28, 20, 99, 22)).numpy()
    np.testing.assert_allclose(got, full[20:22, 28:].reshape(-1, DIM), atol=1e-5)
    assert inspect.embeddings_in(features, (-9, 2, 0, 5)).shape == (0, DIM)
    with pytest.raises(ValueError, match="mask"):
        inspect.embeddings_in(features, np.zeros((5, 5), dtype=bool))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("temperature", [None, 2.0])
def test_nearest_classes_of_a_pixel(
    features: PixelFeatures, classes: ClassEmbeddings, name: str, temperature: float | None
) -> None:
    classes = for_distance(classes, name)
    if temperature is not None:
        expected = classes._replace(temperature=torch.tensor(temperature))
    else:
        expected = classes
    logits, distances = truth(features, expected, name)
    seen = set()
    for x, y in PIXELS:
        order = np.argsort(-logits[y, x])
        got = inspect.nearest_at(features, classes, name, x=x, y=y, k=9, temperature=temperature)
        assert got["class_id"].tolist() == order[:9].tolist()
        np.testing.assert_allclose(got["logit"], logits[y, x][order[:9]], atol=1e-4)
        np.testing.assert_allclose(got["probability"], softmax(logits[y, x])[order[:9]], rtol=1e-3)
        if temperature is None:
            np.testing.assert_allclose(got["distance"], distances[y, x][order[:9]], atol=1e-5)
        scores = inspect.scores_at(features, classes, name, x=x, y=y, temperature=temperature)
        for rank in (1, 2, 300, CLASSES):
            assert inspect.rank_of(scores, int(order[rank - 1])) == rank
        seen |= set(got["class_id"])
    assert max(seen) > 255


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("budget", [3_000, 2**26])
def test_maps_of_the_nearest_class(
    features: PixelFeatures, classes: ClassEmbeddings, name: str, budget: int
) -> None:
    classes = for_distance(classes, name)
    logits, distances = truth(features, classes, name)
    best = logits.argmax(axis=-1)
    labels, got = inspect.pixel_maps(features, classes, name, budget=budget)
    assert labels.dtype == np.int64
    assert (labels == best).all() and labels.max() > 255
    assert got.dtype == np.float32
    expected = np.take_along_axis(distances, best[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_a_pixel_that_lies_on_a_class_is_at_distance_nought(classes: ClassEmbeddings) -> None:
    pixels = classes.weight[612].reshape(DIM, 1, 1).expand(DIM, 2, 2) * 3
    features = PixelFeatures(pixels.contiguous(), (8, 8))
    for name in ("euclidean", "squared_euclidean", "cosine"):
        found = inspect.nearest_at(features, classes, name, x=4, y=4, k=1).iloc[0]
        assert found["class_id"] == 612
        assert found["distance"] == pytest.approx(0, abs=1e-5)
        got = inspect.pixel_maps(features, classes, name).distances
        assert np.isfinite(got).all() and got.max() < 1e-5


def test_dense_models_have_probabilities_but_no_distances() -> None:
    generator = torch.Generator().manual_seed(8)
    features = PixelFeatures(torch.randn(CLASSES, 5, 5, generator=generator) * 4, (17, 12))
    full = upsampled(features)
    got = inspect.nearest_at(features, None, "cosine", x=3, y=9, k=4)
    order = np.argsort(-full[9, 3])
    assert got["class_id"].tolist() == order[:4].tolist()
    assert got["distance"].isna().all()
    np.testing.assert_allclose(got["probability"], softmax(full[9, 3])[order[:4]], rtol=1e-4)
    scores = inspect.scores_at(features, None, "cosine", x=3, y=9)
    assert inspect.rank_of(scores, int(order[99])) == 100
    maps = inspect.pixel_maps(features, None, "cosine")
    assert (maps.labels == full.argmax(axis=-1)).all()
    assert np.isnan(maps.distances).all()
    sure = np.array([[softmax(pixel).max() for pixel in row] for row in full])
    np.testing.assert_allclose(inspect.confidence_map(features, budget=9_000), sure, rtol=1e-3)


def test_what_lies_outside_is_refused(features: PixelFeatures, classes: ClassEmbeddings) -> None:
    for x, y in [(-1, 0), (31, 0), (0, 23)]:
        with pytest.raises(ValueError, match="lies outside"):
            inspect.embedding_at(features, x, y)
    with pytest.raises(ValueError, match="only the classes 0"):
        inspect.rank_of(inspect.scores_at(features, classes, "cosine", x=0, y=0), CLASSES)
    assert len(inspect.nearest_at(features, classes, "cosine", x=0, y=0, k=9999)) == CLASSES


@pytest.mark.parametrize("loss", ["streaming", "dense"])
def test_a_model_seen_through_its_features_predicts_alike(loss: str) -> None:
    torch.manual_seed(0)
    model = config.Model(network="small", width=8, embedding_dim=DIM, distance="euclidean")
    run = config.Run(model=model, loss=config.Loss(name=loss))
    network = build_from_config(run, CLASSES).eval()
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (45, 64, 3), dtype=np.uint8) for _ in range(6)]

    def look(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        features = inspect.extract_features(network, image)
        assert features.size == (45, 64) and not features.pixels.requires_grad
        classes = None if network.table is None else network.table()
        return inspect.pixel_maps(features, classes, network.distance).labels

    with ThreadPoolExecutor(4) as threads:  # as sessions of the app do
        found = list(threads.map(look, images))
    for image, labels in zip(images, found, strict=True):
        batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        assert (labels == predict_labels(network, batch)[0].numpy()).mean() > 0.999


def test_pictures_of_another_shape_and_models_in_training_are_refused() -> None:
    run = config.Run(model=config.Model(network="small", width=8, embedding_dim=4))
    network = build_from_config(run, 5)
    image = np.zeros((32, 32, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="evaluation mode"):
        inspect.extract_features(network, image)
    for shape in [(32, 32), (32, 32, 4), (0, 32, 3)]:
        with pytest.raises(ValueError, match="shape"):
            inspect.extract_features(network.eval(), np.zeros(shape, dtype=np.uint8))
