"""Programs of other people against a real server, each as its users call it; what is absent is skipped.

The openai package is in the extra "test"; `pytest -m clients` runs the others where they are installed.
"""

import asyncio
import io
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

openai = pytest.importorskip("openai", reason="needs the extra 'test'")

from helpers.chat_fakes import ScriptedLLM, tone  # noqa: E402
from helpers.chat_server import serving  # noqa: E402
from helpers.waiting import wait_until  # noqa: E402

from vocalmtp.audio.io import Audio, join, read_audio  # noqa: E402
from vocalmtp.server.state import ServerState  # noqa: E402

TEXT = "Oh. Hi!"
LONG = "One two three four. " * 40


@pytest.fixture
def state(make_state, tmp_path) -> ServerState:
    return make_state(voices=tmp_path, llm=ScriptedLLM("Oh. ", "Hi!"))


@pytest.fixture
def url(state: ServerState) -> Iterator[str]:
    """The address of a server in a thread."""
    with serving(state, page=False) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def sdk(url: str) -> Iterator["openai.OpenAI"]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0) as client:
        yield client


def expected_pcm(tts) -> int:
    """Samples of TEXT at 24 kHz."""
    return round(join(list(tts.stream(TEXT, "ann"))).duration * 24_000)


# -- openai ----------------------------------------------------------------------------------------


def test_openai_speaks_whole_and_streamed(sdk, tts):
    arguments = {"model": "tts-1", "voice": "ann", "input": TEXT, "response_format": "pcm"}
    whole = sdk.audio.speech.create(**arguments).content
    assert len(whole) // 2 == pytest.approx(expected_pcm(tts), abs=2)
    with sdk.audio.speech.with_streaming_response.create(**arguments) as response:
        pieces = list(response.iter_bytes())
    assert len(pieces) > 2 and b"".join(pieces) == whole
    with sdk.audio.speech.with_streaming_response.create(
        **arguments, stream_format="sse"
    ) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line]
    assert events[-1]["type"] == "speech.audio.done" and events[-1]["usage"]


def test_openai_speaks_in_an_event_loop_many_at_a_time(url, tts):
    async def speak() -> list[bytes]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:

            async def one() -> bytes:
                data = b""
                async with client.audio.speech.with_streaming_response.create(
                    model="gpt-4o-mini-tts", voice="alloy", input=TEXT, response_format="wav"
                ) as response:
                    async for piece in response.iter_bytes():
                        data += piece
                return data

            return await asyncio.gather(*(one() for _ in range(6)))

    for data in asyncio.run(speak()):
        assert data[:4] == b"RIFF" and len(data) > 24_000


def test_openai_errors_have_their_types(sdk):
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.audio.speech.create(model="tts-1", voice="nobody", input=TEXT)
    assert (caught.value.code, caught.value.param) == ("unknown_name", "voice")
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.audio.speech.create(model="gpt-9", voice="ann", input=TEXT)
    assert missing.value.code == "model_not_found"


def test_openai_lists_models_transcribes_and_chats(sdk):
    assert "tts-1" in {model.id for model in sdk.models.list()}
    file = io.BytesIO()
    Audio(tone(0.5), 16_000).save(file)
    found = sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", file.getvalue()))
    assert found.text == "5 tenths"
    verbose = sdk.audio.transcriptions.create(
        model="whisper-1",
        file=("a.wav", file.getvalue()),
        response_format="verbose_json",
        timestamp_granularities=["word"],
    )
    assert [word.word for word in verbose.words] == ["5", "tenths"]
    messages = [{"role": "user", "content": "Who?"}]
    assert sdk.chat.completions.create(model="any", messages=messages).choices[0].message.content
    spoken = sdk.chat.completions.create(
        model="any",
        messages=messages,
        modalities=["text", "audio"],
        audio={"voice": "ann", "format": "wav"},
    )
    assert spoken.choices[0].message.audio.transcript == "Oh. Hi!"


# -- other programs --------------------------------------------------------------------------------


@pytest.mark.clients
def test_litellm_speaks(url, monkeypatch):
    litellm = pytest.importorskip("litellm")
    response = litellm.speech(
        model="openai/tts-1", input=TEXT, voice="alloy", api_base=f"{url}/v1", api_key="any"
    )
    assert len(response.content) > 1000


@pytest.mark.clients
@pytest.mark.parametrize("model", ["tts-1", "gpt-4o-mini-tts"])
def test_livekit_speaks(url, tts, model):
    """The second model is streamed as events."""
    plugin = pytest.importorskip("livekit.plugins.openai")
    import aiohttp

    async def speak() -> int:
        async with aiohttp.ClientSession():
            voice = plugin.TTS(model=model, voice="ann", base_url=f"{url}/v1", api_key="any")
            voice.prewarm()
            samples = 0
            async with voice.synthesize(TEXT) as stream:
                async for event in stream:
                    assert event.frame.sample_rate == 24_000 and event.frame.num_channels == 1
                    samples += event.frame.samples_per_channel
            await voice.aclose()
            return samples

    assert asyncio.run(speak()) == pytest.approx(expected_pcm(tts), abs=4000)


