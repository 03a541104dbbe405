"""Approximate nearest classes for very large tables, with the recall measured.

The exact search of :mod:`workbench.neighbours` takes N x C products. Here the classes are
divided into lists round about 2 sqrt(C) centres (an inverted file: Jégou, Douze and Schmid,
"Product quantization for nearest neighbor search", TPAMI 2011, section IV; in half
precision instead of their codes), and a pixel is compared with the classes of the few lists
nearest to it. The best of these candidates are ranked by their exact products.

Lists know Euclidean distances, while the nearest class has the largest product. Both order
alike the points of a sphere, so a table of unequal lengths is lifted onto one by another
coordinate (Bachrach et al., RecSys 2014), after one for the offsets.
"""

from __future__ import annotations

import math
from types import ModuleType

import torch
from torch import Tensor

from workbench.errors import ConfigError
from workbench.neighbours import DEFAULT_BUDGET, top_k_products

RECALL = 0.95
"""Share of the exact k nearest classes that a tuned index finds."""

_SAMPLE = 512  # pixels the recall is measured on ...
_SAMPLING_ERROR = 0.01  # ... and about how far that is from the recall on all
_POINTS_PER_CENTRE = 32  # classes k-means looks at; more make better lists no faster
_ITERATIONS = 10
_FEWEST_PROBES = 4
_EQUAL_LENGTHS = 1e-3  # relative difference of squared lengths that is left alone
_TINY = 1e-30  # a table of zeros has no length to divide by
_LANES = 16  # faiss compares half-precision vectors of a multiple of this width twice as fast


