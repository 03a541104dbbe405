"""Mistakes in scores, confusions and what is told from them."""

from __future__ import annotations

from helpers.mutations.breaks import Break

_IOU = "workbench/evaluation/iou.py"
_CONFUSIONS = "workbench/evaluation/confusions.py"
_BOUNDARIES = "workbench/evaluation/boundaries.py"
_EVALUATE = "workbench/evaluation/evaluate.py"
_FAILURES = "workbench/evaluation/failures.py"
_GAINS = "workbench/evaluation/gains.py"

METRICS = (
    Break(
        "the union counts the overlap twice",
        _IOU,
        "return self.truth_pixels + self.predicted_pixels - self.intersection",
        "return self.truth_pixels + self.predicted_pixels",
    ),
    Break(
        "the mean over all classes instead of those present",
        _IOU,
        "return _mean(iou(counts)[counts.truth_pixels > 0])",
        "return _mean(np.nan_to_num(iou(counts)))",
    ),
    Break(
        "the mean over the union leaves out what is only predicted",
        _IOU,
        "return _mean(iou(counts)[counts.union > 0])",
        "return _mean(iou(counts)[counts.truth_pixels > 0])",
    ),
    Break(
        "a class that is nowhere scores 0",
        _IOU,
        "result = np.full(np.shape(whole), np.nan)",
        "result = np.full(np.shape(whole), 0.0)",
    ),
    Break(
        "precision divides by the truth",
        _IOU,
        "return ratio(counts.intersection, counts.predicted_pixels)",
        "return ratio(counts.intersection, counts.truth_pixels)",
    ),
    Break(
        "pixel accuracy over all predicted pixels",
        _IOU,
        "ratio(counts.intersection.sum(), counts.truth_pixels.sum())",
        "ratio(counts.intersection.sum(), counts.predicted_pixels.sum())",
    ),
    Break(
        "frequency weights from the prediction",
        _IOU,
        "weights = counts.truth_pixels[present] / counts.truth_pixels.sum()",
        "weights = counts.predicted_pixels[present] / counts.predicted_pixels.sum()",
    ),
    Break(
        "classes absent from the truth count in their group",
        _IOU,
        "present = members & (counts.truth_pixels > 0)",
        "present = members & (counts.union > 0)",
    ),
    Break(
        "pixels without a predicted class are false alarms of class 0",
        _IOU,
        "predicted_pixels=_bincount(predicted[predicted != IGNORE_INDEX], classes),",
        "predicted_pixels=_bincount(np.where(predicted < 0, 0, predicted), classes),",
    ),
    Break(
        "pixels without a predicted class are left out of the truth",
        _IOU,
        "chosen = truth != IGNORE_INDEX",
        "chosen = (truth != IGNORE_INDEX) & (prediction != IGNORE_INDEX)",
    ),
    Break(
        "confusions transposed, where they are counted in a table",
        _CONFUSIONS,
        "table = np.bincount(true * classes + predicted, minlength=classes * classes)",
        "table = np.bincount(predicted * classes + true, minlength=classes * classes)",
    ),
    Break(
        "confusions transposed, where they are sorted",
        _CONFUSIONS,
        "flat = true * classes + predicted\n",
        "flat = predicted * classes + true\n",
    ),
    Break(
        "a run of equal pixels counts as one",
        _CONFUSIONS,
        "return _sum_by_code(flat[starts], lengths.astype(np.int64))",
        "return _sum_by_code(flat[starts], np.ones_like(lengths))",
    ),
    Break(
        "the radius of a boundary off by one",
        _BOUNDARIES,
        "return _dilate(_dilate(marked, width - 1).T, width - 1).T",
        "return _dilate(_dilate(marked, width).T, width).T",
    ),
    Break(
        "a boundary has one side",
        _BOUNDARIES,
        "    marked[:-1] |= down\n",
        "",
    ),
    Break(
        "false alarms near a boundary are forgotten",
        _BOUNDARIES,
        "missed + np.bincount(given[given != IGNORE_INDEX], minlength=classes), dtype=np.int64",
        "missed, dtype=np.int64",
    ),
    Break(
        "images count for a class that is only predicted in them",
        _EVALUATE,
        "self._val_images += counts.truth_pixels > 0",
        "self._val_images += counts.union > 0",
    ),
    Break(
        "classes that are labelled in part count as verified",
        _EVALUATE,
        'verified[np.asarray(verdicts.get("not_exhaustive", ()), dtype=np.int64)] = False',
        'verified[np.asarray(verdicts.get("not_exhaustive", ()), dtype=np.int64)] = True',
    ),
    Break(
        "unverified pixels count hits, too",
        _EVALUATE,
        "false_alarms = counts.predicted_pixels - counts.intersection\n        self._unverified",
        "false_alarms = counts.predicted_pixels\n        self._unverified",
    ),
    Break(
        "right pixels make a class its own rival",
        _FAILURES,
        'wrong = confusions[confusions["truth"] != confusions["predicted"]]',
        'wrong = confusions[confusions["truth"] >= 0]',
    ),
    Break(
        "the weakest rival instead of the strongest",
        _FAILURES,
        "ascending=[True, False, True]",
        "ascending=[True, True, True]",
    ),
    Break(
        "misses and false alarms change places",
        _FAILURES,
        "(missed > false_alarms, ",
        "(missed < false_alarms, ",
    ),
    Break(
        "a mended class gives back what it took, to the union",
        _GAINS,
        "after = (counts.intersection[other] + lost) / (counts.union[other] - taken)",
        "after = (counts.intersection[other] + taken) / (counts.union[other] - lost)",
    ),
    Break(
        "the interval of a change is too narrow",
        "workbench/evaluation/compare.py",
        "tail = (1.0 - confidence) / 2",
        "tail = 1.0 - confidence",
    ),
    Break(
        "the covered share upside down",
        "workbench/evaluation/approximation.py",
        '"covered": float((exact - approximate).exp().mean()),',
        '"covered": float((approximate - exact).exp().mean()),',
    ),
    Break(
        "the mean of images instead of pixels",
        "workbench/evaluation/losses.py",
        "total += float(terms.sum)\n        count += float(terms.count)",
        "total += float(terms.mean())\n        count += 1.0",
    ),
)
