"""A conversation over a WebSocket.

From the client: 16-bit little-endian mono PCM as bytes, and JSON: {"kind": "rate", "rate": Hz} of
that PCM, "settings" (voice, mode, role), "greet" (let the role begin), "ask" (text), "played"
(turn, seconds), "interrupt".
To the client: the events of the session as JSON, "ready" first; the samples of an "audio_chunk"
follow it as bytes of the same form. "busy" and "over" say why the connection is closed.
"""

import asyncio
import json
import math
import threading
import time
from dataclasses import asdict
from typing import Any

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from vocalmtp.audio.io import to_pcm
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.chat.events import AudioChunk, Event
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError
from vocalmtp.server.state import ServerState

POLICY, TOO_BIG, TRY_LATER = 1008, 1009, 1013  # close codes (RFC 6455, section 7.4)
SEND = 10.0  # seconds that a client may take for a message
BUSY = "All lines are busy. Please try again in a few minutes."
OVER = "This conversation has reached its time limit. Press the button for a new one."


class Refused(Exception):
    """The client has gone too far: close with this code."""

    def __init__(self, code: int, reason: str):
        super().__init__(reason)
        self.code, self.reason = code, reason


async def serve(socket: WebSocket, room: ServerState) -> None:
    """Hold one conversation over an accepted socket, from its first to its last message."""
    if room.talking >= room.limits.sessions:
        await socket.send_text(json.dumps({"kind": "busy", "message": BUSY}))
        await socket.close(TRY_LATER)
        return
    room.talking += 1
    session = farewell = None
    try:
        session = await asyncio.to_thread(room.open)
        connection = _Connection(socket, room, session)
        await asyncio.wait_for(connection.run(), room.limits.minutes * 60)
    except asyncio.TimeoutError:
        farewell = POLICY, OVER
    except Refused as refused:
        farewell = refused.code, f"{refused.reason}."
    except (WebSocketDisconnect, RuntimeError):  # the tab was closed, or the line broke
        pass
    finally:
        room.talking -= 1
        if session is not None:
            session.close()
    if farewell is not None:  # whose place is free already: it may not listen any more
        await _close(socket, *farewell)


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    try:
        told = socket.send_text(json.dumps({"kind": "over", "message": reason}))
        await asyncio.wait_for(told, SEND)
        await asyncio.wait_for(socket.close(code), SEND)
    except (WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
        return


class _Connection:
    def __init__(self, socket: WebSocket, room: ServerState, session: ChatSession):
        self._socket, self._room, self._session = socket, room, session
        self._loop = asyncio.get_running_loop()
        self._rate = SAMPLE_RATE
        self._begin, self._sound = time.monotonic(), 0.0  # seconds of sound taken in
        self._mistakes = self._asked = 0

    async def run(self) -> None:
        """Until the client goes; raises WebSocketDisconnect or Refused."""
        await self._socket.send_text(
            json.dumps({"kind": "ready", "sample_rate": self._room.tts.sample_rate})
        )
        threading.Thread(target=self._pump, daemon=True).start()
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            try:
                await self._take(message.get("bytes"), message.get("text"))
            except InputError as error:
                await self._complain(error)

    async def _take(self, sound: bytes | None, text: str | None) -> None:
        size = len(sound or text or b"")
        if size > self._room.limits.message:
            raise Refused(TOO_BIG, f"A message had {size} bytes, which is too many")
        limits, elapsed = self._room.limits, time.monotonic() - self._begin
        if sound is not None:
            self._sound += len(sound) / 2 / self._rate
            if self._sound > elapsed + limits.ahead:
                raise Refused(POLICY, "The sound came faster than time goes")
            await asyncio.to_thread(self._session.feed, sound, self._rate)
            return
        try:
            message = json.loads(text or "")
            kind = message["kind"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(
                "message: is no JSON object with a kind", code="invalid_value"
            ) from error
        self._asked += kind == "ask"
        if self._asked > elapsed + limits.questions:
            raise Refused(POLICY, "Questions came faster than they can be answered")
        await asyncio.to_thread(self._obey, kind, message)

    def _obey(self, kind: str, message: dict[str, Any]) -> None:
        session = self._session
        if kind == "rate":
            self._rate = _whole(message, "rate", 8_000, 96_000)
        elif kind == "settings":
            chosen = {key: _text(message, key) for key in ("voice", "mode", "role")}
            self._room.configure(session, **chosen)
        elif kind == "ask":
            session.ask((_text(message, "text") or "")[: session.config.longest_answer])
        elif kind == "played":
            seconds = message.get("seconds")
            if not (isinstance(seconds, int | float) and math.isfinite(seconds)):
                raise InputError("played: seconds must be a number", code="out_of_range")
            session.played(seconds, message.get("turn"))
        elif kind == "greet":
            session.greet()
        elif kind == "interrupt":
            session.interrupt()
        else:
            raise InputError(f"message: kind '{str(kind)[:40]}' is not known", code="unknown_name")

    async def _complain(self, error: InputError) -> None:
        self._mistakes += 1
        if self._mistakes > self._room.limits.mistakes:
            raise Refused(POLICY, "Too many messages made no sense")
        await self._socket.send_text(
            json.dumps({"kind": "error", "turn": 0, "message": str(error)})
        )

    def _pump(self) -> None:
        """In a thread: the session's events to the client; a client that takes none is given up."""
        try:
            for event in self._session.events():
                asyncio.run_coroutine_threadsafe(self._send(event), self._loop).result(SEND)
        except Exception:  # the line is gone, in whatever way it is told
            self._session.close()

    async def _send(self, event: Event) -> None:
        await self._socket.send_text(json.dumps(as_message(event)))
        if isinstance(event, AudioChunk):
            await self._socket.send_bytes(to_pcm(event.samples))


def as_message(event: Event) -> dict[str, Any]:
    """An event as JSON has it; without samples."""
    if isinstance(event, AudioChunk):
        words = [asdict(word) for word in event.words]
        rest = {"sample_rate": event.sample_rate, "start": event.start, "words": words}
        return {"kind": event.kind, "turn": event.turn, **rest}
    return {"kind": event.kind, **asdict(event)}


def _text(message: dict[str, Any], key: str) -> str | None:
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{key}: must be text", code="invalid_value")
    return value


def _whole(message: dict[str, Any], key: str, least: int, most: int) -> int:
    value = message.get(key)
    if not isinstance(value, int | float) or not least <= value <= most:
        raise InputError(f"{key}: must be a number from {least} to {most}", code="out_of_range")
    return int(value)
