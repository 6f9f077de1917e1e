"""Long sessions, floods of messages and lost connections leave nothing behind."""

import asyncio
import json
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from helpers.chat_fakes import RATE, ScriptedLLM, kinds, say, silence, tone, until
from helpers.waiting import wait_until

from vocalmtp.audio.formats import to_pcm

websockets = pytest.importorskip("websockets", reason="the extra 'demo' is not installed")

from helpers.chat_server import serving  # noqa: E402
from websockets.asyncio.client import connect  # noqa: E402

STATM = Path("/proc/self/statm")
MEGABYTE = 1 << 20


def memory() -> int:
    """Resident memory of this process in bytes."""
    if not STATM.exists():
        pytest.skip("there is no /proc to read memory from")
    return int(STATM.read_text().split()[1]) * 4096


@pytest.mark.slow
def test_hour_of_silence_noise_and_clicks_gives_no_answer_and_uses_no_memory(make_session):
    noise = 0.01 * np.random.default_rng(0).standard_normal(10 * RATE).astype(np.float32)
    clicks = noise.copy()
    clicks[5 * RATE : round(5.15 * RATE)] = tone(0.15)
    inputs = [silence(10.0), noise, clicks]
    llm = ScriptedLLM("Yes.")
    session = make_session(llm)
    events, before = [], 0
    for piece in range(360):
        session.feed(inputs[piece // 6 % 3])
        if piece % 6 == 5:
            events += session.events(0.05)
        if piece == 60:
            before = memory()
    assert memory() - before < 4 * MEGABYTE
    assert set(kinds(events)) <= {"listening", "speech_started", "transcript"}
    assert len([e for e in events if e.kind == "speech_started"]) >= 100
    assert not llm.requests and not session.history.turns
    say(session)
    assert until(session, "finished")[-1].text == "Yes."


def test_closed_sessions_leave_no_threads_and_no_memory(make_server):
    server = make_server("One two. Three", 30.0)
    threads, before = threading.active_count(), 0
    for number in range(120):
        with server.open_session() as session:
            say(session)
            until(session, "audio_chunk", 2)
        if number == 20:
            before = memory()
    wait_until(lambda: threading.active_count() <= threads)
    assert memory() - before < 8 * MEGABYTE


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
def test_microphone_of_any_rate_over_a_socket(make_server, rate):
    length = np.arange(round(0.5 * rate)) * 2 * np.pi * 300 / rate
    sound = to_pcm(np.concatenate([0.2 * np.sin(length), np.zeros(rate)]).astype(np.float32))

    async def talk(port: int) -> str:
        async with connect(f"ws://127.0.0.1:{port}/talk/socket", max_queue=None) as connection:
            await connection.send(json.dumps({"kind": "rate", "rate": rate}))
            for start in range(0, len(sound), 4096):
                await connection.send(sound[start : start + 4096])
            async for message in connection:
                event = json.loads(message) if isinstance(message, str) else {}
                if event.get("kind") == "transcript" and event["final"]:
                    return event["text"]
        return "the connection was closed"

    with serving(make_server()) as port:
        assert asyncio.run(talk(port)) == "5 tenths"


FLOODS = {
    "sound": bytes(32_000),
    "questions": json.dumps({"kind": "ask", "text": "And? " * 800}),
    "nonsense": "?" * 32_000,
    "too large": bytes(70_000),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_flooding_client_is_disconnected_and_uses_no_memory(make_server, kind):
    server = make_server("One two three four five six seven eight.")

    async def flood(port: int) -> int:
        async with connect(f"ws://127.0.0.1:{port}/talk/socket", max_queue=None) as connection:
            for _ in range(3000):  # up to 96 MB
                try:
                    await asyncio.wait_for(connection.send(FLOODS[kind]), 5)
                except (websockets.ConnectionClosed, TimeoutError, asyncio.TimeoutError):
                    break
            await asyncio.wait_for(connection.wait_closed(), 30)
            return connection.close_code

    with serving(server) as port:
        asyncio.run(flood(port))  # warms up
        before = memory()
        # A client that does not stop may miss the close frame (1006) or the reply to a ping (1011).
        assert asyncio.run(flood(port)) in (1006, 1011, 1009 if kind == "too large" else 1008)
        wait_until(lambda: server.active == 0)
        assert memory() - before < 16 * MEGABYTE


def test_lost_connection_closes_its_session(make_server, monkeypatch):
    monkeypatch.setattr("vocalmtp.server.app.PING", 0.3)
    server = make_server(*["On and on. "] * 300)
    threads = threading.active_count()
    with serving(server) as port, socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(
            b"GET /talk/socket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.recv(4096).startswith(b"HTTP/1.1 101")
        question = json.dumps({"kind": "ask", "text": "Go on."}).encode()
        connection.sendall(
            bytes([0x81, 0x80 | len(question)]) + bytes(4) + question
        )  # RFC 6455, 5.2
        wait_until(lambda: server.active == 1)
        wait_until(lambda: bool(server.responders["llm"].llm.requests))
        wait_until(lambda: server.active == 0)  # as no ping is answered
    wait_until(lambda: threading.active_count() <= threads + 1)
