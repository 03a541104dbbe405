"""Mistakes in losses, distances, searches and kernels."""

from __future__ import annotations

from helpers.mutations.breaks import Break

_CROSS = "workbench/losses/cross_entropy.py"
_MODULES = "workbench/losses/modules.py"
_SAMPLING = "workbench/losses/pixel_sampling.py"
_REFERENCE = "workbench/kernels/reference.py"
_LOOPS = "workbench/kernels/cpu_loops.py"
_TILES = "workbench/kernels/tiles.py"

LOSSES = (
    Break(
        "the Euclidean distance without the factor 2",
        _REFERENCE,
        "return -(2.0 - 2.0 * products).clamp_min(floor).sqrt()",
        "return -(2.0 - products).clamp_min(floor).sqrt()",
    ),
    Break(
        "the Euclidean distance squared",
        _REFERENCE,
        "return -(2.0 - 2.0 * products).clamp_min(floor).sqrt()",
        "return -(2.0 - 2.0 * products).clamp_min(floor)",
    ),
    Break(
        "the slope of the Euclidean distance halved",
        _REFERENCE,
        "square.clamp_min(floor).rsqrt(), 0.0)",
        "0.5 * square.clamp_min(floor).rsqrt(), 0.0)",
    ),
    Break(
        "the temperature divides the logits",
        _REFERENCE,
        "logits = self.temperature * raw_logits(products, self.kind)",
        "logits = raw_logits(products, self.kind) / self.temperature",
    ),
    Break(
        "the label's share is left out of the gradient by the logits",
        _REFERENCE,
        "change[tile.rows, tile.hits] -= hard[tile.rows]  # d loss / d logit",
        "change[tile.rows, tile.hits] -= 0 * hard[tile.rows]  # d loss / d logit",
    ),
    Break(
        "smoothing adds nothing to the weight of the partition",
        _REFERENCE,
        "share = hard if smooth is None else hard + smooth.sum()",
        "share = hard",
    ),
    Break(
        "an excluded class stays in the search",
        _REFERENCE,
        "tile[row, exclude[row] - left] = -torch.inf",
        "tile[row, exclude[row] - left] += 0.0",
    ),
    Break(
        "pixels are not brought to unit length",
        "workbench/distances.py",
        "return functional.normalize(vectors, dim=-1) if self.normalized else vectors",
        "return vectors",
    ),
    Break(
        "the bias is taken off the logits",
        "workbench/distances.py",
        "return values if classes.bias is None else values + classes.bias",
        "return values if classes.bias is None else values - classes.bias",
    ),
    Break(
        "the true class among its own negatives",
        _CROSS,
        "bias=shift, exclude=targets, budget=budget)",
        "bias=shift, exclude=None, budget=budget)",
    ),
    Break(
        "k off by one",
        _CROSS,
        "negatives = min(k, len(classes.weight) - 1)",
        "negatives = min(k - 1, len(classes.weight) - 1)",
    ),
    Break(
        "ignored pixels are counted",
        _CROSS,
        "    return counted.sum()\n",
        "    return (counted | (targets == ignore_index)).sum()\n",
    ),
    Break(
        "ignored pixels are counted (dense)",
        _CROSS,
        "return LossTerms(total, (targets != ignore_index).sum())",
        "return LossTerms(total, (targets == targets).sum())",
    ),
    Break(
        "the factor from outside is left out of the gradient by the classes",
        _CROSS,
        "head = (outer * pixels, outer * weight, by_bias, outer * temperature)",
        "head = (outer * pixels, weight, by_bias, outer * temperature)",
    ),
    Break(
        "the temperature gets the gradient of the last block alone",
        _CROSS,
        "by_temperature += loss.temperature",
        "by_temperature.copy_(loss.temperature)",
    ),
    Break(
        "smoothing gives every class the whole share",
        _CROSS,
        "return every.detach() * (share / len(weight))",
        "return every.detach() * share",
    ),
    Break(
        "the target keeps its whole weight under smoothing",
        _CROSS,
        "hard=hard * (1.0 - label_smoothing),",
        "hard=hard,",
    ),
    Break(
        "class weights weigh the sum, not the count",
        _CROSS,
        "count = weights[targets[targets != ignore_index]].sum()",
        "count = count * 1",
    ),
    Break(
        "a bias reorders neighbours without the temperature",
        _CROSS,
        "shift = classes.bias / classes.temperature",
        "shift = classes.bias * classes.temperature",
    ),
    Break(
        "the separation penalty with the other sign",
        "workbench/losses/regularizers.py",
        "return functional.relu(margin - apart).mean()",
        "return functional.relu(apart - margin).mean()",
    ),
    Break(
        "the separation penalty summed, not averaged",
        "workbench/losses/regularizers.py",
        "return functional.relu(margin - apart).mean()",
        "return functional.relu(margin - apart).sum()",
    ),
    Break(
        "the nearest other class is the class itself",
        "workbench/neighbours.py",
        "top_k_products(points, points, 1, exclude=own, budget=budget)",
        "top_k_products(points, points, 1, exclude=None, budget=budget)",
    ),
    Break(
        "the partition keeps only its largest chunk",
        "workbench/neighbours.py",
        "total = torch.logaddexp(total, here)",
        "total = torch.maximum(total, here)",
    ),
    Break(
        "the prior is taken off the logits",
        _MODULES,
        "prior = (counts / counts.sum()).log()",
        "prior = -(counts / counts.sum()).log()",
    ),
    Break(
        "the strength of the logit adjustment is not used",
        _MODULES,
        "(self.settings.logit_adjustment * prior).float()",
        "prior.float()",
    ),
    Break(
        "the smoothing of the settings is not used",
        _MODULES,
        "label_smoothing=self.settings.label_smoothing,",
        "label_smoothing=0.0,",
    ),
    Break(
        "the prior overwrites the bias",
        _MODULES,
        "return table._replace(bias=extra if table.bias is None else table.bias + extra)",
        "return table._replace(bias=extra)",
    ),
    Break(
        "the published loss leaves the target among its neighbours",
        "workbench/losses/as_published.py",
        "return torch.where(found == targets[:, None], (found - 1).clamp_min(0), found)",
        "return found",
    ),
    Break(
        "corners are aligned, not centres",
        _SAMPLING,
        "numerator = ((2 * position + 1) * low - full).clamp_min(0)",
        "numerator = 2 * position * low",
    ),
    Break(
        "the two rows of an interpolation change places",
        _SAMPLING,
        "for y, wy in ((y0, 1.0 - fy), (y1, fy)):",
        "for y, wy in ((y0, fy), (y1, 1.0 - fy)):",
    ),
    Break(
        "pixels drawn by one over the count, not its square root",
        _SAMPLING,
        "keys *= counts.float().sqrt()[inverse]",
        "keys *= counts.float()[inverse]",
    ),
    Break(
        "strips of a map are read one row too high",
        "workbench/losses/blocks.py",
        "weights = (first[strip] - above, second[strip] - above, share[strip])",
        "weights = (first[strip] - above, first[strip] - above, share[strip])",
    ),
    Break(
        "compiled for CPUs: the Euclidean distance without the factor 2",
        _TILES,
        "row[c] = -np.sqrt(max(F(2.0) - F(2.0) * row[c], _SMALLEST_SQUARE))",
        "row[c] = -np.sqrt(max(F(2.0) - row[c], _SMALLEST_SQUARE))",
    ),
    Break(
        "compiled for CPUs: earlier chunks are not scaled down to a new maximum",
        _LOOPS,
        "totals[i + r] = totals[i + r] * np.exp(before - top) + total",
        "totals[i + r] = totals[i + r] + total",
    ),
    Break(
        "compiled for CPUs: an excluded class in the first chunk stays",
        _LOOPS,
        "if 0 <= place < wide:\n                        row[place] = LOWEST_SCORE",
        "if 0 < place < wide:\n                        row[place] = LOWEST_SCORE",
    ),
    Break(
        "compiled for CPUs: the target is missing from the gradient by the products",
        _LOOPS,
        "change = hard[i] * (share - (F(1.0) if j == 0 else F(0.0)))",
        "change = hard[i] * share",
    ),
    Break(
        "in Triton: what lies beyond the last class is a class",
        "workbench/kernels/gpu_tiles.py",
        "shift = tl.where(column < classes, 0.0, -INFINITY)",
        "shift = tl.where(column < classes, 0.0, 0.0)",
    ),
    Break(
        "in Triton: earlier tiles are not scaled down to a new maximum",
        "workbench/kernels/gpu_stream.py",
        "total = total * keep + tl.sum(power, axis=1)",
        "total = total + tl.sum(power, axis=1)",
    ),
)
