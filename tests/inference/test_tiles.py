"""Pictures cut into tiles: the same answer as in one piece, without seams, in flat memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from helpers.processes import Home
from torch import Tensor, nn

from workbench import config
from workbench.distances import ClassEmbeddings, get_distance, logits
from workbench.errors import ConfigError
from workbench.inference import Tiling, predict_labels, segment_bands
from workbench.inference.bands import Band, segment_features
from workbench.inference.tiles import feature_bands, picture_features, starts
from workbench.models import ClassTable, SegmentationModel, build_model

CLASSES = 300
CUT = Tiling(tile=128, overlap=64, whole=0)
WHOLE = Tiling(whole=10**9)


def make(
    distance: str = "cosine", *, class_table: bool = True, width: int = 8
) -> SegmentationModel:
    torch.manual_seed(0)
    settings = config.Model(network="small", width=width, embedding_dim=6, distance=distance)
    model = build_model(settings, CLASSES, class_table=class_table).eval()
    if model.table is not None and model.table.bias is not None:
        nn.init.normal_(model.table.bias, std=0.1)
    return model


def picture(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Smooth blobs: noise would have no two neighbours alike."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 3, height // 16 + 2, width // 16 + 2), generator=generator)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    return (255 * smooth[0].permute(1, 2, 0)).to(torch.uint8).numpy()


def put_together(bands: list[Band]) -> npt.NDArray[np.int64]:
    tops = [band.top for band in bands]
    lengths = [len(band.labels) for band in bands]
    assert tops == [0, *itertools.accumulate(lengths)][:-1]
    return np.concatenate([band.labels for band in bands])


class Local(nn.Module):
    """Sees 15 pixels around each cell, whatever else is in the picture."""

    def __init__(self, cell: int = 4, dim: int = 6) -> None:
        super().__init__()
        self.near = nn.Conv2d(3, 8, 15, padding=7)
        self.cells = nn.Conv2d(8, dim, cell, stride=cell)

    def forward(self, images: Tensor) -> Tensor:
        output: Tensor = self.cells(torch.tanh(self.near(images)))
        return output


class Global(Local):
    """Adds the mean of all that it sees, as image pooling does: tiles must differ."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + images.mean(dim=(2, 3), keepdim=True).repeat(1, 2, 1, 1)


def with_network(network: nn.Module) -> SegmentationModel:
    table = ClassTable(CLASSES, 6, distance="cosine", temperature=20, learn_temperature=False)
    half = [0.5, 0.5, 0.5]
    model = SegmentationModel(network, table, distance="cosine", mean=half, std=half).eval()
    return model.to(memory_format=torch.channels_last)  # else CPUs take seconds for 15 x 15


@pytest.mark.parametrize(
    ("length", "tile", "overlap"),
    [(1024, 1024, 256), (1056, 1024, 256), (10_016, 1024, 256), (992, 96, 32), (4096, 64, 32)],
)
def test_tiles_cover_an_axis_and_overlap_enough(length: int, tile: int, overlap: int) -> None:
    found = starts(length, Tiling(tile=tile, overlap=overlap))
    assert found[0] == 0 and found[-1] + min(tile, length) == length
    assert all(start % 32 == 0 for start in found)
    shared = [one + tile - other for one, other in itertools.pairwise(found)]
    assert all(overlap <= pixels < tile for pixels in shared)


@pytest.mark.parametrize(("height", "width"), [(320, 448), (96, 512), (512, 96), (352, 160)])
def test_a_network_that_sees_less_than_the_overlap_gives_the_same_features(
    height: int, width: int
) -> None:
    torch.manual_seed(1)
    model, image = with_network(Local()), picture(height, width)
    cut, whole = (picture_features(model, image, tiling) for tiling in (CUT, WHOLE))
    assert cut.size == whole.size == (height, width)
    torch.testing.assert_close(cut.pixels, whole.pixels, rtol=1e-5, atol=1e-5)
    labels = [put_together(list(segment_bands(model, image, tiling=t))) for t in (CUT, WHOLE)]
    assert np.array_equal(*labels) or (labels[0] != labels[1]).mean() < 1e-4


