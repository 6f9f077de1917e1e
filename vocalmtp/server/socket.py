"""The WebSocket protocol of a conversation.

From the client: audio as 16-bit little-endian mono PCM in binary messages, and JSON objects by their
"kind": "rate" ("rate" in Hz of that audio), "settings" ("voice", "responder", "role"), "greet" (speak
the role's greeting), "ask" ("text"), "played" ("turn", "seconds"), "interrupt".

To the client: "ready" ("sample_rate" of the answers), then the events of the session as JSON; an
"audio_chunk" is followed by its samples in a binary message of the same form. "busy" and "over" have
a "code" and a "message" and precede the end of the connection.
"""

import asyncio
import json
import math
import threading
import time
from dataclasses import asdict
from typing import Any, Literal

from fastapi import WebSocket
from starlette.websockets import WebSocketDisconnect

from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.vad import SAMPLE_RATE
from vocalmtp.chat.events import AudioChunk, Error, Event
from vocalmtp.chat.session import ChatSession
from vocalmtp.errors import InputError
from vocalmtp.server.state import ServerState

POLICY, TOO_BIG, TRY_LATER = 1008, 1009, 1013  # close codes (RFC 6455, section 7.4)
SEND_TIMEOUT = 10.0  # seconds that a client may take to receive a message

CloseReason = Literal[
    "busy",
    "time_limit",
    "message_too_large",
    "audio_too_fast",
    "questions_too_fast",
    "invalid_messages",
]
CLOSE_CODES: dict[CloseReason, int] = {"busy": TRY_LATER, "message_too_large": TOO_BIG}
CLOSE_MESSAGES: dict[CloseReason, str] = {
    "busy": "All conversations are taken at the moment. Please try again in a few minutes.",
    "time_limit": "This conversation has reached its time limit. Press the button for a new one.",
    "message_too_large": "A message was too large.",
    "audio_too_fast": "Audio arrived faster than real time.",
    "questions_too_fast": "Questions arrived faster than they can be answered.",
    "invalid_messages": "Too many messages were invalid.",
}


class ConnectionRefused(Exception):
    """The client has exceeded a limit: the connection is to be closed."""

    def __init__(self, reason: CloseReason):
        super().__init__(reason)
        self.reason: CloseReason = reason


async def serve(socket: WebSocket, state: ServerState) -> None:
    """Hold one conversation over an accepted socket."""
    if state.active >= state.limits.sessions:
        await _close(socket, "busy")
        return
    state.active += 1
    session: ChatSession | None = None
    reason: CloseReason | None = None
    try:
        session = await asyncio.to_thread(state.open_session)
        connection = _Connection(socket, state, session)
        await asyncio.wait_for(connection.run(), state.limits.minutes * 60)
    except asyncio.TimeoutError:
        reason = "time_limit"
    except ConnectionRefused as refused:
        reason = refused.reason
    except (WebSocketDisconnect, RuntimeError):  # the page or the connection was closed
        pass
    finally:
        state.active -= 1
        if session is not None:
            session.close(timeout=0)  # its events end now, its threads a little later
    if reason is not None:
        await _close(socket, reason)
    if session is not None:
        await asyncio.to_thread(session.close)


