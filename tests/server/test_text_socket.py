"""Text that arrives over a WebSocket is spoken as it comes; over a tiny model."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from helpers.chat_server import serving
from helpers.waiting import wait_until
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.sync import client

from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.io import Audio, join
from vocalmtp.server.state import ServerState
from vocalmtp.tts import TTS

PATH = "/v1/audio/speech/stream"
NATIVE = {"kind": "session.config", "response_format": "pcm", "sample_rate": 16_000}
PIECES = ["Good mor", "ning. How", " are you?"]


class Socket:
    """A client."""

    def __init__(self, connection: client.ClientConnection, state: ServerState):
        self.connection, self.state = connection, state

    def send(self, kind: str, **fields: Any) -> None:
        self.connection.send(json.dumps({"type": kind, **fields}))

    def say(self, *pieces: str) -> None:
        for piece in pieces:
            self.send("input.text", text=piece)
        self.send("input.done")

    def until(self, kind: str) -> tuple[list[dict[str, Any]], bytes]:
        """The messages up to one of that type, and the audio among them."""
        messages: list[dict[str, Any]] = []
        audio = b""
        while not messages or messages[-1]["type"] != kind:
            data = self.connection.recv(60)
            if isinstance(data, bytes):
                audio += data
            else:
                messages.append(json.loads(data))
        return messages, audio


def assert_same_audio(pcm: bytes, expected: Audio) -> None:
    """Up to a rounding without AVX-512, where float32 products depend on the number of rows."""
    found, exact = (
        np.frombuffer(each, np.int16).astype(int) for each in (pcm, to_pcm(expected.samples))
    )
    assert len(found) == len(exact) > 0
    rounding = 0 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 1
    assert np.abs(found - exact).max() <= rounding


@pytest.fixture
def connect(make_state: Callable[..., ServerState]) -> Iterator[Callable[..., Socket]]:
    """Connects to one server."""
    state = make_state()
    with ExitStack() as stack:
        port = stack.enter_context(serving(state, page=False))

        def make() -> Socket:
            return Socket(
                stack.enter_context(client.connect(f"ws://127.0.0.1:{port}{PATH}")), state
            )

        yield make


def test_audio_equals_that_of_the_library(connect, tts: TTS):
    socket = connect()
    socket.send(**NATIVE, voice="bob", seed=3)
    socket.say(*PIECES)
    messages, audio = socket.until("session.done")
    expected = join(list(tts.stream(iter(PIECES), "bob", seed=3)))
    assert audio == to_pcm(expected.samples)
    start, done, end = messages
    assert (start["type"], start["format"], start["sample_rate"]) == ("audio.start", "pcm", 16_000)
    assert (done["type"], done["total_bytes"], done["error"]) == ("audio.done", len(audio), False)
    assert (end["utterance_index"], end["total_sentences"]) == (0, 1)


def test_audio_leaves_before_the_text_ends(connect):
    socket = connect()
    socket.send("input.text", text="Good morning. How")
    socket.until("audio.start")
    assert socket.connection.recv(60)
    socket.say(" are you?")
    socket.until("session.done")


def test_several_texts_with_one_configuration(connect, tts: TTS):
    socket = connect()
    socket.send(**NATIVE)
    heard = []
    for text in ("One.", "Two."):
        socket.say(text)
        messages, audio = socket.until("session.done")
        heard.append(messages[-1]["utterance_index"])
        assert_same_audio(audio, tts(text))
    assert heard == [0, 1]


def test_an_mp3_stream_and_close(connect):
    socket = connect()
    socket.send("session.config", response_format="mp3")
    socket.say("Hello.")
    _, audio = socket.until("session.done")
    assert audio[:1] == b"\xff"
    socket.send("session.close")
    with pytest.raises(ConnectionClosedOK):
        socket.until("none")


def test_a_text_without_words_has_no_audio(connect):
    socket = connect()
    socket.say("\u6771\u4eac ... \U0001f600")
    messages, audio = socket.until("session.done")
    assert [message["type"] for message in messages] == ["session.done"] and not audio


INVALID = {
    "no JSON": "{",
    "NaN": '{"type": "session.config", "speed": NaN}',
    "a list": "[]",
    "no type": "{}",
    "text of another type": '{"type": "input.text", "text": 5}',
    "unknown voice": '{"type": "session.config", "voice": "nobody"}',
    "unknown format": '{"type": "session.config", "response_format": "midi"}',
    "speed out of range": '{"type": "session.config", "speed": 99}',
    "session of another type": '{"type": "session.config", "session": 5}',
}


@pytest.mark.parametrize("message", INVALID.values(), ids=INVALID)
def test_an_invalid_message_is_an_error_and_the_session_continues(connect, tts: TTS, message):
    socket = connect()
    socket.send(**NATIVE)
    socket.connection.send(message)
    (error,), _ = socket.until("error")
    assert error["error"]["type"] == "invalid_request_error" and error["error"]["code"]
    socket.say("One.")
    assert socket.until("session.done")[1] == to_pcm(tts("One.").samples)


def test_configuration_within_a_text_is_refused(connect):
    socket = connect()
    socket.send("input.text", text="One")
    socket.send(**NATIVE)
    assert socket.until("error")[0][-1]["error"]["code"] == "conflict"


def test_many_invalid_messages_end_the_connection(connect):
    socket = connect()
    with pytest.raises(ConnectionClosed):
        for _ in range(30):
            socket.connection.send("{")
        socket.until("none")


def test_a_client_that_goes_cancels_its_text(connect):
    socket = connect()
    socket.say("A rather long sentence, which takes some time. " * 80)
    socket.until("audio.start")
    assert socket.state.speech.engine.active
    socket.connection.close_socket()  # without a good-bye
    wait_until(lambda: not socket.state.speech.engine.active)
    wait_until(lambda: not socket.state.speech.active)


def test_two_clients_do_not_mix(connect, tts: TTS):
    texts = {"Hello there.": connect(), "Good morning to you.": connect()}
    for text, socket in texts.items():
        socket.send(**NATIVE)
        socket.say(text)
    for text, socket in texts.items():
        assert_same_audio(socket.until("session.done")[1], tts(text))