def load_faiss() -> ModuleType:
    """The library behind the index, told to use as many threads as torch.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "loss.search: the index needs faiss; "
            "run: pip install 'segmentation-workbench[index]', or set loss.search to exact"
        ) from error
    faiss.omp_set_num_threads(torch.get_num_threads())
    module: ModuleType = faiss
    return module


class ClassIndex:
    """Finds most of the k nearest classes in a fraction of the exact search's time.

    The lists belong to the table the index was built from. Class embeddings move little in a
    training step: after :meth:`update` the lists give the candidates, and the table of the
    moment ranks them.

    Attributes:
        lists: Number of lists the classes are divided into.
        probes: Lists a pixel is compared with; :meth:`tune` sets it.
    """

    def __init__(
        self, weight: Tensor, offset: Tensor | None = None, *, probes: int = 32, seed: int = 0
    ) -> None:
        """Divides the classes into lists.

        Args:
            weight: Embedded classes (C, D): normalised where the distance asks for it.
            offset: (C,) added to the products, None for none.
            probes: Lists a pixel is compared with, cut to those there are.
            seed: Of k-means; the same seed and table give the same lists.

        Raises:
            ConfigError: faiss is not installed.
        """
        faiss = load_faiss()
        self._weight, self._offset = weight.detach(), None if offset is None else offset.detach()
        points = _finite(weight if offset is None else torch.cat((weight, offset[:, None]), 1))
        squares = points.square().sum(dim=1)
        self._lifted = bool(squares.max() - squares.min() > _EQUAL_LENGTHS * squares.max())
        if self._lifted:
            points = torch.cat((points, (squares.max() - squares).sqrt()[:, None]), dim=1)
        points = _wide(points / squares.max().sqrt().clamp_min(_TINY))
        self.lists = min(len(points), round(2 * math.sqrt(len(points))))
        self.probes = min(probes, self.lists)
        self._index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatL2(points.shape[1]),
            points.shape[1],
            self.lists,
            faiss.ScalarQuantizer.QT_fp16,
        )
        self._index.cp.seed = seed
        self._index.cp.niter = _ITERATIONS
        self._index.cp.max_points_per_centroid = _POINTS_PER_CENTRE
        self._index.cp.min_points_per_centroid = 1  # faiss warns on stderr below 39
        self._index.train(points.numpy())
        self._index.add(points.numpy())

    def update(self, weight: Tensor, offset: Tensor | None = None) -> None:
        """Takes over a table that has moved: from now on it ranks the candidates.

        Args:
            weight: Embedded classes (C, D), of the shape the index was built with.
            offset: Likewise.

        Raises:
            ValueError: The shapes differ: other classes need another index.
        """
        if weight.shape != self._weight.shape or (offset is None) != (self._offset is None):
            raise ValueError(
                f"the index was built for a table {tuple(self._weight.shape)} "
                f"{'without' if self._offset is None else 'with'} offsets, build another one"
            )
        self._weight, self._offset = weight.detach(), None if offset is None else offset.detach()

    @torch.no_grad()
    def search(
        self,
        pixels: Tensor,
        k: int,
        exclude: Tensor | None = None,
        *,
        budget: int = DEFAULT_BUDGET,
    ) -> Tensor:
        """The k classes with the largest score among the candidates, for every pixel.

        Args:
            pixels: Embedded pixels (N, D).
            k: How many, at most C (C - 1 with ``exclude``).
            exclude: (N,) int64, one class per pixel that must not be among its neighbours.
            budget: Bytes of working memory.

        Returns:
            Class ids (N, k) int64, nearest first.

        Raises:
            ValueError: Fewer than k classes are left to choose from.
        """
        return self._search(pixels, k, exclude, budget)[0]

    @torch.no_grad()
    def recall(self, pixels: Tensor, k: int) -> float:
        """Share of the k nearest classes that the index finds, measured on 512 of the pixels.

        Args:
            pixels: Embedded pixels (N, D).
            k: How many, at most C.

        Returns:
            0..1 by the current table. A class as near as the exact k-th one counts as found:
            which of several equal classes come first is chance.
        """
        sample, exact = self._exact(pixels, k)
        return self._found(sample, exact)

    @torch.no_grad()
    def tune(self, pixels: Tensor, k: int, target: float = RECALL) -> float:
        """Sets ``probes`` to what the recall asks for.

        Args:
            pixels: Embedded pixels (N, D) such as will be searched with.
            k: How many neighbours will be asked for.
            target: Recall to be reached on all such pixels.

        Returns:
            The recall measured with the new number of probes.
        """
        sample, exact = self._exact(pixels, k)
        self.probes = min(_FEWEST_PROBES, self.lists)
        while (found := self._found(sample, exact)) < min(1.0, target + _SAMPLING_ERROR):
            if self.probes == self.lists:
                break
            self.probes = min(self.lists, self.probes + math.ceil(self.probes / 4))
        return found

    def _exact(self, pixels: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Pixels taken at even steps, and the scores of their k nearest classes."""
        sample = pixels[:: math.ceil(len(pixels) / _SAMPLE) or 1]
        return sample, top_k_products(sample, self._weight, k, bias=self._offset)[1]

    def _found(self, pixels: Tensor, exact: Tensor) -> float:
        scores = self._search(pixels, exact.shape[1], None, DEFAULT_BUDGET)[1]
        rounding = 1e-6 * exact.abs()
        return float((scores >= (exact - rounding)[:, -1:]).double().mean())

    def _search(
        self, pixels: Tensor, k: int, exclude: Tensor | None, budget: int
    ) -> tuple[Tensor, Tensor]:
        """Ids and scores, a block of pixels at a time."""
        available = len(self._weight) - (exclude is not None)
        if not 1 <= k <= available:
            raise ValueError(f"k must lie between 1 and {available}, got {k}")
        load_faiss()  # torch's number of threads may have changed
        # One candidate may be excluded, and ranks change while the table moves.
        candidates = min(len(self._weight), 2 * k + 8)
        per_candidate = 32 + self._weight.shape[1] * self._weight.element_size()
        rows = max(1, budget // (candidates * per_candidate + 12 * self.probes))
        ids = torch.empty((len(pixels), k), dtype=torch.int64, device=pixels.device)
        scores = pixels.new_empty((len(pixels), k))
        for top in range(0, len(pixels), rows):
            block = slice(top, top + rows)
            skip = None if exclude is None else exclude[block]
            found = self._candidates(pixels[block], candidates).to(pixels.device)
            ids[block], scores[block] = self._best(pixels[block], found, k, skip)
        return ids, scores

    def _candidates(self, pixels: Tensor, count: int) -> Tensor:
        """Ids (n, count) of the nearest classes when the index was built; -1 where it has none."""
        points = _finite(pixels)
        if self._offset is not None:
            points = torch.nn.functional.pad(points, (0, 1), value=1.0)
        if self._lifted:
            points = torch.nn.functional.pad(points, (0, 1))
        # A pixel's length does not change its ranking of classes, but that of lists.
        points = _wide(torch.nn.functional.normalize(points, dim=1))
        self._index.nprobe = self.probes
        return torch.from_numpy(self._index.search(points.numpy(), count)[1])

    def _best(
        self, pixels: Tensor, candidates: Tensor, k: int, exclude: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The best k of the candidates by the current table."""
        known = candidates.clamp_min(0)
        near = self._weight.index_select(0, known.flatten()).view(*known.shape, -1)
        scores = (near @ pixels[:, :, None]).squeeze(2)
        if self._offset is not None:
            scores += self._offset[known]
        scores[candidates < 0] = -torch.inf
        if exclude is not None:
            scores[candidates == exclude[:, None]] = -torch.inf
        best, order = scores.topk(k, dim=1)
        ids = known.gather(1, order)
        # The lists visited may hold fewer than k classes; such a pixel is searched exactly.
        short = (best[:, -1] == -torch.inf).nonzero().squeeze(1)
        if len(short) > 0:
            skip = None if exclude is None else exclude[short]
            ids[short], best[short] = top_k_products(
                pixels[short], self._weight, k, bias=self._offset, exclude=skip
            )
        return ids, best


def _finite(vectors: Tensor) -> Tensor:
    """What faiss takes. A diverged training is the trainer's to report, by its loss."""
    return vectors.detach().to("cpu", torch.float32).nan_to_num(0.0, 0.0, 0.0)


def _wide(points: Tensor) -> Tensor:
    """Zeros appended up to a multiple of 16 numbers."""
    return torch.nn.functional.pad(points, (0, -points.shape[1] % _LANES))