@pytest.mark.clients
def test_pipecat_speaks(url, tts):
    pytest.importorskip("pipecat.services.openai.tts")
    from pipecat.frames.frames import EndFrame, TTSAudioRawFrame, TTSSpeakFrame
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.runner import PipelineRunner
    from pipecat.pipeline.task import PipelineParams, PipelineTask
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.services.openai.tts import OpenAITTSService

    samples: list[int] = []

    class Speaker(FrameProcessor):
        async def process_frame(self, frame, direction) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, TTSAudioRawFrame):
                assert (frame.sample_rate, frame.num_channels) == (24_000, 1)
                samples.append(len(frame.audio) // 2)
            await self.push_frame(frame, direction)

    async def speak() -> None:
        settings = OpenAITTSService.Settings(voice="alloy", model="tts-1")
        service = OpenAITTSService(api_key="any", base_url=f"{url}/v1", settings=settings)
        params = PipelineParams(audio_out_sample_rate=24_000)
        task = PipelineTask(Pipeline([service, Speaker()]), params=params)
        await task.queue_frames([TTSSpeakFrame(TEXT), EndFrame()])
        await PipelineRunner(handle_sigint=False).run(task)

    asyncio.run(asyncio.wait_for(speak(), 60))
    # pipecat may append silence
    assert expected_pcm(tts) - 100 <= sum(samples) <= expected_pcm(tts) + 3 * 24_000


@pytest.mark.clients
def test_open_webui_speaks_and_transcribes(url, tts, tmp_path):
    """OPEN_WEBUI_PYTHON names the Python of an environment in which open-webui is installed."""
    python = os.environ.get("OPEN_WEBUI_PYTHON")
    if not python:
        pytest.skip("OPEN_WEBUI_PYTHON is not set")
    Audio(tone(0.5), 16_000).save(tmp_path / "a.wav")
    script = Path(__file__).with_name("open_webui_audio.py")
    own = {"DATA_DIR": str(tmp_path), "WEBUI_SECRET_KEY": "any", "FROM_INIT_PY": "true"}
    command = [python, str(script), f"{url}/v1", str(tmp_path / "a.wav")]
    ran = subprocess.run(
        command,
        env=os.environ | own | {"PYTHONPATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert "tts-1" in found["models"] and {"ann", "alloy"} <= set(found["voices"])
    assert found["text"] == "5 tenths"
    assert len(read_audio(found["file"], 24_000)) == pytest.approx(expected_pcm(tts), abs=4000)


def test_request_of_sillytavern(url, tts, tmp_path):
    """Its provider "OpenAI Compatible" sends this, and passes the response to the browser."""
    fields = {"model": "tts-1", "input": TEXT, "voice": "alloy", "response_format": "mp3"}
    response = httpx.post(
        f"{url}/v1/audio/speech",
        json=fields | {"speed": 1},
        headers={"Authorization": "Bearer", "Content-Type": "application/json"},
    )
    assert response.headers["content-type"] == "audio/mpeg"
    (tmp_path / "a.mp3").write_bytes(response.content)
    assert len(read_audio(tmp_path / "a.mp3", 24_000)) == pytest.approx(expected_pcm(tts), abs=4000)


# -- clients that fail -----------------------------------------------------------------------------


def raw(url: str, data: bytes) -> socket.socket:
    """A connection that has sent `data`."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(data)
    return connection


def post(body: bytes, length: int | None = None) -> bytes:
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length or len(body)}"
    return head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + body


def test_clients_that_vanish_are_cancelled_and_others_are_served(url, state, sdk):
    body = json.dumps({"input": LONG, "response_format": "pcm"}).encode()
    connections = [raw(url, post(body)) for _ in range(5)]
    wait_until(lambda: state.speech.engine.active == 5)
    for number, connection in enumerate(connections):
        if number % 2:
            connection.recv(1000)  # in the middle of the stream
        connection.close()
    wait_until(lambda: state.speech.engine.active == 0)
    assert not state.speech.active
    assert sdk.audio.speech.create(model="tts-1", voice="ann", input=TEXT).content


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff" * 500 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        post(b'{"input": "a', length=1000),
        b"POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        post(b"", length=10_000_000),
    ],
)
def test_garbage_and_half_requests_leave_the_server_running(url, sdk, data):
    raw(url, data).close()
    assert sdk.models.list().data


def test_ten_megabytes_of_text_are_refused_at_once(url, sdk):
    with pytest.raises(openai.APIStatusError) as refused:
        sdk.audio.speech.create(model="tts-1", voice="ann", input="a" * 10_000_000)
    assert refused.value.status_code == 413
    assert sdk.models.list().data