class Grid(Local):
    """Cells that divide its input evenly, whatever their size is then."""

    def __init__(self, cell: int) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, images: Tensor) -> Tensor:
        near = torch.tanh(self.near(images))
        size = [math.ceil(side / self.cell) for side in images.shape[-2:]]
        output: Tensor = nn.functional.adaptive_avg_pool2d(near, size)[:, :6]
        return output


@pytest.mark.parametrize("cell", [1, 2, 5, 7, 8, 14])
def test_any_grid_of_a_network_fits(cell: int) -> None:
    torch.manual_seed(1)
    model, image = with_network(Grid(cell)), picture(320, 448)
    cut, whole = (picture_features(model, image, tiling) for tiling in (CUT, WHOLE))
    full = [
        nn.functional.interpolate(features.pixels[None], (320, 448), mode="bilinear")
        for features in (cut, whole)
    ]
    same = nn.functional.cosine_similarity(*full)
    assert same.mean() > (0.99 if cell < 14 else 0.95)  # the picture's blobs have 16 pixels
    if 32 % cell == 0:
        assert same.min() > 0.9999
    labels = put_together(list(segment_bands(model, image[:301, :411], tiling=CUT)))
    assert labels.shape == (301, 411)


def test_no_seams_where_tiles_meet() -> None:
    """With a network whose tiles disagree, neighbours differ at seams as much as elsewhere."""
    torch.manual_seed(2)
    model, image = with_network(Global()), picture(512, 512)
    pixels = picture_features(model, image, CUT).pixels
    whole = picture_features(model, image, WHOLE).pixels
    assert (pixels - whole).abs().max() > 0.05  # tiles do disagree
    for dim in (1, 2):
        extra = (pixels.diff(dim=dim) - whole.diff(dim=dim)).abs().amax(dim=0)
        per_line = extra.amax(dim=2 - dim)
        # What tiles disagree about is spread over half of the overlap: 8 cells here.
        disagreement = (pixels - whole).abs().max() * 2
        assert per_line.max() < disagreement / 4
    butted = torch.cat(
        [
            torch.cat(
                [
                    picture_features(model, image[y : y + 128, x : x + 128], WHOLE).pixels
                    for x in range(0, 512, 128)
                ],
                dim=2,
            )
            for y in range(0, 512, 128)
        ],
        dim=1,
    )
    jump = (butted.diff(dim=2) - whole.diff(dim=2)).abs().max()
    blended = (pixels.diff(dim=2) - whole.diff(dim=2)).abs().max()
    assert blended < jump / 4  # tiles laid side by side do show seams


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (33, 47), (301, 299)])
@pytest.mark.parametrize("distance", ["cosine", "linear", "euclidean"])
def test_bands_are_what_prediction_gives(size: tuple[int, int], distance: str) -> None:
    model, image = make(distance), picture(*size)
    bands = list(segment_bands(model, image, tiling=WHOLE, budget=2**18))
    assert len(bands) > 1 or size[0] * size[1] < 2000
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    expected = predict_labels(model, planes[None])[0].numpy()
    labels = put_together(bands)
    assert labels.shape == size and labels.dtype == np.int64
    assert (labels == expected).mean() > 0.999
    assert labels.max() > 255 or labels.size < 2000


def test_a_dense_model_has_bands_and_probabilities_too() -> None:
    model, image = make(class_table=False), picture(150, 200)
    bands = list(segment_bands(model, image, k=3, tiling=WHOLE))
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    full = nn.functional.interpolate(model(planes[None]).pixels, (150, 200), mode="bilinear")
    expected, ids = full[0].softmax(dim=0).topk(3, dim=0)
    found = np.concatenate([band.probabilities for band in bands if band.probabilities is not None])
    np.testing.assert_allclose(found, expected.detach().permute(1, 2, 0), rtol=1e-3, atol=1e-6)
    assert (put_together(bands) == ids[0].numpy()).mean() > 0.999


