"""A client of the chat server, as the page is one, for measuring complete conversations.

It sends recordings at the pace of a microphone, and models the timing of a loudspeaker.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.optional import require

BLOCK = 0.02  # seconds of audio in a message, similar to the page's
BUFFER = 0.08  # seconds of an answer that are buffered before it plays, as in assets/audio.js
TIMEOUT = 30.0  # seconds
REPORT_BLOCKS = 3  # blocks between two reports of the playback position


@dataclass
class Playout:
    """When an answer plays, given when its audio arrived; times are of `time.monotonic`.

    Attributes:
        seconds: duration of the audio that has arrived.
        begin: when playback would have begun, had there been no gap.
        gaps: how often the audio ran out.
        first: when playback began.

    """

    seconds: float = 0.0
    begin: float | None = None
    gaps: int = 0
    first: float | None = None

    def arrive(self, seconds: float, now: float) -> None:
        """Append audio that has arrived."""
        if self.begin is not None and now > self.begin + self.seconds:
            self.gaps += 1
            self.begin = now - self.seconds
        self.seconds += seconds
        if self.seconds >= BUFFER:
            self.start(now)

    def start(self, now: float) -> None:
        """Begin playback without waiting for more audio."""
        if self.begin is None and self.seconds:
            self.begin = self.first = now

    def position(self, now: float) -> float:
        """Return the seconds that have been played."""
        return 0.0 if self.begin is None else min(max(now - self.begin, 0.0), self.seconds)


@dataclass
class Exchange:
    """A turn of the client and its answer; times are of `time.monotonic`.

    Attributes:
        turn: its number; 0 if the server detected no speech.
        speech_end: when the last speech of the turn was sent.
        turn_end: when the server reported the end of the turn.
        transcript: the last one.
        text: the answer.
        parts: latencies that the server reported, in seconds.
        first_audio: when the first audio arrived.
        playout: the playback of the answer.
        interrupted: when the answer was interrupted.
        errors: messages of the server.
        done: set when the answer is complete, interrupted, or not to be expected.

    """

    turn: int
    speech_end: float = 0.0
    turn_end: float = 0.0
    transcript: str = ""
    text: str = ""
    parts: dict[str, float] = field(default_factory=dict)
    first_audio: float | None = None
    playout: Playout = field(default_factory=Playout)
    interrupted: float | None = None
    errors: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)


class ChatClient:
    """One conversation over an open WebSocket; see `connect`.

    Attributes:
        exchanges: the turns so far, by number.
        delays: by how many seconds each block of audio was sent late.

    """

    def __init__(self, socket: Any):
        self._socket = socket
        self._queue = np.zeros(0, np.float32)  # samples to send
        self._speech = 0  # samples until the end of the speech in them
        self._speech_end = 0.0
        self._chunk: dict[str, Any] = {}  # the event whose samples come next
        self._rate = 0
        self._ready = asyncio.Event()
        self._started = asyncio.Event()
        self.exchanges: dict[int, Exchange] = {}
        self.delays: list[float] = []

    async def ask(self, samples: np.ndarray, speech: float) -> Exchange:
        """Send a question and wait until its answer was played, or for TIMEOUT.

        Args:
            samples: [N] at SAMPLE_RATE.
            speech: seconds after which there is no more speech in them.

        """
        exchange = await self.say(samples, speech)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(exchange.done.wait(), TIMEOUT)
        playout = exchange.playout
        if playout.begin is not None and exchange.interrupted is None:
            await asyncio.sleep(playout.begin + playout.seconds - time.monotonic())
        return exchange

    async def say(self, samples: np.ndarray, speech: float) -> Exchange:
        """Send a question and return its exchange, which is incomplete, when the turn begins.

        If no turn begins within TIMEOUT, the exchange has the turn 0 and no answer.
        """
        self._started.clear()
        self._speech = round(speech * SAMPLE_RATE)
        self._queue = samples
        try:
            await asyncio.wait_for(self._started.wait(), TIMEOUT)
        except asyncio.TimeoutError:
            silent = Exchange(turn=0)
            silent.done.set()
            return silent
        return self.exchanges[max(self.exchanges)]

    async def send(self, kind: str, **fields: Any) -> None:
        """Send a message other than audio."""
        await self._socket.send(json.dumps({"kind": kind, **fields}))

    # -- tasks -----------------------------------------------------------------------------------

    async def send_audio(self) -> None:
        """Send queued audio, or faint noise, at the pace of a microphone, without end."""
        await self._ready.wait()
        await self.send("rate", rate=SAMPLE_RATE)
        count = round(BLOCK * SAMPLE_RATE)
        noise = np.random.default_rng(0).standard_normal(count).astype(np.float32) * 1e-4
        begin, number = time.monotonic(), 0
        while True:
            block, self._queue = self._queue[:count], self._queue[count:]
            await self._socket.send(to_pcm(noise + np.pad(block, (0, count - len(block)))))
            if self._speech > 0:
                self._speech -= count
                self._speech_end = time.monotonic()
            number += 1
            if number % REPORT_BLOCKS == 0:
                await self._report_playback()
            due = begin + number * BLOCK
            self.delays.append(max(0.0, time.monotonic() - due))
            await asyncio.sleep(due - time.monotonic())

    async def _report_playback(self) -> None:
        exchange = self.exchanges.get(max(self.exchanges, default=0))
        if exchange is not None and exchange.playout.begin is not None:
            seconds = exchange.playout.position(time.monotonic())
            await self.send("played", turn=exchange.turn, seconds=seconds)

    async def receive(self) -> None:
        """Process the server's messages until the connection is closed."""
        async for message in self._socket:
            now = time.monotonic()
            if isinstance(message, bytes):
                self._add_audio(len(message) / 2 / self._rate, now)
                continue
            event = json.loads(message)
            kind = event["kind"]
            if kind == "ready":
                self._rate = event["sample_rate"]
                self._ready.set()
            elif kind == "speech_started":
                self._finish_all()  # a user who continues gets one answer to both turns
                self.exchanges[event["turn"]] = Exchange(event["turn"])
                self._started.set()
            elif event.get("turn") in self.exchanges:
                self._update(self.exchanges[event["turn"]], kind, event, now)
            elif kind == "listening":  # the last turn was noise, or its transcript is empty
                self._finish_all()

    def _finish_all(self) -> None:
        for exchange in self.exchanges.values():
            exchange.done.set()

    def _add_audio(self, seconds: float, now: float) -> None:
        exchange = self.exchanges.get(self._chunk["turn"])
        if exchange is not None and seconds:
            exchange.first_audio = exchange.first_audio or now
            exchange.playout.arrive(seconds, now)

    def _update(self, exchange: Exchange, kind: str, event: dict[str, Any], now: float) -> None:
        if kind == "speech_ended":
            exchange.speech_end, exchange.turn_end = self._speech_end, now
        elif kind == "transcript":
            exchange.transcript = event["text"]
        elif kind == "text_delta":
            exchange.text += event["text"]
        elif kind == "timing":
            exchange.parts[event["part"]] = event["seconds"]
        elif kind == "audio_chunk":
            self._chunk = event
        elif kind == "error":
            exchange.errors.append(event["message"])
        elif kind == "interrupted":
            exchange.interrupted = now
        if kind in ("finished", "interrupted"):
            exchange.playout.start(now)
            exchange.done.set()


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[ChatClient]:
    """Open a conversation with a server, such as ws://127.0.0.1:7860/talk/socket.

    Raises:
        OSError: or an exception of websockets, if there is no connection.

    """
    websockets = require("websockets.asyncio.client")
    async with websockets.connect(address, max_size=None) as socket:
        client = ChatClient(socket)
        tasks = [asyncio.create_task(client.receive()), asyncio.create_task(client.send_audio())]
        try:
            yield client
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
