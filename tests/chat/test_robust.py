"""What goes on for long, comes too fast, or is gone without a word: nothing piles up."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.chat_fakes import RATE, ScriptedWriter, kinds, say, silence, tone, until

from vocalmtp.audio.io import to_pcm

websockets = pytest.importorskip("websockets", reason="the extra 'demo' is not installed")

from helpers.chat_line import serving_room  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402

STATM = Path("/proc/self/statm")
MEGABYTE = 1 << 20


def memory() -> int:
    """Bytes that this process has in memory now."""
    if not STATM.exists():
        pytest.skip("no /proc: how much memory is in use is not known")
    return int(STATM.read_text().split()[1]) * 4096


def soon(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_a_microphone_that_is_open_for_an_hour(make_session):
    """Silence, a hum, and a click every ten seconds: no turn, no answer, no memory."""
    noise = 0.01 * np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)
    clicks = noise.copy()
    clicks[5 * RATE : round(5.15 * RATE)] = tone(0.15)
    sounds = [silence(10.0), noise, clicks]
    writer = ScriptedWriter("Yes.")
    session = make_session(writer)
    events, before = [], 0
    for piece in range(360):
        session.feed(sounds[piece // 6 % 3])
        if piece % 6 == 5:
            events += session.events(0.05)
        if piece == 60:
            before = memory()
    assert memory() - before < 4 * MEGABYTE
    assert set(kinds(events)) <= {"listening", "speech_started", "transcript"}
    assert len([e for e in events if e.kind == "speech_started"]) >= 100
    assert not writer.asked and not session.history.said
    say(session)
    assert until(session, "finished")[-1].text == "Yes."


def test_conversations_leave_nothing_behind(make_room):
    room = make_room("One two. Three", 30.0)
    threads, before = threading.active_count(), 0
    for number in range(120):
        with room.open() as session:
            say(session)
            until(session, "audio_chunk", 2)
        if number == 20:
            before = memory()
    soon(lambda: threading.active_count() <= threads)
    assert memory() - before < 8 * MEGABYTE


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
def test_any_microphone_over_the_line(make_room, rate):
    length = np.arange(round(0.5 * rate)) * 2 * np.pi * 300 / rate
    sound = to_pcm(np.concatenate([0.2 * np.sin(length), np.zeros(rate)]).astype(np.float32))

    async def talk(port: int) -> str:
        async with connect(f"ws://127.0.0.1:{port}/talk/socket", max_queue=None) as line:
            await line.send(json.dumps({"kind": "rate", "rate": rate}))
            for start in range(0, len(sound), 4096):
                await line.send(sound[start : start + 4096])
            async for message in line:
                event = json.loads(message) if isinstance(message, str) else {}
                if event.get("kind") == "transcript" and event["final"]:
                    return event["text"]
        return "the line was closed"

    with serving_room(make_room()) as port:
        assert asyncio.run(talk(port)) == "5 tenths"


FLOODS = {
    "sound": bytes(32_000),
    "questions": json.dumps({"kind": "ask", "text": "And? " * 800}),
    "nonsense": "?" * 32_000,
    "too large": bytes(70_000),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_is_cut_off_and_fills_no_memory(make_room, kind):
    room = make_room("One two three four five six seven eight.")

    async def flood(port: int) -> int:
        async with connect(f"ws://127.0.0.1:{port}/talk/socket", max_queue=None) as line:
            for _ in range(3000):  # up to 96 MB
                try:
                    await asyncio.wait_for(line.send(FLOODS[kind]), 5)
                except (websockets.ConnectionClosed, TimeoutError, asyncio.TimeoutError):
                    break
            await asyncio.wait_for(line.wait_closed(), 30)
            return line.close_code

    with serving_room(room) as port:
        asyncio.run(flood(port))  # warms up
        before = memory()
        # Who does not stop may find the line cut before it reads why (1006), or before it has
        # answered whether it is still there (1011).
        assert asyncio.run(flood(port)) in (1006, 1011, 1009 if kind == "too large" else 1008)
        soon(lambda: room.talking == 0)
        assert memory() - before < 16 * MEGABYTE


def test_who_vanishes_without_a_word_is_let_go(make_room, monkeypatch):
    monkeypatch.setattr("vocalmtp.server.app.PING", 0.3)
    room = make_room(*["On and on. "] * 300)
    threads = threading.active_count()
    with serving_room(room) as port, socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(
            b"GET /talk/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert line.recv(4096).startswith(b"HTTP/1.1 101")
        question = json.dumps({"kind": "ask", "text": "Go on."}).encode()
        line.sendall(bytes([0x81, 0x80 | len(question)]) + bytes(4) + question)  # RFC 6455, 5.2
        soon(lambda: room.talking == 1)
        soon(lambda: bool(room.answerers["llm"]._writer.asked))
        soon(lambda: room.talking == 0)  # and nobody has answered a ping
    soon(lambda: threading.active_count() <= threads + 1)
