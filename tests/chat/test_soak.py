"""recipes/chat/soak.py over fakes, for seconds."""

import csv
import importlib.util
import os
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.chat_fakes import silence, tone

from vocalmtp.bench.chat import SpokenQuestion

pytest.importorskip("websockets", reason="the extra 'demo' is not installed")

from helpers.chat_server import serving  # noqa: E402

SCRIPT = Path(__file__).parents[2] / "recipes" / "chat" / "soak.py"


@pytest.mark.slow
def test_recipe_records_latency_and_memory_of_every_turn(
    make_server, tmp_path, monkeypatch, capsys
):
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    soak = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soak)

    @contextmanager
    def fake_serving(*options):
        assert options == ("--model", "mini", "--sessions", "3")
        with serving(make_server("One two three four.")) as port:
            address = f"ws://127.0.0.1:{port}/talk/socket"
            yield SimpleNamespace(socket=address, process=SimpleNamespace(pid=os.getpid()))

    question = SpokenQuestion("0.5 s", np.concatenate([silence(0.1), tone(0.5)]), 0.6)
    monkeypatch.setattr(soak, "serving", fake_serving)
    monkeypatch.setattr(soak.vocalmtp, "load", lambda model: None)
    monkeypatch.setattr(soak, "record", lambda tts: [question])
    monkeypatch.setattr(soak, "TURNS", 2)
    monkeypatch.setattr(soak, "INTERRUPTED", 0.5)
    monkeypatch.setattr(soak, "PAUSE", 0.1)
    soak.main(tmp_path / "out", minutes=0.03, clients=2, model="mini")
    rows = list(csv.DictReader((tmp_path / "out" / "turns.csv").open()))
    assert {row["client"] for row in rows} == {"0", "1"}
    assert all(float(row["memory"]) > 50 for row in rows)
    assert all(float(row["latency"]) > 0 for row in rows if row["latency"])
    assert (tmp_path / "out" / "soak.png").stat().st_size > 1000
    report = capsys.readouterr().out
    for what in ("answered", "latency, last half", "memory, last half"):
        assert what in report
