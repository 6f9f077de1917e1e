"""The WebSocket that speaks a text while it arrives: /v1/audio/speech/stream.

From the client, as JSON by their "type": "session.config" (the fields of a speech request, before a
text), "input.text" ("text": the next piece), "input.done" (the end of a text; another one may follow),
"session.close".

To the client: "audio.start" before the first audio of a text, its bytes in binary messages,
"audio.done", "session.done" after every text, and "error". Texts are numbered by "utterance_index".
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

from fastapi import APIRouter, WebSocket
from starlette.websockets import WebSocketDisconnect

from vocalmtp.audio.stream_encoder import StreamEncoder
from vocalmtp.config import parse
from vocalmtp.errors import InputError
from vocalmtp.server.errors import as_api_error, error_body
from vocalmtp.server.schemas import SpeechSettings
from vocalmtp.server.security import client_of, same_origin
from vocalmtp.server.service import SpeechService
from vocalmtp.server.socket import POLICY, SEND_TIMEOUT, TOO_BIG

MAX_MESSAGE = 1 << 20  # bytes
MAX_TEXT = 1 << 20  # characters of one text
MAX_WAITING = 64  # texts that have ended, but not been spoken
MAX_INVALID = 20  # messages

Message = dict[str, Any]
Pieces = asyncio.Queue[str | None]  # of one text; None ends it


def text_router(service: SpeechService) -> APIRouter:
    """Return the route."""
    router = APIRouter()

    @router.websocket("/v1/audio/speech/stream")
    async def stream(socket: WebSocket) -> None:
        if not same_origin(socket.headers):
            await socket.close()  # before it is accepted: 403
            return
        await socket.accept()
        await _Connection(socket, service).run()

    return router


class _Connection:
    """The texts of one client, which are spoken in turn."""

    def __init__(self, socket: WebSocket, service: SpeechService):
        self._socket, self._service = socket, service
        self._settings = SpeechSettings.model_validate({"response_format": "pcm"})
        self._texts: asyncio.Queue[tuple[Pieces, SpeechSettings]] = asyncio.Queue()
        self._pieces: Pieces | None = None  # of the text that is arriving
        self._length = 0  # characters of it

    async def run(self) -> None:
        """Process messages until the client goes; then what it requested is cancelled."""
        tasks = [asyncio.create_task(self._receive()), asyncio.create_task(self._speak_all())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _receive(self) -> None:
        invalid = 0
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            data = message.get("text") or message.get("bytes") or ""
            if len(data) > MAX_MESSAGE:
                await self._close(TOO_BIG)
                return
            try:
                if not self._process(data):
                    await self._close(1000)
                    return
            except InputError as error:
                await self._refuse(error)
                invalid += 1
                if invalid > MAX_INVALID:
                    await self._close(POLICY)
                    return

    def _process(self, data: str | bytes) -> bool:
        """Process a message; return whether the session continues."""
        message = _parse(data)
        match message.get("type"):
            case "session.config":
                self._configure(message)
            case "input.text":
                self._add(message.get("text"))
            case "input.done":
                self._pieces_of_text().put_nowait(None)
                self._pieces = None
            case "session.close":
                return False
            case kind:
                raise InputError(f"type '{kind!s:.40}': no such message", code="unknown_name")
        return True

    def _configure(self, message: Message) -> None:
        if self._pieces is not None:
            raise InputError(
                "session.config: comes within a text; send input.done first", code="conflict"
            )
        fields = message.get("session", message)  # some clients nest them
        if not isinstance(fields, dict):
            raise InputError("session: must be an object", code="invalid_value")
        given = {key: value for key, value in fields.items() if key != "type"}
        known = self._settings.model_dump() | given
        settings = parse(SpeechSettings, known, "session.config")
        self._service.voices.resolve(settings.voice, settings.role)
        self._settings = settings

    def _pieces_of_text(self) -> Pieces:
        """The queue of the text that is arriving, which begins with its first piece."""
        if self._pieces is None:
            if self._texts.qsize() >= MAX_WAITING:
                raise InputError("input: too many texts wait; send them later", code="unusable")
            self._pieces, self._length = asyncio.Queue(), 0
            self._texts.put_nowait((self._pieces, self._settings))
        return self._pieces

    def _add(self, piece: Any) -> None:
        if not isinstance(piece, str):
            raise InputError("text: must be a string", code="invalid_value")
        pieces = self._pieces_of_text()
        self._length += len(piece)
        if self._length > MAX_TEXT:
            raise InputError(f"text: has more than {MAX_TEXT} characters", code="wrong_length")
        pieces.put_nowait(piece)

    async def _speak_all(self) -> None:
        index = 0
        with suppress(WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):  # it is gone
            while True:
                pieces, settings = await self._texts.get()
                await self._speak(pieces, settings, index)
                index += 1

    async def _speak(self, pieces: Pieces, settings: SpeechSettings, index: int) -> None:
        """Send the audio of a text."""
        place = {"utterance_index": index, "sentence_index": 0}
        rate = self._service.engine.tts.sample_rate
        encoder = StreamEncoder(settings.response_format, rate, settings.sample_rate)
        sent, failed = 0, False
        chunks = self._service.speak_pieces(_arriving(pieces), settings, client_of(self._socket))
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    if not sent:
                        start = {"type": "audio.start", "format": settings.response_format}
                        await self._send({**start, "sample_rate": settings.sample_rate, **place})
                    sent += await self._send_bytes(
                        await asyncio.to_thread(encoder.push, chunk.samples)
                    )
        except (WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
            raise
        except Exception as error:
            failed = True
            await self._refuse(error)
        if sent:
            sent += await self._send_bytes(encoder.finish())
            await self._send({"type": "audio.done", **place, "total_bytes": sent, "error": failed})
        done = {"type": "session.done", "utterance_index": index, "total_sentences": int(sent > 0)}
        await self._send(done)

    async def _refuse(self, error: Exception) -> None:
        found = as_api_error(error)
        body = error_body(found.status, str(found), found.code, found.param)
        await self._send({"type": "error", "message": str(found), **body})

    async def _send(self, message: Message) -> None:
        await asyncio.wait_for(self._socket.send_text(json.dumps(message)), SEND_TIMEOUT)

    async def _send_bytes(self, data: bytes) -> int:
        """Send audio; return the number of bytes."""
        if data:
            await asyncio.wait_for(self._socket.send_bytes(data), SEND_TIMEOUT)
        return len(data)

    async def _close(self, code: int) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code)


async def _arriving(pieces: Pieces) -> AsyncIterator[str]:
    while (piece := await pieces.get()) is not None:
        yield piece


def _parse(data: str | bytes) -> Message:
    """Return a message as an object; raises InputError."""
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError("message: is not JSON", code="damaged") from error
    if not isinstance(message, dict):
        raise InputError("message: must be an object", code="invalid_value")
    return message