@pytest.mark.parametrize("distance", ["cosine", "linear", "euclidean", "squared_euclidean"])
def test_probabilities_are_those_of_all_classes(distance: str) -> None:
    model, image = make(distance), picture(90, 70)
    features = picture_features(model, image, WHOLE)
    assert model.table is not None
    classes = ClassEmbeddings(*(None if x is None else x.detach() for x in model.table()))
    bands = list(segment_bands(model, image, k=4, tiling=WHOLE, budget=2**20))
    ids = np.concatenate([band.ids for band in bands if band.ids is not None])
    found = np.concatenate([band.probabilities for band in bands if band.probabilities is not None])
    full = nn.functional.interpolate(features.pixels[None], (90, 70), mode="bilinear")[0]
    table = logits(full.permute(1, 2, 0).flatten(0, 1), classes, get_distance(distance))
    softmax = table.double().softmax(dim=1).reshape(90, 70, CLASSES)
    np.testing.assert_allclose(found, softmax.topk(4, dim=2).values, rtol=2e-3, atol=1e-6)
    taken = np.take_along_axis(softmax.numpy(), ids, axis=2)
    np.testing.assert_allclose(found, taken, rtol=2e-3, atol=1e-6)
    assert (put_together(bands) == ids[..., 0]).all()
    assert (np.diff(found, axis=2) <= 1e-6).all()


def test_features_once_computed_give_the_same_bands() -> None:
    model, image = make(), picture(333, 222)
    features = picture_features(model, image, CUT)
    assert features.size == (352, 224)
    assert model.table is not None
    later = list(segment_features(features, (333, 222), model.table(), "cosine", k=2))
    now = list(segment_bands(model, image, k=2, tiling=CUT))
    assert (put_together(later) == put_together(now)).mean() > 0.9999


def test_other_classes_take_the_place_of_the_models() -> None:
    model, image = make(), picture(64, 64)
    assert model.table is not None
    order = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(3))
    own = model.table()
    other = ClassEmbeddings(own.weight[order], None, own.temperature)
    labels = put_together(list(segment_bands(model, image)))
    others = put_together(list(segment_bands(model, image, classes=other)))
    assert (order.numpy()[others] == labels).all()


def test_rows_come_out_before_the_whole_picture_is_done() -> None:
    """Memory cannot depend on the height if no more than a row of tiles is held."""
    model = with_network(Local())
    seen: list[int] = []
    model.network.register_forward_hook(lambda *_: seen.append(1))
    bands = feature_bands(model, picture(1024, 128), CUT)
    first = next(bands)
    assert len(seen) == 1 and first.cells.shape[1] < 32
    assert sum(band.cells.shape[1] for band in bands) + first.cells.shape[1] == 256


_MEMORY = """
import sys, numpy as np, torch
from torch import nn
from workbench.benchmarks.meter import PeakMeter
from workbench.inference import Tiling, segment_bands
from workbench.models import ClassTable, SegmentationModel

torch.manual_seed(0)
network = nn.Conv2d(3, 8, 2, stride=2)
table = ClassTable(9, 8, distance="cosine", temperature=20, learn_temperature=False)
model = SegmentationModel(network, table, distance="cosine", mean=[0.5] * 3, std=[0.5] * 3).eval()
tiling = Tiling(tile=256, overlap=64)

def peak(height):
    picture = np.zeros((height, 1024, 3), dtype=np.uint8)
    picture[::7, ::5] = 255
    meter = PeakMeter("cpu")
    for band in segment_bands(model, picture, tiling=tiling, budget=2**22):
        pass
    return meter.above() / 2**20

peak(512)
print(peak(512), peak(5120))
"""


def test_ten_times_the_height_takes_no_more_memory(forks: Home) -> None:
    done = forks.run("-c", _MEMORY)
    assert done.returncode == 0, done.stderr
    low, high = map(float, done.stdout.split())
    # All features of the taller picture would have 40 MiB.
    assert high < low + 16


@pytest.mark.parametrize(
    "settings", [{"tile": 100}, {"tile": 32}, {"overlap": 16}, {"overlap": 600}]
)
def test_tiles_must_be_sound(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"^(tile|overlap): "):
        Tiling(**settings)


def test_errors_say_what_is_wrong() -> None:
    model = make()
    with pytest.raises(ValueError, match="a picture has the shape"):
        next(segment_bands(model, np.zeros((4, 4), dtype=np.uint8)))
    with pytest.raises(ConfigError, match="top-k: there are 300 classes, 301 are asked for"):
        next(segment_bands(model, picture(16, 16), k=301))
    with pytest.raises(ValueError, match="evaluation mode"):
        next(segment_bands(model.train(), picture(16, 16)))
