import math

import numpy as np
import pytest

from vocalmtp.evaluation.rows import check_settings
from vocalmtp.evaluation.statistics import (
    bootstrap_correlation,
    bootstrap_mean,
    bootstrap_ratio,
    spread,
)
from vocalmtp.io.run_folder import JsonlStore


def test_ratio_and_its_interval():
    figure = bootstrap_ratio([1, 0, 2, 1], [10, 10, 10, 10])
    assert figure.value == 0.1 and figure.low <= 0.1 <= figure.high and figure.count == 4


def test_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(100):
        figure = bootstrap_mean(random.normal(3.0, 1.0, 40).tolist(), resamples=400)
        hits += figure.low <= 3.0 <= figure.high
    assert 85 <= hits <= 100


def test_no_measurements_and_nan():
    assert math.isnan(bootstrap_ratio([], []).value)
    assert bootstrap_mean([1.0, float("nan"), 3.0]).value == 2.0
    assert bootstrap_ratio([], []).show() == "n/a"


def test_spread_is_the_median_between_the_extremes():
    figure = spread([3.0, 1.0, 2.0])
    assert (figure.value, figure.low, figure.high) == (2.0, 1.0, 3.0)
    assert figure.show("ms", 1) == "2.0 ms [1.0, 3.0]"


def test_rows_survive_a_cut_line(tmp_path):
    path = tmp_path / "rows" / "a.jsonl"
    rows = JsonlStore(path)
    rows.append({"id": "a", "score": float("nan")})
    rows.append({"id": "b", "score": 2.0})
    with path.open("a") as file:
        file.write('{"id": "c", "sco')  # killed here
    again = JsonlStore(path)
    assert again.get("a") == {"id": "a", "score": None} and again.get("c") is None
    again.append({"id": "c", "score": 3.0})
    assert JsonlStore(path).get("c")["score"] == 3.0


def test_rows_of_other_settings_are_refused(tmp_path):
    check_settings(tmp_path, {"model": "a"}, fresh=False)
    check_settings(tmp_path, {"model": "a"}, fresh=False)
    with pytest.raises(ValueError, match="model 'a', not 'b'"):
        check_settings(tmp_path, {"model": "b"}, fresh=False)


def test_correlation_and_its_interval_over_utterances():
    random = np.random.default_rng(0)
    x, units = random.normal(5.0, 1.0, 600), np.arange(600) // 20
    y = x + random.normal(0.0, 1.0, 600)
    figure = bootstrap_correlation(x, y, units)
    assert figure.value == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-9)
    assert figure.low < figure.value < figure.high and figure.count == 30
    assert bootstrap_correlation(x, -x, units).value == pytest.approx(-1.0)
    assert math.isnan(bootstrap_correlation(x, np.ones(600), units).value)
