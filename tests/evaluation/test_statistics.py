"""Estimates and their intervals; result folders of an evaluation."""

import math

import numpy as np
import pytest
from helpers.errors import raises_input_error

from vocalmtp.evaluation.run import begin_results
from vocalmtp.evaluation.statistics import (
    bootstrap_correlation,
    bootstrap_mean,
    bootstrap_ratio,
    median_range,
    single,
)


def test_bootstrap_ratio_is_inside_its_interval():
    estimate = bootstrap_ratio([1, 0, 2, 1], [10, 10, 10, 10])
    assert estimate.value == 0.1 and estimate.low <= 0.1 <= estimate.high and estimate.count == 4
    with pytest.raises(ValueError):
        bootstrap_ratio([1], [1, 2])


def test_bootstrap_interval_covers_the_true_mean_at_its_level():
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        estimate = bootstrap_mean(random.normal(3.0, 1.0, 40).tolist(), resamples=400)
        hits += estimate.low <= 3.0 <= estimate.high
    assert 85 <= hits <= 100


def test_missing_measurements_are_not_a_number():
    assert math.isnan(bootstrap_ratio([], []).value)
    assert bootstrap_mean([1.0, float("nan"), 3.0]).value == 2.0
    assert bootstrap_ratio([], []).format() == "n/a"


def test_estimates_are_formatted_with_units_and_intervals():
    estimate = median_range([3.0, 1.0, 2.0])
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 1.0, 3.0)
    assert estimate.format("ms", 1) == "2.0 ms [1.0, 3.0]"
    assert estimate.scaled(2).high == 6.0
    assert single(0.125).format("%", 1) == "12.5 %"


def test_bootstrap_correlation_resamples_utterances():
    random = np.random.default_rng(0)
    x, units = random.normal(5.0, 1.0, 600), np.arange(600) // 20
    y = x + random.normal(0.0, 1.0, 600)
    estimate = bootstrap_correlation(x, y, units)
    assert estimate.value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert estimate.low < estimate.value < estimate.high and estimate.count == 30
    assert bootstrap_correlation(x, -x, units).value == pytest.approx(-1.0)
    assert math.isnan(bootstrap_correlation(x, np.ones(600), units).value)


def test_results_of_other_settings_are_refused_or_discarded(tmp_path):
    rows = {name: tmp_path / "rows" / f"wer-{name}.jsonl" for name in ("natural", "tts")}

    def begin(fresh: bool = False, **settings: str) -> list[bool]:
        begin_results(tmp_path, settings, fresh=fresh)
        (tmp_path / "rows").mkdir(exist_ok=True)
        found = [path.exists() for path in rows.values()]
        for path in rows.values():
            path.touch()
        return found

    begin(manifest="m", model="a")
    assert begin(manifest="m", model="a") == [True, True]
    with raises_input_error("other_run", "output", names="model"):
        begin(manifest="m", model="b")
    assert begin(fresh=True, manifest="m", model="b") == [True, False]
    assert begin(fresh=True, manifest="other", model="b") == [False, False]
