"""The routes that take recordings: transcription, and voices of clients."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse

from vocalmtp.audio.io import Word
from vocalmtp.audio.timestamps import format_words, phrases
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import Recognizer
from vocalmtp.server.security import client_of
from vocalmtp.server.service import SpeechService
from vocalmtp.server.uploads import transcribe

TRANSCRIPTIONS = 2  # at a time; more wait
TranscriptFormat = Literal["json", "text", "srt", "vtt", "verbose_json"]
Granularity = Literal["word", "segment"]
TIMED = ("srt", "vtt", "verbose_json")


def recordings_router(service: SpeechService, recognizer: Recognizer) -> APIRouter:
    """Return the routes that transcribe recordings, and make voices of them."""
    router = APIRouter(tags=["recordings"])
    turns = asyncio.Semaphore(TRANSCRIPTIONS)

    @router.post("/v1/audio/transcriptions", response_model=None)
    async def transcriptions(
        request: Request,
        file: Annotated[UploadFile, File()],
        model: Annotated[str, Form(description="Without effect: there is one recognizer.")] = "",
        language: Annotated[str, Form()] = "en",
        response_format: Annotated[TranscriptFormat, Form()] = "json",
        granularities: Annotated[
            list[Granularity] | None, Form(alias="timestamp_granularities[]")
        ] = None,
    ) -> Response:
        """Transcribe a recording, with the times of its words in the formats that have times."""
        if not language.lower().startswith("en"):
            raise InputError(f"language '{language[:20]}': only en", code="unsupported")
        recording, longest = await file.read(), service.limits.seconds
        times = response_format in TIMED
        with service.admitted(client_of(request)):
            async with turns:
                text, seconds, words = await asyncio.to_thread(
                    transcribe, recognizer, recording, file.filename or "", longest, times
                )
        whole = words or [Word(text, 0.0, seconds)]
        if response_format in ("srt", "vtt"):
            return PlainTextResponse(format_words(whole, response_format))
        if response_format == "text":
            return PlainTextResponse(f"{text}\n")
        if response_format == "json":
            return JSONResponse({"text": text})
        return JSONResponse(_verbose(text, seconds, words, granularities or ["segment"]))

    @router.get("/v1/audio/voices")
    def list_voices() -> dict[str, Any]:
        """List the voices: the model's, those of clients, and OpenAI's names as aliases."""
        return {"voices": service.voices.list()}

    @router.post("/v1/audio/voices", status_code=201)
    async def create_voice(
        name: Annotated[str, Form(min_length=1, max_length=100)],
        consent: Annotated[str, Form(max_length=500, description="How the speaker agreed.")],
        audio_sample: Annotated[UploadFile, File(description="1 to 30 s of one person's speech.")],
    ) -> dict[str, str]:
        """Make a voice of a recording. Only of people who agreed to it."""
        recording, file_name = await audio_sample.read(), audio_sample.filename or ""
        async with turns:
            id = await asyncio.to_thread(service.voices.create, name, consent, recording, file_name)
        return {"id": id, "name": name, "object": "audio.voice"}

    @router.delete("/v1/audio/voices/{voice}")
    def delete_voice(voice: str) -> dict[str, Any]:
        """Delete a voice that a client made."""
        service.voices.delete(voice)
        return {"id": voice, "object": "audio.voice", "deleted": True}

    return router


def _verbose(
    text: str, seconds: float, words: list[Word], granularities: list[Granularity]
) -> dict[str, Any]:
    """The verbose form of a transcript; segments are phrases."""
    found: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(seconds, 3),
        "text": text,
    }
    if "word" in granularities:
        found["words"] = [{"word": w.text, "start": w.start, "end": w.end} for w in words]
    if "segment" in granularities:
        segments = phrases(words) if words else [Word(text, 0.0, seconds)]
        found["segments"] = [
            {"id": number, "start": s.start, "end": s.end, "text": s.text}
            for number, s in enumerate(segments)
        ]
    return found