async def _close(socket: WebSocket, reason: CloseReason) -> None:
    """Send the reason and close the connection, unless the client no longer receives."""
    kind = "busy" if reason == "busy" else "over"
    message = json.dumps({"kind": kind, "code": reason, "message": CLOSE_MESSAGES[reason]})
    try:
        await asyncio.wait_for(socket.send_text(message), SEND_TIMEOUT)
        code = CLOSE_CODES.get(reason, POLICY)
        await asyncio.wait_for(socket.close(code), SEND_TIMEOUT)
    except (WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
        return


class _Connection:
    """The messages of one conversation in both directions, within the server's limits."""

    def __init__(self, socket: WebSocket, state: ServerState, session: ChatSession):
        self._socket, self._state, self._session = socket, state, session
        self._loop = asyncio.get_running_loop()
        self._rate = SAMPLE_RATE
        self._begin = time.monotonic()
        self._received = 0.0  # seconds of audio
        self._invalid = self._asked = 0  # numbers of messages

    async def run(self) -> None:
        """Process messages; raises WebSocketDisconnect or ConnectionRefused at the end."""
        ready = {"kind": "ready", "sample_rate": self._state.tts.sample_rate}
        await self._socket.send_text(json.dumps(ready))
        threading.Thread(target=self._send_events, daemon=True).start()
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code", 1000))
            try:
                await self._process(message.get("bytes"), message.get("text"))
            except InputError as error:
                await self._report_invalid(error)

    async def _process(self, audio: bytes | None, text: str | None) -> None:
        if len(audio or text or b"") > self._state.limits.message:
            raise ConnectionRefused("message_too_large")
        limits, elapsed = self._state.limits, time.monotonic() - self._begin
        if audio is not None:
            self._received += len(audio) / 2 / self._rate
            if self._received > elapsed + limits.max_ahead:
                raise ConnectionRefused("audio_too_fast")
            await asyncio.to_thread(self._session.feed, audio, self._rate)
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
            raise ConnectionRefused("questions_too_fast")
        await asyncio.to_thread(self._execute, kind, message)

    def _execute(self, kind: str, message: dict[str, Any]) -> None:
        session = self._session
        if kind == "rate":
            self._rate = _number(message, "rate", 8_000, 96_000)
        elif kind == "settings":
            names = {key: _string(message, key) for key in ("voice", "responder", "role")}
            self._state.configure(session, **names)
        elif kind == "ask":
            session.ask((_string(message, "text") or "")[: session.config.max_answer_chars])
        elif kind == "played":
            seconds = message.get("seconds")
            if not (isinstance(seconds, int | float) and math.isfinite(seconds)):
                raise InputError("seconds: must be a number", code="invalid_value")
            session.report_playback(seconds, message.get("turn"))
        elif kind == "greet":
            session.greet()
        elif kind == "interrupt":
            session.interrupt()
        else:
            raise InputError(f"kind '{str(kind)[:40]}': no such kind", code="unknown_name")

    async def _report_invalid(self, error: InputError) -> None:
        self._invalid += 1
        if self._invalid > self._state.limits.invalid_messages:
            raise ConnectionRefused("invalid_messages")
        event = as_message(Error(0, "invalid_message", str(error)))
        await self._socket.send_text(json.dumps(event | {"key": error.key}))

    def _send_events(self) -> None:
        """Send the session's events, in a thread; close the session if the client is gone."""
        try:
            for event in self._session.events():
                sent = asyncio.run_coroutine_threadsafe(self._send(event), self._loop)
                sent.result(SEND_TIMEOUT)
        except Exception:  # in whatever way the connection has failed
            self._session.close()

    async def _send(self, event: Event) -> None:
        await self._socket.send_text(json.dumps(as_message(event)))
        if isinstance(event, AudioChunk):
            await self._socket.send_bytes(to_pcm(event.samples))


def as_message(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object, without samples."""
    if isinstance(event, AudioChunk):
        words = [asdict(word) for word in event.words]
        fields = {"sample_rate": event.sample_rate, "start": event.start, "words": words}
        return {"kind": event.kind, "turn": event.turn, **fields}
    return {"kind": event.kind, **asdict(event)}


def _string(message: dict[str, Any], key: str) -> str | None:
    value = message.get(key)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{key}: must be text", code="invalid_value")
    return value


def _number(message: dict[str, Any], key: str, least: int, most: int) -> int:
    value = message.get(key)
    if not isinstance(value, int | float) or not least <= value <= most:
        raise InputError(f"{key}: must be a number from {least} to {most}", code="out_of_range")
    return int(value)
