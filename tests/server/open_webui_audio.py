"""Open WebUI's own functions against the server whose address is the argument; prints what they return.

Run by the Python of an environment with open-webui, which shares none with this package: it pins its
versions of FastAPI and pydantic.
"""

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from open_webui.routers import audio
from open_webui.utils.session_pool import close_session

SETTINGS = {
    "audio.tts.engine": "openai",
    "audio.tts.model": "tts-1",
    "audio.tts.voice": "alloy",
    "audio.tts.openai.api_key": "any",
    "audio.stt.engine": "openai",
    "audio.stt.model": "whisper-1",
    "audio.stt.openai.api_key": "any",
}


class Settings:
    """In the place of the settings in its database."""

    @staticmethod
    async def get(name: str) -> str | None:
        return SETTINGS.get(name)


async def publish_nothing(*_, **__) -> None:
    pass


async def main(url: str, recording: str) -> None:
    SETTINGS["audio.tts.openai.api_base_url"] = SETTINGS["audio.stt.openai.api_base_url"] = url
    audio.Config, audio.publish_event = Settings, publish_nothing
    user = SimpleNamespace(role="admin", id="1")

    async def body() -> bytes:
        return json.dumps({"input": "Oh. Hi!", "voice": "ann"}).encode()

    request = SimpleNamespace(body=body, app=SimpleNamespace(state=SimpleNamespace()))
    spoken = await audio.speech(request, user)
    folder = str(Path(recording).parent)
    heard = await audio._transcribe_openai(
        request, recording, "a.wav", ["en"], folder, "transcript", user
    )
    found = {
        "models": [model["id"] for model in await audio.get_available_models(request)],
        "voices": await audio.get_available_voices(request),
        "file": str(spoken.path),
        "text": heard["text"],
    }
    print(json.dumps(found))
    await close_session()


asyncio.run(main(*sys.argv[1:]))
