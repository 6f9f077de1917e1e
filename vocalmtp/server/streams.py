"""Responses that are sent while their audio is made, and that end with their client."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from vocalmtp.audio.io import Audio, join
from vocalmtp.audio.stream_encoder import StreamEncoder
from vocalmtp.server.errors import APIError
from vocalmtp.server.schemas import SpeechSettings
from vocalmtp.server.service import SpeechService

SSE = "text/event-stream"
Chunks = AsyncGenerator[Audio]
T = TypeVar("T")


class ClosingResponse(StreamingResponse):
    """A stream whose source is closed with the response, however that ends."""

    def __init__(self, source: AsyncGenerator[bytes], media_type: str, status: int = 200):
        super().__init__(source, status, media_type=media_type)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        async with aclosing(self._source):
            await super().__call__(scope, receive, send)


async def begin(items: AsyncGenerator[T], request: Request) -> AsyncGenerator[T]:
    """Wait for the first item, so that an error before it has a status; return all items.

    Raises:
        APIError: the client has gone.

    """
    first = asyncio.ensure_future(anext(items, None))
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((first, gone), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            raise APIError(499, "the client has gone", "client_gone")
        return _with_first(first.result(), items)
    finally:
        gone.cancel()
        if not first.done():
            first.cancel()


async def _disconnect(request: Request) -> None:
    """Return when the client has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _with_first(first: T | None, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
    async with aclosing(items):
        if first is not None:
            yield first
            async for item in items:
                yield item


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


async def whole(chunks: Chunks, encoder: StreamEncoder) -> tuple[bytes, Audio]:
    """Return all bytes of a stream, and its audio with the words."""
    parts, data = [], b""
    async with aclosing(chunks):
        async for chunk in chunks:
            parts.append(chunk)
            data += await asyncio.to_thread(encoder.push, chunk.samples)
    return data + encoder.finish(), join(parts)


def sse_event(fields: dict[str, Any]) -> bytes:
    """Return a server-sent event."""
    return f"data: {json.dumps(fields)}\n\n".encode()
