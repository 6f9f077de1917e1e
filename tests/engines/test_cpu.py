"""The CPU engine chooses the kind of linear layers by measuring, and remembers what it measured."""

import json
from pathlib import Path

import pytest
from helpers.errors import raises_input_error

from vocalmtp.engines import cpu
from vocalmtp.engines.base import EngineSettings
from vocalmtp.engines.cpu import candidates, choose_kind, linear_times
from vocalmtp.engines.linears import has_fp16

BOTH = ("int8", "float32")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cpu, "SECONDS", 0.0)
    monkeypatch.setattr(cpu, "WEIGHTS", 0)
    monkeypatch.setenv("VOCALMTP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_candidates_are_what_sounds_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_exact_int8", lambda: True)
    half = ("float16",) if has_fp16() else ()
    assert candidates(EngineSettings()) == ("float32",)
    assert candidates(EngineSettings(half=True)) == (*half, "float32")
    assert candidates(EngineSettings(half=True, recommended=True)) == ("int8", *half, "float32")
    assert candidates(EngineSettings(int8=False, recommended=True)) == ("float32",)
    assert candidates(EngineSettings(int8=True, half=True)) == ("int8",)


def test_products_that_saturate_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "has_exact_int8", lambda: False)
    assert candidates(EngineSettings(recommended=True)) == ("float32",)
    with raises_input_error("unsupported", key="int8"):
        candidates(EngineSettings(int8=True))


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"int8": 1.0, "float32": 2.0}, "int8"),
        ({"int8": 1.05, "float16": 1.0, "float32": 3.0}, "int8"),
        ({"int8": 1.5, "float16": 1.0, "float32": 3.0}, "float16"),
        ({"int8": 4.0, "float32": 1.0}, "float32"),
        ({"float32": 1.0}, "float32"),
    ],
)
def test_no_kind_much_slower_than_the_best_is_chosen(
    seconds: dict[str, float], chosen: str
) -> None:
    assert choose_kind(seconds) == chosen


def test_measurement_is_remembered_for_the_machine_and_the_width(home: Path, monkeypatch) -> None:
    first = linear_times(BOTH, 64)
    assert set(first) == set(BOTH) and all(0 < seconds < 60 for seconds in first.values())
    assert linear_times(BOTH, 64) == first
    assert linear_times(BOTH, 96).keys() == first.keys()
    assert len(json.loads((home / "linears.json").read_text())) == 2
    monkeypatch.setattr(cpu, "machine", lambda: "another machine")
    linear_times(BOTH, 64)
    assert len(json.loads((home / "linears.json").read_text())) == 3


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "\x00"])
def test_damaged_memory_is_measured_anew(home: Path, content: str) -> None:
    home.mkdir()
    (home / "linears.json").write_text(content)
    linear_times(BOTH, 64)
    assert json.loads((home / "linears.json").read_text())


def test_home_that_cannot_be_written_is_tolerated(home: Path) -> None:
    home.write_text("a file in the place of the folder")
    assert set(linear_times(BOTH, 64)) == set(BOTH)
