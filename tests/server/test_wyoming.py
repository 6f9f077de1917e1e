"""The Wyoming protocol with the authors' own client, and with broken ones."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

pytest.importorskip("wyoming", reason="needs the extra 'wyoming'")

from helpers.chat_fakes import RATE, WORD, CountingRecognizer, ToneTTS, tone
from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.tts import (
    Synthesize,
    SynthesizeChunk,
    SynthesizeStart,
    SynthesizeStop,
    SynthesizeStopped,
    SynthesizeVoice,
)

from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.io import Audio, join
from vocalmtp.errors import InputError
from vocalmtp.server.wyoming import wyoming_server, wyoming_service
from vocalmtp.server.wyoming_connection import MAX_PART, Text, WyomingService

TEXT = "One two three. Four five six seven."
PCM = to_pcm(tone(0.5))


class Speaker:
    """Speaks with ToneTTS, clause by clause."""

    def __init__(self) -> None:
        self.tts = ToneTTS()
        self.voices: list[str | None] = []
        self.arrived: list[str] = []
        self.active = 0

    async def __call__(self, text: Text, voice: str | None, client: str) -> AsyncGenerator[Audio]:
        self.voices.append(voice)
        self.active += 1
        try:
            if not isinstance(text, str):
                async for piece in text:
                    self.arrived.append(piece)
                    for chunk in self.tts.stream(piece):
                        yield chunk
            elif text == "forever":
                while True:
                    await asyncio.sleep(0)
                    yield Audio(tone(0.1), RATE)
            elif text == "":
                raise InputError("text: has nothing to say", code="empty")
            else:
                for chunk in self.tts.stream(text):
                    yield chunk
        finally:
            self.active -= 1


@asynccontextmanager
async def client(speaker: Speaker | None = None) -> AsyncIterator[AsyncTcpClient]:
    async with server(speaker) as port, AsyncTcpClient("127.0.0.1", port) as connected:
        yield connected


@asynccontextmanager
async def server(speaker: Speaker | None = None) -> AsyncIterator[int]:
    service = WyomingService(
        model="toy",
        sample_rate=RATE,
        voices=lambda: ["ann", "bob"],
        speak=speaker or Speaker(),
        recognizer=CountingRecognizer(),
    )
    async with wyoming_server(service, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1]


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(test(), 60))


async def until(connected: AsyncTcpClient, kind: type) -> list[Event]:
    """The events up to one of that type."""
    events = []
    while True:
        event = await connected.read_event()
        assert event is not None, events
        events.append(event)
        if kind.is_type(event.type):
            return events


def kinds(events: list[Event]) -> list[str]:
    return [event.type for event in events if not AudioChunk.is_type(event.type)]


def pcm(events: list[Event]) -> bytes:
    return b"".join(event.payload for event in events if AudioChunk.is_type(event.type))


def spoken(text: str) -> bytes:
    return to_pcm(ToneTTS()(text).samples)


def test_describe_names_voices_and_recognizer():
    async def test() -> Info:
        async with client() as connected:
            await connected.write_event(Describe().event())
            return Info.from_event(await connected.read_event())

    info = run(test)
    (tts,), (asr,) = info.tts, info.asr
    assert [voice.name for voice in tts.voices] == ["ann", "bob"]
    assert tts.supports_synthesize_streaming and tts.installed
    assert asr.models[0].languages == ["en"]


def test_ping():
    async def test() -> Pong:
        async with client() as connected:
            await connected.write_event(Ping("x").event())
            return Pong.from_event(await connected.read_event())

    assert run(test).text == "x"


@pytest.mark.parametrize("voice", [None, SynthesizeVoice("bob"), SynthesizeVoice("unlisted")])
def test_synthesize_sends_all_audio(voice):
    speaker = Speaker()

    async def test() -> list[Event]:
        async with client(speaker) as connected:
            await connected.write_event(Synthesize(TEXT, voice).event())
            return await until(connected, AudioStop)

    events = run(test)
    assert kinds(events) == ["audio-start", "audio-stop"]
    start = AudioStart.from_event(events[0])
    assert (start.rate, start.width, start.channels) == (RATE, 2, 1)
    assert pcm(events) == spoken(TEXT)
    assert speaker.voices == [voice and voice.name]


def test_streamed_text_is_spoken_before_it_ends():
    speaker = Speaker()

    async def test() -> list[Event]:
        async with client(speaker) as connected:
            await connected.write_event(SynthesizeStart().event())
            await connected.write_event(SynthesizeChunk("One two. ").event())
            events = await until(connected, AudioChunk)
            await connected.write_event(SynthesizeChunk("Last words").event())
            await connected.write_event(Synthesize(TEXT).event())  # for servers that do not stream
            await connected.write_event(SynthesizeStop().event())
            return events + await until(connected, SynthesizeStopped)

    events = run(test)
    assert kinds(events) == ["audio-start", "audio-stop", "synthesize-stopped"]
    assert pcm(events) == spoken("One two. Last words")
    assert len(pcm(events)) == round(4 * WORD * RATE) * 2


def test_a_text_that_cannot_be_spoken_ends_too():
    async def test() -> list[list[Event]]:
        async with client() as connected:
            await connected.write_event(Synthesize("").event())
            await connected.write_event(Synthesize(TEXT).event())
            return [await until(connected, AudioStop) for _ in range(2)]

    failed, spoken_events = run(test)
    assert kinds(failed) == ["error", "audio-start", "audio-stop"]
    assert Error.from_event(failed[0]).code == "empty"
    assert pcm(spoken_events) == spoken(TEXT)


@pytest.mark.parametrize(("width", "channels"), [(2, 1), (2, 2), (4, 1)])
def test_recognition(width, channels):
    samples = np.frombuffer(PCM, "<i2").astype(f"<i{width}") << (8 * width - 16)
    data = np.repeat(samples, channels).tobytes()

    async def test() -> Transcript:
        async with client() as connected:
            await connected.write_event(Transcribe(language="en").event())
            await connected.write_event(AudioStart(RATE, width, channels).event())
            for start in range(0, len(data), 4096):
                part = data[start : start + 4096]
                await connected.write_event(AudioChunk(RATE, width, channels, part).event())
            await connected.write_event(AudioStop().event())
            return Transcript.from_event((await until(connected, Transcript))[-1])

    assert run(test).text == "5 tenths"


def test_two_clients_at_once_do_not_mix():
    async def speak(port: int, text: str) -> bytes:
        async with AsyncTcpClient("127.0.0.1", port) as connected:
            await connected.write_event(Synthesize(text).event())
            return pcm(await until(connected, AudioStop))

    async def test() -> list[bytes]:
        async with server() as port:
            return await asyncio.gather(*(speak(port, text) for text in ("a a a", "bb bb bb")))

    assert run(test) == [spoken("a a a"), spoken("bb bb bb")]


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_client_that_goes_cancels_its_request(how):
    speaker = Speaker()

    async def test() -> None:
        async with server(speaker) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b'{"type": "synthesize", "data": {"text": "forever"}}\n')
            await reader.readline()
            assert speaker.active == 1
            writer.close() if how == "end" else writer.transport.abort()
            while speaker.active:
                await asyncio.sleep(0.01)

    run(test)


BROKEN = {
    "garbage": b"\x00\xff\xfe garbage\n",
    "a list": b"[1, 2]\n",
    "no type": b'{"data": {}}\n',
    "deep": b"[" * 60_000 + b"\n",
    "long line": b"x" * 200_000,
    "huge length": b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
    "negative length": b'{"type": "audio-chunk", "data_length": -1}\n',
    "NaN length": b'{"type": "audio-chunk", "payload_length": NaN}\n',
    "bad data": b'{"type": "synthesize", "data_length": 3}\n{{{',
    "data list": b'{"type": "synthesize", "data_length": 2}\n[]',
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_message_ends_the_connection(data):
    async def test() -> tuple[bytes, bytes]:
        async with server() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            refusal = await reader.read()
            async with AsyncTcpClient("127.0.0.1", port) as other:
                await other.write_event(Synthesize(TEXT).event())
                return refusal, pcm(await until(other, AudioStop))

    refusal, audio = run(test)
    assert json.loads(refusal.split(b"\n")[0])["type"] == "error"
    assert audio == spoken(TEXT)


MALFORMED = {
    "no text": Event("synthesize"),
    "text of another type": Event("synthesize", {"text": 5}),
    "voice of another type": Event("synthesize", {"text": "Hi.", "voice": 5}),
    "NaN rate": Event("audio-start", {"rate": float("nan"), "width": 2, "channels": 1}),
    "rate 0": Event("audio-start", {"rate": 0, "width": 2, "channels": 1}),
    "width 3": Event("audio-start", {"rate": 16_000, "width": 3, "channels": 1}),
    "no format": Event("audio-start"),
}


@pytest.mark.parametrize("event", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_event_is_refused_and_the_connection_stays(event):
    async def test() -> tuple[Event, bytes]:
        async with client() as connected:
            await connected.write_event(event)
            refusal = await connected.read_event()
            await connected.write_event(Synthesize(TEXT).event())
            return refusal, pcm(await until(connected, AudioStop))

    refusal, audio = run(test)
    assert re.fullmatch("invalid_value|out_of_range", Error.from_event(refusal).code)
    assert audio == spoken(TEXT)


def test_unknown_events_and_strays_are_ignored():
    strays = (Event("polka"), SynthesizeStop().event(), SynthesizeChunk("Hm.").event())
    audio = (AudioStop().event(), AudioChunk(RATE, 2, 1, PCM).event())

    async def test() -> bytes:
        async with client() as connected:
            for event in (*strays, *audio, Synthesize(TEXT).event()):
                await connected.write_event(event)
            return pcm(await until(connected, AudioStop))

    assert run(test) == spoken(TEXT)


def test_half_a_message_is_dropped():
    async def test() -> bytes:
        async with server() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b'{"type": "synthesize", "data_length": 40}\n{"text": "Hel')
            writer.write_eof()
            return await reader.read()

    assert run(test) == b""


def test_a_streamed_text_has_a_limit():
    async def test() -> list[Event]:
        async with client() as connected:
            await connected.write_event(SynthesizeStart().event())
            for _ in range(2):
                await connected.write_event(SynthesizeChunk("a" * (MAX_PART - 100)).event())
            return await until(connected, SynthesizeStopped)

    errors = [Error.from_event(event) for event in run(test) if Error.is_type(event.type)]
    assert [error.code for error in errors] == ["wrong_length"]


@pytest.mark.parametrize("streamed", [False, True])
def test_audio_of_an_engine_equals_the_library(make_state, tts, streamed):
    """An unlisted voice is the default one."""
    state = make_state()
    text = ["Good morning. ", "How are you?"]

    async def test() -> bytes:
        service = wyoming_service(state, state.speech)
        async with wyoming_server(service, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            async with AsyncTcpClient("127.0.0.1", port) as connected:
                if not streamed:
                    await connected.write_event(
                        Synthesize("".join(text), SynthesizeVoice("nobody")).event()
                    )
                    return pcm(await until(connected, AudioStop))
                await connected.write_event(SynthesizeStart(SynthesizeVoice("bob")).event())
                for piece in text:
                    await connected.write_event(SynthesizeChunk(piece).event())
                await connected.write_event(SynthesizeStop().event())
                return pcm(await until(connected, SynthesizeStopped))

    expected = join(list(tts.stream("".join(text), "bob" if streamed else None)))
    assert run(test) == to_pcm(expected.samples)
