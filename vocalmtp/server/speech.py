"""The routes that speak: one text as audio or events, a batch, and audio with word times."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from vocalmtp.audio.io import Word
from vocalmtp.audio.stream_encoder import MEDIA_TYPES, StreamEncoder
from vocalmtp.server.errors import error_event
from vocalmtp.server.schemas import (
    BatchItem,
    BatchRequest,
    CaptionedRequest,
    SpeechRequest,
    SpeechSettings,
)
from vocalmtp.server.security import client_of
from vocalmtp.server.service import SpeechService
from vocalmtp.server.streams import (
    SSE,
    Chunks,
    ClosingResponse,
    begin,
    encode,
    make_encoder,
    sse_event,
    whole,
)

JSON_LINES = "application/x-ndjson"


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

    @router.post("/v1/audio/speech/batch")
    async def batch(body: BatchRequest, request: Request) -> dict[str, Any]:
        """Speak up to 32 texts together. Each has a status of its own."""
        client = client_of(request)
        results = await asyncio.gather(
            *(_batch_result(service, n, item, client) for n, item in enumerate(body.items))
        )
        succeeded = sum(result["status"] == "success" for result in results)
        counts = {"succeeded": succeeded, "failed": len(results) - succeeded}
        return {"results": results, "total": len(results), **counts}

    @router.post(
        "/dev/captioned_speech",
        response_class=StreamingResponse,
        responses={200: {"content": {JSON_LINES: {}}}},
    )
    async def captioned(body: CaptionedRequest, request: Request) -> StreamingResponse:
        """Speak a text, with the times of its words in seconds from the start."""
        chunks = await begin(service.speak(body.input, body, client_of(request)), request)
        encoder = make_encoder(service, body)
        if body.stream:
            return ClosingResponse(_captions(chunks, encoder, body), JSON_LINES)
        data, audio = await whole(chunks, encoder)
        caption = _caption(data, audio.words, 0.0, body)

        async def once() -> AsyncGenerator[bytes]:
            yield json.dumps(caption).encode()

        return ClosingResponse(once(), "application/json")

    return router


async def _events(chunks: Chunks, encoder: StreamEncoder, text: str) -> AsyncGenerator[bytes]:
    """Yield server-sent events: the audio, and the usage at the end."""
    seconds = 0.0
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                seconds += chunk.duration
                if data := await asyncio.to_thread(encoder.push, chunk.samples):
                    yield sse_event(_delta(data))
            if data := encoder.finish():
                yield sse_event(_delta(data))
    except Exception as error:  # the status was sent already
        yield sse_event(error_event(error))
        return
    yield sse_event({"type": "speech.audio.done", "usage": usage(text, seconds)})


def _delta(data: bytes) -> dict[str, Any]:
    """The event of a piece of audio, under the key of OpenAI's and that of other clients."""
    audio = base64.b64encode(data).decode()
    return {"type": "speech.audio.delta", "audio": audio, "delta": audio}


def usage(text: str, seconds: float) -> dict[str, int]:
    """Return the usage of a request: characters of its text, and 20 tokens a second of audio."""
    tokens = {"input_tokens": len(text), "output_tokens": round(20 * seconds)}
    return tokens | {"total_tokens": sum(tokens.values())}


async def _batch_result(
    service: SpeechService, index: int, item: BatchItem, client: str
) -> dict[str, Any]:
    try:
        encoder = make_encoder(service, item)
        data, _ = await whole(service.speak(item.input, item, client), encoder)
    except Exception as error:  # the other items go on
        return error_event(error) | {"index": index, "status": "error"}
    audio = base64.b64encode(data).decode()
    media_type = MEDIA_TYPES[item.response_format]
    return {"index": index, "status": "success", "audio_data": audio, "media_type": media_type}


async def _captions(
    chunks: Chunks, encoder: StreamEncoder, settings: SpeechSettings
) -> AsyncGenerator[bytes]:
    """Yield JSON lines: a piece of audio, and the words that have ended since the line before."""
    start = 0.0
    async with aclosing(chunks):
        async for chunk in chunks:
            data = await asyncio.to_thread(encoder.push, chunk.samples)
            if data or chunk.words:
                yield _line(_caption(data, chunk.words, start, settings))
            start += chunk.duration
        yield _line(_caption(encoder.finish(), (), start, settings))


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def _caption(
    data: bytes, words: Sequence[Word], start: float, settings: SpeechSettings
) -> dict[str, Any]:
    """The caption of a piece of audio that begins `start` seconds after the first."""
    times = [
        {
            "word": word.text,
            "start_time": round(start + word.start, 3),
            "end_time": round(start + word.end, 3),
        }
        for word in words
    ]
    audio = base64.b64encode(data).decode()
    return {"audio": audio, "audio_format": settings.response_format, "timestamps": times}
