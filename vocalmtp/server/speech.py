"""The routes that speak: one text as audio or events, a batch, and audio with word times."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vocalmtp.audio.io import Audio
from vocalmtp.audio.stream_encoder import MEDIA_TYPES, StreamEncoder
from vocalmtp.server.errors import APIError, as_api_error, error_body
from vocalmtp.server.schemas import SpeechRequest, SpeechSettings
from vocalmtp.server.security import client_of
from vocalmtp.server.service import SpeechService

SSE = "text/event-stream"
Chunks = AsyncGenerator[Audio]


def speech_router(service: SpeechService) -> APIRouter:
    """Return the routes that speak texts."""
    router = APIRouter(tags=["speech"])

    @router.post(
        "/v1/audio/speech",
        response_class=StreamingResponse,
        responses={200: {"content": {kind: {} for kind in (*MEDIA_TYPES.values(), SSE)}}},
    )
    async def speech(body: SpeechRequest, request: Request) -> StreamingResponse:
        """Speak a text. The audio leaves while it is made, in every format."""
        chunks = await begin(service.speak(body.input, body, client_of(request)), request)
        encoder = make_encoder(service, body)
        if body.stream_format == "sse":
            return ClosingResponse(_events(chunks, encoder, body.input), SSE)
        return ClosingResponse(encode(chunks, encoder), MEDIA_TYPES[body.response_format])

    return router


class ClosingResponse(StreamingResponse):
    """A stream whose source is closed with the response, however that ends."""

    def __init__(self, source: AsyncGenerator[bytes], media_type: str):
        super().__init__(source, media_type=media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        async with aclosing(self._source):
            await super().__call__(scope, receive, send)


async def begin(chunks: Chunks, request: Request) -> Chunks:
    """Wait for the first chunk, so that an error before it has a status; return all chunks.

    Raises:
        APIError: the client has gone.

    """
    first = asyncio.ensure_future(anext(chunks, None))
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((first, gone), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            raise APIError(499, "the client has gone", "client_gone")
        return _with_first(first.result(), chunks)
    finally:
        gone.cancel()
        if not first.done():
            first.cancel()


async def _disconnect(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _with_first(first: Audio | None, chunks: Chunks) -> Chunks:
    async with aclosing(chunks):
        if first is not None:
            yield first
            async for chunk in chunks:
                yield chunk


def make_encoder(service: SpeechService, settings: SpeechSettings) -> StreamEncoder:
    """Return the encoder of a response."""
    rate = service.engine.tts.sample_rate
    return StreamEncoder(settings.response_format, rate, settings.sample_rate)


async def encode(chunks: Chunks, encoder: StreamEncoder) -> AsyncGenerator[bytes]:
    """Yield the bytes of a stream."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if data := await asyncio.to_thread(encoder.push, chunk.samples):
                yield data
        yield encoder.finish()


async def _events(chunks: Chunks, encoder: StreamEncoder, text: str) -> AsyncGenerator[bytes]:
    """Yield server-sent events: the audio, and the usage at the end."""
    seconds = 0.0
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                seconds += chunk.duration
                if data := await asyncio.to_thread(encoder.push, chunk.samples):
                    yield _event(_delta(data))
            if data := encoder.finish():
                yield _event(_delta(data))
    except Exception as error:
        found = as_api_error(error)
        body = error_body(found.status, str(found), found.code, found.param)
        yield _event({"type": "error", **body})
        return
    yield _event({"type": "speech.audio.done", "usage": usage(text, seconds)})


def _delta(data: bytes) -> dict[str, Any]:
    audio = base64.b64encode(data).decode()
    return {"type": "speech.audio.delta", "audio": audio, "delta": audio}


def _event(fields: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def usage(text: str, seconds: float) -> dict[str, int]:
    """Return the usage of a request: its characters, and 20 tokens a second of audio."""
    tokens = {"input_tokens": len(text), "output_tokens": round(20 * seconds)}
    return tokens | {"total_tokens": sum(tokens.values())}
