"""A caller: what the page does, in Python, for measuring the whole way of a conversation.

Speaks recordings into the socket at the pace of a microphone, and keeps a loudspeaker's time.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vocalmtp.audio.io import to_pcm
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.optional import require

BLOCK = 0.02  # seconds of sound in a message, about as the page sends it
BUFFER = 0.08  # seconds of an answer that are there before it sounds, as in assets/sound.js
PATIENCE = 30.0  # seconds
REPORTS = 3  # blocks between two reports of what has been played


@dataclass
class Playout:
    """When an answer sounds, by when its audio arrived; times are seconds of `time.monotonic`."""

    seconds: float = 0.0  # that have arrived
    begin: float | None = None  # when the first of it would have sounded, had there been no gap
    gaps: int = 0
    first: float | None = None  # when it began to sound

    def arrive(self, seconds: float, now: float) -> None:
        """More audio is there."""
        if self.begin is not None and now > self.begin + self.seconds:
            self.gaps += 1
            self.begin = now - self.seconds
        self.seconds += seconds
        if self.seconds >= BUFFER:
            self.start(now)

    def start(self, now: float) -> None:
        """Wait for no more, if it has not begun."""
        if self.begin is None and self.seconds:
            self.begin = self.first = now

    def position(self, now: float) -> float:
        """Seconds that have sounded."""
        return 0.0 if self.begin is None else min(max(now - self.begin, 0.0), self.seconds)


@dataclass
class Exchange:
    """A turn of the caller and the answer to it, as seen from the caller."""

    turn: int
    spoken: float = 0.0  # when the last of the turn's speech was sent
    ended: float = 0.0  # when the turn was known to be over
    heard: str = ""  # the final transcript
    text: str = ""  # the answer
    parts: dict[str, float] = field(default_factory=dict)  # timings of the server, in seconds
    audio: float | None = None  # when the first audio arrived
    playout: Playout = field(default_factory=Playout)
    interrupted: float | None = None  # when the answer was
    errors: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)  # nothing more of it is to come


class Caller:
    """One conversation over an open WebSocket; `call` makes it."""

    def __init__(self, socket: Any):
        self._socket = socket
        self._waiting = np.zeros(0, np.float32)  # sound that is still to be spoken
        self._speech = 0  # samples of it until the end of its speech
        self._spoken = 0.0
        self._chunk: dict[str, Any] = {}  # whose samples come next
        self._rate = 0
        self._ready = asyncio.Event()
        self._started = asyncio.Event()
        self.exchanges: dict[int, Exchange] = {}
        self.sent: list[float] = []  # how late each block of sound was sent

    async def ask(self, samples: np.ndarray, speech: float) -> Exchange:
        """Say a question, and hear the answer out, if there is one within PATIENCE.

        `samples` [N] at SAMPLE_RATE hold speech for the first `speech` seconds.
        """
        exchange = await self.say(samples, speech)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(exchange.done.wait(), PATIENCE)
        playout = exchange.playout
        if playout.begin is not None and exchange.interrupted is None:
            await asyncio.sleep(playout.begin + playout.seconds - time.monotonic())
        return exchange

    async def say(self, samples: np.ndarray, speech: float) -> Exchange:
        """Say something; returns as soon as it is known to be speech, with what will be filled.

        What is not heard as speech within PATIENCE is turn 0, which has no answer.
        """
        self._started.clear()
        self._speech = round(speech * SAMPLE_RATE)
        self._waiting = samples
        try:
            await asyncio.wait_for(self._started.wait(), PATIENCE)
        except asyncio.TimeoutError:
            silent = Exchange(turn=0)
            silent.done.set()
            return silent
        return self.exchanges[max(self.exchanges)]

    async def tell(self, kind: str, **rest: Any) -> None:
        """Send a message other than sound."""
        await self._socket.send(json.dumps({"kind": kind, **rest}))

    # -- the two sides of the line ---------------------------------------------------------------

    async def speak(self) -> None:
        """The microphone: sound where there is some, else a faint noise, for ever."""
        await self._ready.wait()
        await self.tell("rate", rate=SAMPLE_RATE)
        count = round(BLOCK * SAMPLE_RATE)
        noise = np.random.default_rng(0).standard_normal(count).astype(np.float32) * 1e-4
        begin, number = time.monotonic(), 0
        while True:
            block, self._waiting = self._waiting[:count], self._waiting[count:]
            await self._socket.send(to_pcm(noise + np.pad(block, (0, count - len(block)))))
            if self._speech > 0:
                self._speech -= count
                self._spoken = time.monotonic()
            number += 1
            if number % REPORTS == 0:
                await self._report()
            due = begin + number * BLOCK
            self.sent.append(max(0.0, time.monotonic() - due))
            await asyncio.sleep(due - time.monotonic())

    async def _report(self) -> None:
        exchange = self.exchanges.get(max(self.exchanges, default=0))
        if exchange is not None and exchange.playout.begin is not None:
            seconds = exchange.playout.position(time.monotonic())
            await self.tell("played", turn=exchange.turn, seconds=seconds)

    async def listen(self) -> None:
        """The events of the server, until the line ends."""
        async for message in self._socket:
            now = time.monotonic()
            if isinstance(message, bytes):
                self._sound(len(message) / 2 / self._rate, now)
                continue
            event = json.loads(message)
            kind = event["kind"]
            if kind == "ready":
                self._rate = event["sample_rate"]
                self._ready.set()
            elif kind == "speech_started":
                self._close_all()  # who speaks on is given one answer, to all of it
                self.exchanges[event["turn"]] = Exchange(event["turn"])
                self._started.set()
            elif event.get("turn") in self.exchanges:
                self._note(self.exchanges[event["turn"]], kind, event, now)
            elif kind == "listening":  # the last turn was none, or was not understood
                self._close_all()

    def _close_all(self) -> None:
        for exchange in self.exchanges.values():
            exchange.done.set()

    def _sound(self, seconds: float, now: float) -> None:
        exchange = self.exchanges.get(self._chunk["turn"])
        if exchange is not None and seconds:
            exchange.audio = exchange.audio or now
            exchange.playout.arrive(seconds, now)

    def _note(self, exchange: Exchange, kind: str, event: dict[str, Any], now: float) -> None:
        if kind == "speech_ended":
            exchange.spoken, exchange.ended = self._spoken, now
        elif kind == "transcript":
            exchange.heard = event["text"]
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
async def call(address: str) -> AsyncIterator[Caller]:
    """A conversation with the server at `address`, such as ws://127.0.0.1:7860/talk/socket.

    Raises OSError, or what websockets raises, if the line cannot be opened.
    """
    client = require("websockets.asyncio.client")
    async with client.connect(address, max_size=None) as socket:
        caller = Caller(socket)
        sides = [asyncio.create_task(caller.listen()), asyncio.create_task(caller.speak())]
        try:
            yield caller
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
