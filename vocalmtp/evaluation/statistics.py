"""Estimates with their uncertainty: bootstrap intervals over utterances, medians over repeats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Estimate:
    """A measured value with an interval [low, high] around it, from `count` measurements."""

    value: float
    low: float
    high: float
    count: int

    def format(self, unit: str = "", digits: int = 2) -> str:
        """Format as `14.2 % [10.4, 18.3]`; a single measurement has no interval.

        Args:
            unit: appended to the value; `%` shows fractions as percentages.
            digits: decimal places.
        """
        if math.isnan(self.value):
            return "n/a"
        scale = 100.0 if unit == "%" else 1.0
        value, low, high = (f"{scale * x:.{digits}f}" for x in (self.value, self.low, self.high))
        suffix = f" {unit}" if unit else ""
        return f"{value}{suffix}" if self.count == 1 else f"{value}{suffix} [{low}, {high}]"

    def scaled(self, factor: float) -> "Estimate":
        """The same estimate in another unit."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.count)


NOT_MEASURED = Estimate(math.nan, math.nan, math.nan, 0)  # shown as n/a


def single(value: float) -> Estimate:
    """An estimate from one measurement, or a count: without an interval."""
    return Estimate(value, value, value, 1)


def median_range(values: Sequence[float]) -> Estimate:
    """Median of repeated timings, between the smallest and the largest."""
    array = np.asarray(values, float)
    if array.size == 0:
        return NOT_MEASURED
    return Estimate(
        float(np.median(array)), float(array.min()), float(array.max()), int(array.size)
    )


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Ratio of sums, sum(numerators) / sum(denominators), with a percentile bootstrap interval.

    Pairs are resampled. A corpus word error rate is the ratio of errors to words; two systems'
    relative error rate on the same sentences is the ratio of errors to errors. The value is NaN
    without pairs, or if the denominators sum to zero.
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


def bootstrap_mean(
    values: Sequence[float], *, resamples: int = RESAMPLES, level: float = LEVEL
) -> Estimate:
    """Mean of the values that are not NaN, with a percentile bootstrap interval."""
    kept = [value for value in values if not math.isnan(value)]
    return bootstrap_ratio(kept, [1.0] * len(kept), resamples=resamples, level=level)


def bootstrap_correlation(
    x: np.ndarray,
    y: np.ndarray,
    units: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Estimate:
    """Pearson correlation of `x` [N] and `y` [N], with a bootstrap interval over `units` [N].

    `units` holds the utterance of each frame: utterances are resampled as a whole, because the
    frames of one are not independent. The value is NaN without variance.
    """
    x, y = x - x.mean(), y - y.mean()  # against cancellation in the sums below
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
