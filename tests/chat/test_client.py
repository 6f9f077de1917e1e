"""The caller that measures: what it says is heard, and when; and `bench --chat`, which asks it."""

import asyncio
import json
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.chat_fakes import ToneTTS, silence, tone
from helpers.toy_model import save_toy_model

from vocalmtp.bench import chat as chat_bench
from vocalmtp.bench.chat import PARTS, SpokenQuestion, converse, parts_of
from vocalmtp.chat.client import Playout, call
from vocalmtp.cli import main

pytest.importorskip("websockets", reason="the extra 'demo' is not installed")

from helpers.chat_line import serving_room  # noqa: E402

QUESTION = SpokenQuestion("0.5 s", np.concatenate([silence(0.1), tone(0.5)]), 0.6)


@pytest.fixture
def address(make_room):
    with serving_room(make_room("One two three four.")) as port:
        yield f"ws://127.0.0.1:{port}/talk/socket"


def test_a_loudspeaker_starts_with_enough_and_counts_its_gaps():
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


def test_a_caller_is_heard_and_answered_and_the_parts_make_the_whole(address):
    begin = time.monotonic()
    first, second = asyncio.run(converse(address, [QUESTION], 2))
    assert (first.turn, first.heard, first.text) == (1, "5 tenths", "One two three four.")
    assert second.turn == 2
    assert first.playout.seconds == pytest.approx(1.0)
    assert begin < first.spoken < first.ended < first.audio <= first.playout.first
    parts = parts_of(first)
    assert sum(parts[part] for part in PARTS) == pytest.approx(parts["whole"], abs=1.0)
    assert parts["whole"] > 0


def test_a_caller_who_interrupts_and_one_who_says_nothing(address, monkeypatch):
    monkeypatch.setattr("vocalmtp.chat.client.PATIENCE", 1.0)

    async def run():
        async with call(address) as caller:
            answer = await caller.say(QUESTION.samples, QUESTION.speech)
            while answer.playout.begin is None:
                await asyncio.sleep(0.01)
            again = await caller.ask(QUESTION.samples, QUESTION.speech)
            nothing = await caller.ask(silence(0.1), 0.1)
            return answer, again, nothing

    answer, again, nothing = asyncio.run(run())
    assert answer.interrupted is not None
    assert answer.done.is_set()
    assert again.text == "One two three four." and again.interrupted is None
    assert (nothing.turn, nothing.audio, parts_of(nothing)) == (0, None, None)


def test_bench_chat_tells_the_chain_and_how_many_can_talk(address, tmp_path, monkeypatch):
    @contextmanager
    def serving(*options):
        assert options == ("--model", str(model), "--sessions", "3")
        yield SimpleNamespace(socket=address)

    model = save_toy_model(tmp_path / "toy")
    monkeypatch.setattr(chat_bench, "serving", serving)
    monkeypatch.setattr(chat_bench, "record", lambda tts: [QUESTION])
    for name, value in {"TURNS": 2, "CROWD": (1, 2), "CROWD_TURNS": 1, "PROMPT": 30.0}.items():
        monkeypatch.setattr(chat_bench, name, value)
    with pytest.raises(SystemExit) as stop:
        main(["bench", str(model), "--chat", "--json", str(tmp_path / "chat.json")])
    assert stop.value.code == 0
    figures = {
        line["what"]: line["figure"]["value"]
        for line in json.loads((tmp_path / "chat.json").read_text())["figures"]
    }
    for part in (*PARTS, "whole"):
        assert f"latency: {part}" in figures
    for part in ("prefill", "first steps", "first decode"):
        assert figures[f"... of voice: {part}"] > 0
    assert figures["answered"] == 1
    assert figures["2 at once: gaps"] >= 0
    assert figures["conversations in real time"] in (0, 1, 2)


def test_bench_chat_compares_with_nothing(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["bench", "--chat", "--against", "mini"])
    assert stop.value.code == 2
    assert "against" in capsys.readouterr().err


def test_questions_are_recorded_with_the_end_of_their_speech():
    (question,) = chat_bench.record(Recorder(), ("One two.",))
    assert question.speech == pytest.approx(0.5)
    assert len(question.samples) == 8000


class Recorder(ToneTTS):
    """A voice that can be told to be greedy."""

    def __call__(self, text, greedy):
        return super().__call__(text)
