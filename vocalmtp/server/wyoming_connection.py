"""One connection of the Wyoming protocol, by which Home Assistant uses synthesis and recognition.

A message is a line of JSON with its type, and the lengths of more JSON and of a payload after it.
Synthesis is answered by audio-start, audio-chunk.. and audio-stop, also if it fails, since clients wait
for the end; a streamed text additionally by synthesize-stopped.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from wyoming.asr import Transcript
from wyoming.audio import AudioChunk, AudioFormat, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, async_write_event
from wyoming.info import AsrModel, AsrProgram, Attribution, Info, TtsProgram, TtsVoice
from wyoming.ping import Ping, Pong
from wyoming.tts import Synthesize, SynthesizeChunk, SynthesizeStopped

import vocalmtp
from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.io import Audio, resample
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import SAMPLE_RATE, Recognizer
from vocalmtp.server.errors import as_api_error

logger = logging.getLogger(__name__)

LANGUAGE = "en"
MAX_LINE = 1 << 16  # bytes of the first line of a message
MAX_PART = 1 << 20  # bytes of each of the two parts after it
MAX_TEXT = 1 << 20  # characters of a streamed text
MAX_AUDIO = 300.0  # seconds of a recording
MAX_REQUESTS = 64  # of one client that wait
TIMEOUT = 30.0  # seconds until the rest of a message has arrived, or the client has taken audio
SAMPLE_TYPES = {1: "u1", 2: "<i2", 4: "<i4"}  # by bytes of a sample
GONE = (ConnectionError, asyncio.IncompleteReadError, asyncio.TimeoutError)  # of a client
ATTRIBUTION = Attribution("vocalmtp", "https://github.com/vocalmtp/vocalmtp")

Text = str | AsyncIterable[str]
Speak = Callable[[Text, str | None, str], AsyncGenerator[Audio, None]]


@dataclass(frozen=True, kw_only=True)
class WyomingService:
    """What the clients of a Wyoming server use.

    Attributes:
        model: the name of the model.
        sample_rate: of its audio, in Hz.
        voices: returns the names of the voices.
        speak: yields the audio of a text; also takes the name of a voice, which may be unknown, and
            what identifies the client.
        recognizer: None for a server that only speaks.

    """

    model: str
    sample_rate: int
    voices: Callable[[], Sequence[str]]
    speak: Speak
    recognizer: Recognizer | None = None

    def info(self) -> Info:
        """Describe the server."""
        about: dict[str, Any] = {
            "attribution": ATTRIBUTION,
            "installed": True,
            "version": vocalmtp.__version__,
        }
        voices = [
            TtsVoice(name=name, description=name, languages=[LANGUAGE], **about)
            for name in self.voices()
        ]
        tts = TtsProgram(
            name="vocalmtp",
            description=f"vocalmtp {self.model}",
            voices=voices,
            supports_synthesize_streaming=True,
            **about,
        )
        if self.recognizer is None:
            return Info(tts=[tts])
        name, description = self.recognizer.name, self.recognizer.description
        asr = AsrModel(name=name, description=description, languages=[LANGUAGE], **about)
        program = AsrProgram(name="vocalmtp", description=description, models=[asr], **about)
        return Info(tts=[tts], asr=[program])


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """Read a message; None at the end.

    Raises:
        InputError: it is too large, or malformed, so that the next one cannot be found.
        asyncio.IncompleteReadError: it is incomplete.
        asyncio.TimeoutError: its rest does not arrive.

    """
    try:
        line = await reader.readline()
        if not line:
            return None
        header = json.loads(line)
        kind, data = header["type"], header.get("data") or {}
        if size := _size(header, "data_length"):
            more = await asyncio.wait_for(reader.readexactly(size), TIMEOUT)
            data = {**data, **json.loads(more)}
        size = _size(header, "payload_length")
        payload = await asyncio.wait_for(reader.readexactly(size), TIMEOUT) if size else None
        return Event(str(kind), dict(data), payload)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("message: is not one of Wyoming", code="damaged") from error


def _size(header: dict[str, Any], name: str) -> int:
    size = header.get(name) or 0
    if not isinstance(size, int) or not 0 <= size <= MAX_PART:
        raise InputError(f"{name} '{size!s:.20}': must be 0 to {MAX_PART}", code="out_of_range")
    return size


@dataclass
class _Recording:
    """Audio of a client while it arrives."""

    format: AudioFormat
    parts: list[bytes] = field(default_factory=list)
    seconds: float = 0.0

    def push(self, data: bytes) -> None:
        self.seconds += len(data) / (self.format.width * self.format.channels * self.format.rate)
        if self.seconds > MAX_AUDIO:
            raise InputError(f"audio: has more than {MAX_AUDIO:.0f} s", code="wrong_length")
        self.parts.append(data)

    def samples(self) -> np.ndarray:
        """Return float32 [N] at SAMPLE_RATE."""
        data, width, channels = b"".join(self.parts), self.format.width, self.format.channels
        data = data[: len(data) // (width * channels) * width * channels]
        samples = np.frombuffer(data, SAMPLE_TYPES[width]).astype(np.float32)
        samples = (samples - 128.0 if width == 1 else samples) / 2.0 ** (8 * width - 1)
        return resample(samples.reshape(-1, channels).mean(axis=1), self.format.rate, SAMPLE_RATE)


class Connection:
    """The messages of one client in both directions; what it requests is done in turn."""

    def __init__(self, service: WyomingService, writer: asyncio.StreamWriter):
        self._service, self._writer = service, writer
        address = writer.get_extra_info("peername")
        self._client = str(address[0]) if address else ""
        self._work: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._pieces: asyncio.Queue[str | None] | None = None  # of a text that is being streamed
        self._length = 0  # characters of it
        self._recording: _Recording | None = None

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Process messages until the client goes; then what it requested is cancelled."""
        tasks = [asyncio.create_task(self._read(reader)), asyncio.create_task(self._do_work())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(end, Exception) and not isinstance(end, GONE):
                    logger.error("a connection has failed", exc_info=end)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while (event := await read_event(reader)) is not None:
                try:
                    await self._process(event)
                except (LookupError, TypeError, ValueError, AttributeError) as error:
                    await self._refuse(_malformed(event, error))
        except InputError as error:
            await self._refuse(error)

    async def _process(self, event: Event) -> None:
        match event.type:
            case "describe":
                await self._write(self._service.info().event())
            case "ping":
                await self._write(Pong(Ping.from_event(event).text).event())
            case "synthesize" if self._pieces is None:  # else a copy of the streamed text
                text, voice = _text(Synthesize.from_event(event).text), _voice(event)
                self._request(lambda: self._speak(text, voice))
            case "synthesize-start":
                self._end_text()
                pieces, voice = asyncio.Queue[str | None](), _voice(event)
                self._request(lambda: self._speak(_arriving(pieces), voice, streamed=True))
                self._pieces, self._length = pieces, 0
            case "synthesize-chunk" if self._pieces is not None:
                self._add_text(_text(SynthesizeChunk.from_event(event).text))
            case "synthesize-stop":
                self._end_text()
            case "audio-start" if self._service.recognizer is not None:
                self._recording = _Recording(_format(AudioStart.from_event(event)))
            case "audio-chunk" if self._recording is not None:
                self._recording.push(event.payload or b"")
            case "audio-stop" if self._recording is not None:
                recording, self._recording = self._recording, None
                self._request(lambda: self._transcribe(recording))
            case _:  # clients of later versions may send more
                pass

    def _add_text(self, piece: str) -> None:
        assert self._pieces is not None
        self._length += len(piece)
        if self._length > MAX_TEXT:
            self._end_text()
            raise InputError(f"text: has more than {MAX_TEXT} characters", code="wrong_length")
        self._pieces.put_nowait(piece)

    def _end_text(self) -> None:
        if self._pieces is not None:
            self._pieces.put_nowait(None)
            self._pieces = None

    def _request(self, work: Callable[[], Awaitable[None]]) -> None:
        if self._work.qsize() >= MAX_REQUESTS:
            raise InputError("message: too many requests at a time", code="unusable")
        self._work.put_nowait(work)

    async def _do_work(self) -> None:
        while True:
            await (await self._work.get())()

    async def _speak(self, text: Text, voice: str | None, streamed: bool = False) -> None:
        rate, begun = self._service.sample_rate, False
        start = AudioStart(rate=rate, width=2, channels=1).event()
        try:
            async with aclosing(self._service.speak(text, voice, self._client)) as chunks:
                async for chunk in chunks:
                    if not begun:
                        await self._write(start)
                        begun = True
                    audio = to_pcm(chunk.samples)
                    await self._write(AudioChunk(rate, 2, 1, audio).event())
        except GONE:
            raise
        except Exception as error:
            await self._refuse(error)
        if not begun:
            await self._write(start)
        await self._write(AudioStop().event())
        if streamed:
            await self._write(SynthesizeStopped().event())

    async def _transcribe(self, recording: _Recording) -> None:
        assert self._service.recognizer is not None
        text = ""
        try:
            text = await asyncio.to_thread(self._service.recognizer.transcribe, recording.samples())
        except Exception as error:
            await self._refuse(error)
        await self._write(Transcript(text, language=LANGUAGE).event())

    async def _refuse(self, error: Exception) -> None:
        found = as_api_error(error)
        await self._write(Error(str(found), found.code).event())

    async def _write(self, event: Event) -> None:
        await asyncio.wait_for(async_write_event(event, self._writer), TIMEOUT)


async def _arriving(pieces: "asyncio.Queue[str | None]") -> AsyncGenerator[str, None]:
    while (piece := await pieces.get()) is not None:
        yield piece


def _malformed(event: Event, error: Exception) -> InputError:
    if isinstance(error, InputError):
        return error
    return InputError(f"{event.type:.40}: is malformed ({error!r:.80})", code="invalid_value")


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise InputError(f"text '{text!s:.40}': must be a string", code="invalid_value")
    return text


def _voice(event: Event) -> str | None:
    """The name of the voice that a message wants; None for the default."""
    voice = event.data.get("voice") or {}
    name = voice.get("name")
    return name if isinstance(name, str) and name else None


def _format(start: AudioStart) -> AudioFormat:
    for name, least, most in (("rate", 8_000, 96_000), ("channels", 1, 8)):
        value = getattr(start, name)
        if not isinstance(value, int) or not least <= value <= most:
            raise InputError(
                f"{name} '{value!s:.20}': must be {least} to {most}", code="out_of_range"
            )
    if start.width not in SAMPLE_TYPES:
        raise InputError(f"width '{start.width!s:.20}': must be 1, 2 or 4", code="out_of_range")
    return start
