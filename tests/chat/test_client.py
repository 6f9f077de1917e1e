"""The measuring client of the server, and `vocalmtp bench --chat`, which uses it."""

import asyncio
import json
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.chat_fakes import ToneTTS, silence, tone
from helpers.errors import error_code
from helpers.toy_model import save_toy_model

from vocalmtp.bench import chat as chat_bench
from vocalmtp.bench.chat import PARTS, SpokenQuestion, converse, parts_of
from vocalmtp.chat.client import Playout, connect
from vocalmtp.cli import main

pytest.importorskip("websockets", reason="the extra 'demo' is not installed")

from helpers.chat_server import serving  # noqa: E402

QUESTION = SpokenQuestion("0.5 s", np.concatenate([silence(0.1), tone(0.5)]), 0.6)


@pytest.fixture
def address(make_server):
    with serving(make_server("One two three four.")) as port:
        yield f"ws://127.0.0.1:{port}/talk/socket"


def test_playout_begins_with_a_full_buffer_and_counts_gaps():
    playout = Playout()
    playout.arrive(0.05, 10.0)
    assert playout.begin is None
    playout.arrive(0.25, 10.1)
    assert (playout.first, playout.position(10.2)) == (10.1, pytest.approx(0.1))
    playout.arrive(0.2, 10.3)  # in time
    assert playout.gaps == 0
    assert playout.position(10.6) == pytest.approx(0.5)
    assert playout.position(99.0) == pytest.approx(0.5)
    playout.arrive(0.2, 11.0)  # 0.4 s too late
    assert playout.gaps == 1
    assert playout.position(11.1) == pytest.approx(0.6)
    assert playout.first == 10.1
    short = Playout()
    short.arrive(0.05, 10.0)
    short.start(10.2)
    assert short.position(10.25) == pytest.approx(0.05)


def test_turns_are_answered_and_their_parts_add_up(address):
    begin = time.monotonic()
    first, second = asyncio.run(converse(address, [QUESTION], 2))
    assert (first.turn, first.transcript, first.text) == (1, "5 tenths", "One two three four.")
    assert second.turn == 2
    assert first.playout.seconds == pytest.approx(1.0)
    assert begin < first.speech_end < first.turn_end < first.first_audio <= first.playout.first
    parts = parts_of(first)
    assert sum(parts[part] for part in PARTS) == pytest.approx(parts["total"], abs=1.0)
    assert parts["total"] > 0


def test_interrupting_and_silent_turns(address, monkeypatch):
    async def run():
        async with connect(address) as client:
            answer = await client.say(QUESTION.samples, QUESTION.speech)
            while answer.playout.begin is None:
                await asyncio.sleep(0.01)
            again = await client.ask(QUESTION.samples, QUESTION.speech)
            monkeypatch.setattr("vocalmtp.chat.client.TIMEOUT", 1.0)
            nothing = await client.ask(silence(0.1), 0.1)
            return answer, again, nothing

    answer, again, nothing = asyncio.run(run())
    assert answer.interrupted is not None
    assert answer.done.is_set()
    assert again.text == "One two three four." and again.interrupted is None
    assert (nothing.turn, nothing.first_audio, parts_of(nothing)) == (0, None, None)


def test_bench_reports_latency_by_part_and_concurrent_conversations(address, tmp_path, monkeypatch):
    @contextmanager
    def fake_serving(*options):
        assert options[:4] == ("--model", str(model), "--sessions", "3")
        yield SimpleNamespace(socket=address)

    model = save_toy_model(tmp_path / "toy")
    monkeypatch.setattr(chat_bench, "serving", fake_serving)
    monkeypatch.setattr(chat_bench, "record", lambda tts: [QUESTION])
    for name, value in {
        "TURNS": 2,
        "CLIENTS": (1, 2),
        "CLIENT_TURNS": 1,
        "REAL_TIME": 30.0,
    }.items():
        monkeypatch.setattr(chat_bench, name, value)
    with pytest.raises(SystemExit) as stop:
        main(["bench", str(model), "--chat", "--json", str(tmp_path / "chat.json")])
    assert stop.value.code == 0
    figures = {
        line["name"]: line["estimate"]["value"]
        for line in json.loads((tmp_path / "chat.json").read_text())["metrics"]
    }
    for part in (*PARTS, "total"):
        assert f"latency: {part}" in figures
    for part in ("prefill", "first steps", "first decode"):
        assert figures[f"... of synthesis: {part}"] > 0
    assert figures["answered"] == 1
    assert figures["2 at once: gaps"] >= 0
    assert figures["conversations in real time"] in (0, 1, 2)


def test_bench_of_conversations_refuses_a_second_model(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--chat", "--against", "mini"])
    assert stop.value.code == 2
    assert error_code(capsys.readouterr().err)


def test_recorded_questions_have_the_end_of_their_speech():
    (question,) = chat_bench.record(Recorder(), ("One two.",))
    assert question.speech == pytest.approx(0.5)
    assert len(question.samples) == 8000


class Recorder(ToneTTS):
    """ToneTTS that accepts the option `greedy`."""

    def __call__(self, text, greedy):
        return super().__call__(text)
