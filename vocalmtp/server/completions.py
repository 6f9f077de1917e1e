"""POST /v1/chat/completions: passed on to the language model, and spoken if audio is requested."""

import asyncio
import base64
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from vocalmtp.audio.stream_encoder import StreamEncoder
from vocalmtp.chat.answer_stream import AnswerError, AnswerSink, TextSink
from vocalmtp.chat.llm import LLM
from vocalmtp.chat.openai_chat import OpenAIChat
from vocalmtp.decoding.streaming import one_thread
from vocalmtp.optional import require
from vocalmtp.server.errors import APIError, error_event
from vocalmtp.server.schemas import AudioOptions, CompletionRequest, SpeechSettings
from vocalmtp.server.security import client_of
from vocalmtp.server.service import SpeechService
from vocalmtp.server.streams import SSE, ClosingResponse, begin, sse_event

MAX_ANSWER = 16_384  # characters
TIMEOUT = 120.0  # seconds between two parts of an answer of the endpoint
DONE = b"data: [DONE]\n\n"

Parts = AsyncGenerator[tuple[str, bytes]]


def completions_router(service: SpeechService, llm: LLM) -> APIRouter:
    """Return the route, which answers by `llm`."""
    router = APIRouter(tags=["chat"])

    @router.post("/v1/chat/completions", response_model=None)
    async def completions(body: CompletionRequest, request: Request) -> Response:
        """Answer a conversation, in text and, by `modalities`, in speech."""
        if isinstance(llm, OpenAIChat) and "audio" not in body.modalities:
            return await _forward(llm, await request.json())
        answer = _Answer(llm, body, service, client_of(request))
        parts = await begin(answer.parts(), request)
        if body.stream:
            return ClosingResponse(answer.events(parts), SSE)
        return JSONResponse(await answer.whole(parts))

    return router


async def _forward(llm: OpenAIChat, body: dict[str, Any]) -> Response:
    """Pass a request on to the endpoint, and its response back."""
    httpx = require("httpx")
    client = httpx.AsyncClient(headers=llm.headers, timeout=TIMEOUT)
    try:
        sent = client.build_request("POST", llm.url, json=body | {"model": llm.model})
        response = await client.send(sent, stream=True)
    except httpx.HTTPError as error:
        await client.aclose()
        raise APIError(502, f"{llm.name} cannot be reached", "llm_unreachable") from error

    async def content() -> AsyncGenerator[bytes]:
        try:
            async for data in response.aiter_bytes():
                yield data
        finally:
            await response.aclose()
            await client.aclose()

    media_type = response.headers.get("content-type", "application/json")
    return ClosingResponse(content(), media_type, response.status_code)


class _Answer:
    """One answer of a language model, as text, and as audio if the request wants that."""

    def __init__(self, llm: LLM, body: CompletionRequest, service: SpeechService, client: str):
        self._llm, self._body, self._service, self._client = llm, body, service, client
        self._spoken = "audio" in body.modalities
        self._options = body.audio or AudioOptions()
        self._id = f"chatcmpl-{secrets.token_hex(12)}"
        self._audio_id = f"audio_{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._messages = [message.as_message() for message in body.messages]
        self._written: list[str] = []  # pieces of the answer so far

    async def parts(self) -> Parts:
        """Yield the answer in pieces: new text, and new bytes of the encoded audio."""
        if not self._spoken:
            with self._service.admitted(self._client):
                async with aclosing(self._pieces()) as pieces:
                    async for piece in pieces:
                        yield piece, b""
            return
        settings = SpeechSettings.model_validate({"voice": self._options.voice})
        rate = self._service.engine.tts.sample_rate
        encoder = StreamEncoder(self._options.stream_format, rate, settings.sample_rate)
        reported = 0
        async with (
            aclosing(self._pieces()) as pieces,
            aclosing(self._service.speak_pieces(pieces, settings, self._client)) as chunks,
        ):
            async for chunk in chunks:
                text = "".join(self._written[reported:])
                reported = len(self._written)
                yield text, await asyncio.to_thread(encoder.push, chunk.samples)
        yield "".join(self._written[reported:]), encoder.finish()

    async def whole(self, parts: Parts) -> dict[str, Any]:
        """Return the answer as one object."""
        data = b""
        async with aclosing(parts):
            async for _, piece in parts:
                data += piece
        text = "".join(self._written)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self._spoken:
            audio = {"data": _encoded(data), "transcript": text, **self._audio_fields()}
            message |= {"content": None, "audio": audio}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return self._fields("chat.completion") | {"choices": [choice], "usage": self._usage()}

    async def events(self, parts: Parts) -> AsyncGenerator[bytes]:
        """Yield the answer as server-sent events."""
        yield self._event({"role": "assistant", "content": ""})
        try:
            async with aclosing(parts):
                async for text, data in parts:
                    yield self._event(self._delta(text, data))
        except Exception as error:  # the status was sent already
            yield sse_event(error_event(error))
            return
        yield self._event({}, "stop")
        yield DONE

    def _delta(self, text: str, data: bytes) -> dict[str, Any]:
        if not self._spoken:
            return {"content": text}
        audio = {"transcript": text, "data": _encoded(data)}
        given = {key: value for key, value in audio.items() if value}
        return {"audio": self._audio_fields() | given}

    async def _pieces(self) -> AsyncGenerator[str]:
        """Yield the text as it is written, in a thread of its own."""
        loop, pool, sink = (
            asyncio.get_running_loop(),
            one_thread("llm"),
            TextSink(MAX_ANSWER, live=True),
        )
        pieces = self._llm.write(self._messages, cast(AnswerSink, sink))
        try:
            while (piece := await loop.run_in_executor(pool, next, pieces, None)) is not None:
                self._written.append(piece)
                yield piece
        except AnswerError as error:
            raise APIError(502, str(error), error.code) from error
        finally:
            sink.cancel()
            pool.shutdown(wait=False)

    def _audio_fields(self) -> dict[str, Any]:
        return {"id": self._audio_id, "expires_at": self._created}

    def _fields(self, kind: str) -> dict[str, Any]:
        model = self._body.model or self._llm.name
        return {"id": self._id, "object": kind, "created": self._created, "model": model}

    def _usage(self) -> dict[str, int]:
        prompt = sum(self._llm.count_tokens(message.text) for message in self._messages)
        answer = self._llm.count_tokens("".join(self._written))
        total = prompt + answer
        return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": total}

    def _event(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return sse_event(self._fields("chat.completion.chunk") | {"choices": [choice]})


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
