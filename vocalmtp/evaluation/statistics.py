"""Figures with their uncertainty: bootstrap intervals over utterances, medians over repeats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Estimate:
    """A measured value with an interval [low, high] around it, from `count` measurements."""

    value: float
    low: float
    high: float
    count: int

    def show(self, unit: str = "", digits: int = 2) -> str:
        """`14.2 % [10.4, 18.3]`; a unit of `%` shows fractions as percentages.

        Of a single measurement, there is no interval to show.
        """
        if math.isnan(self.value):
            return "n/a"
        scale = 100.0 if unit == "%" else 1.0
        value, low, high = (f"{scale * x:.{digits}f}" for x in (self.value, self.low, self.high))
        space = f" {unit}" if unit else ""
        return f"{value}{space}" if self.count == 1 else f"{value}{space} [{low}, {high}]"


def once(value: float) -> Estimate:
    """A figure that was measured, or counted, as a whole: without a spread."""
    return Estimate(value, value, value, 1)


NOTHING = Estimate(math.nan, math.nan, math.nan, 0)  # shown as n/a


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """sum(numerators) / sum(denominators) with a percentile bootstrap interval over the pairs.

    A corpus word error rate is errors over words; the ratio of two systems' rates on the same
    sentences is errors over errors. Without pairs, or over a sum of zero, the value is NaN.
    """
    top, bottom = np.asarray(numerators, float), np.asarray(denominators, float)
    if top.shape != bottom.shape:
        raise ValueError(f"{top.size} numerators for {bottom.size} denominators")
    if top.size == 0 or bottom.sum() == 0:
        return Estimate(math.nan, math.nan, math.nan, int(top.size))
    picks = np.random.default_rng(0).integers(0, top.size, (resamples, top.size))  # [R, N]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = top[picks].sum(1) / bottom[picks].sum(1)  # [R]
    ratios = ratios[~np.isnan(ratios)]
    tail = (1.0 - level) / 2.0
    # "nearest" never averages two ratios, one of which may be infinite.
    low, high = np.quantile(ratios, (tail, 1.0 - tail), method="nearest")
    return Estimate(float(top.sum() / bottom.sum()), float(low), float(high), int(top.size))


def bootstrap_mean(values: Sequence[float], **options: float) -> Estimate:
    """Mean of the values that are not NaN, with its bootstrap interval."""
    kept = [value for value in values if not math.isnan(value)]
    return bootstrap_ratio(kept, [1.0] * len(kept), **options)


def bootstrap_correlation(
    x: np.ndarray, y: np.ndarray, units: np.ndarray, *, resamples: int = 2000, level: float = 0.95
) -> Estimate:
    """Pearson correlation of `x` [N] and `y` [N], with an interval over `units` [N].

    `units` says which utterance a frame is of: whole utterances are drawn, since the frames of one
    are not independent. NaN without variance.
    """
    x, y = x - x.mean(), y - y.mean()  # for the sums below not to cancel
    groups = np.unique(units, return_inverse=True)[1]
    terms = (np.ones_like(x), x, y, x * x, y * y, x * y)
    sums = np.stack([np.bincount(groups, term) for term in terms], 1)  # [U, 6]
    picks = np.random.default_rng(0).integers(0, len(sums), (resamples, len(sums)))  # [R, U]
    drawn = _correlation(sums[picks].sum(1))  # [R]
    value, drawn = float(_correlation(sums.sum(0))), drawn[~np.isnan(drawn)]
    if math.isnan(value):
        return Estimate(math.nan, math.nan, math.nan, len(sums))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn, (tail, 1.0 - tail))
    return Estimate(value, float(low), float(high), len(sums))


def _correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson correlation from n, Σx, Σy, Σx², Σy², Σxy along the last axis."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (n * xy - x * y) / np.sqrt((n * xx - x * x) * (n * yy - y * y))


def spread(values: Sequence[float]) -> Estimate:
    """Median of repeated timings between the smallest and the largest."""
    array = np.asarray(values, float)
    if array.size == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    return Estimate(
        float(np.median(array)), float(array.min()), float(array.max()), int(array.size)
    )
