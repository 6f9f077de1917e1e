"""Other systems are measured beside a model in the same turns, and missing ones are one line."""

import json
from pathlib import Path

import pytest
from helpers.command_line import run
from helpers.errors import error_code
from helpers.toy_model import save_toy_model

from vocalmtp.bench import peers
from vocalmtp.config import Registry
from vocalmtp.errors import InputError


class Silence:
    """A peer that takes no time and makes one second."""

    def __call__(self, text: str) -> float:
        return 1.0


def missing() -> None:
    raise InputError(
        "package 'none': cannot be imported; run: pip install none", code="not_installed"
    )


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    registry: Registry = Registry("peer")
    registry.register("silence")(Silence)
    registry.register("absent")(missing)
    monkeypatch.setattr(peers, "PEERS", registry)
    monkeypatch.setattr(peers, "SENTENCES", ("Yes.", "No."))
    return registry


def test_model_and_peers_are_measured_in_turns(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = str(save_toy_model(tmp_path / "toy"))
    assert run("bench", toy, "--peers", "--quick", "--json", tmp_path / "peers.json") == 0
    report = json.loads((tmp_path / "peers.json").read_text())
    found = {(row["name"], row["system"]): row["estimate"] for row in report["metrics"]}
    for title in ("real-time factor", "processor time per audio"):
        ratio = found[f"{title}: {toy} over it", "silence"]
        assert found[title, toy]["value"] > found[title, "silence"]["value"] > 0
        assert 1 < ratio["low"] <= ratio["value"] <= ratio["high"]
    assert len([line for line in capsys.readouterr().out.splitlines() if "absent" in line]) == 1
    assert any("CPU: " in note for note in report["notes"])


def test_neighbours_end_with_the_measurement() -> None:
    with peers.busy(1) as running:
        assert [process.poll() for process in running] == [None]
    assert all(process.returncode for process in running)


@pytest.mark.parametrize("name", list(peers.PEERS))
def test_installed_peers_speak(name: str) -> None:
    try:
        peer = peers.PEERS[name]()
    except InputError as error:
        pytest.skip(str(error))
    assert 0.3 < peer("Good morning to you.") < 5


@pytest.mark.parametrize("options", [("--peers", "--chat"), ("--neighbours", "2")])
def test_options_that_exclude_each_other(options, tmp_path, capsys) -> None:
    assert run("bench", tmp_path / "none", *options) == 2
    assert error_code(capsys.readouterr().err) == "conflict"
