"""Reports as Markdown, JSON and plots; metrics in a file."""

import json
import math
import sys

import pytest
from helpers.errors import raises_input_error

from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import MetricSet
from vocalmtp.evaluation.report import (
    Metric,
    markdown_table,
    metrics_table,
    plot_bars,
    plot_spectrograms,
    write_report,
)
from vocalmtp.evaluation.sentences import pick_items
from vocalmtp.evaluation.statistics import Estimate, single
from vocalmtp.optional import require

METRICS = [
    Metric("WER", "natural", Estimate(0.1, 0.05, 0.2, 9), "%", 1),
    Metric("WER", "tts", Estimate(0.2, 0.1, 0.3, 9), "%", 1),
    Metric("STOI", "tts", Estimate(0.9, 0.8, float("nan"), 9)),
]


def test_report_has_a_column_for_every_system(tmp_path):
    text = write_report(tmp_path, "metrics", METRICS, ["A note."])
    assert text == (tmp_path / "metrics.md").read_text().rstrip()
    assert text == metrics_table(METRICS) + "\n\nA note."
    assert "| WER | 10.0 % [5.0, 20.0] | 20.0 % [10.0, 30.0] |" in text
    stoi = json.loads((tmp_path / "metrics.json").read_text())["metrics"][2]
    assert (stoi["section"], stoi["name"], stoi["system"]) == ("", "STOI", "tts")
    assert stoi["estimate"] == {"value": 0.9, "low": 0.8, "high": None, "count": 9}


def test_markdown_table_may_drop_empty_columns():
    table = markdown_table(["", "a", "b"], [["x", "", "1"], ["", "", "2"]], drop_empty=True)
    assert table == "|  | b |\n| --- | --- |\n| x | 1 |\n|  | 2 |"


def test_plots_are_written(manifest, tmp_path):
    files = [row.audio for row in pick_items(manifest, "test")]
    plot_spectrograms([("a", files[0], files[1])], "tts", tmp_path / "s.png")
    plot_bars(METRICS, ["WER", "STOI", "not measured"], tmp_path / "b.png")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("s.png", "b.png"))


def test_metric_set_is_restored_with_the_judges_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    found = MetricSet({"a": Estimate(1.0, 0.5, 2.0, 3), "b": single(math.nan)})
    found.measure("speaker", lambda: {"c": single(float(bool(require("resemblyzer"))))})
    found.save(tmp_path)
    restored = MetricSet.load(tmp_path)
    assert restored is not None and restored.estimates["a"] == found.estimates["a"]
    assert math.isnan(restored.estimates["b"].value)
    assert restored.missing.keys() == {"speaker"} and restored.is_complete(Judges())
    assert not restored.is_complete(Judges(["test-loudness"]))  # one that is installed
    restored.measure("speaker", lambda: {"c": single(2.0)})
    assert restored.estimates["c"].value == 2.0 and not restored.missing


def test_damaged_metric_set_is_refused(tmp_path):
    assert MetricSet.load(tmp_path) is None
    (tmp_path / "metrics.json").write_text('{"metrics": {"a": 3}}')
    with raises_input_error("damaged", "metrics"):
        MetricSet.load(tmp_path)


def test_errors_other_than_missing_packages_are_raised():
    def fail():
        with raises_input_error("not_installed"):
            require("no_such_package")
        raise KeyError("x")

    with pytest.raises(KeyError):
        MetricSet().measure("mos", fail)
