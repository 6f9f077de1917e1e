"""The Realtime interface with programs of others: openai-python, and the Agents SDK under Node."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")
pytest.importorskip("openai", reason="needs the extra 'test'")

from helpers.chat_fakes import ScriptedLLM, detect_by_level, silence, tone
from helpers.chat_server import serving
from helpers.waiting import wait_until
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed
from websockets.sync import client

from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.io import resample
from vocalmtp.server.realtime.socket import MAX_MESSAGE
from vocalmtp.server.state import ServerState

NODE = os.environ.get("VOCALMTP_NODE_MODULES")  # a folder where npm installed the SDK
SCRIPT = Path(__file__).parent / "agents.mjs"
EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
TEXT = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
TRANSCRIBED = {"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}


@pytest.fixture
def state(make_state: Callable[..., ServerState], monkeypatch: pytest.MonkeyPatch) -> ServerState:
    detect_by_level(monkeypatch)
    return make_state(llm=ScriptedLLM("Good morning. ", "How are you?"))


@pytest.fixture
def port(state: ServerState) -> Iterator[int]:
    with serving(state, page=False) as found:
        yield found


def as_audio(*parts: np.ndarray) -> str:
    samples = resample(np.concatenate(parts), 16_000, 24_000)
    return base64.b64encode(to_pcm(samples)).decode()


def converse(port: int, *sent: Callable[[Any], Any], until: str = "response.done") -> list[Any]:
    """The events of openai-python, all of which have to be of its types."""

    async def run() -> list[Any]:
        openai = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        seen = []
        async with openai.realtime.connect(model="gpt-realtime") as connection:
            for send in sent:
                await send(connection)
            while not seen or seen[-1].type != until:
                data = json.loads(await asyncio.wait_for(connection.recv_bytes(), 60))
                seen.append(EVENT.validate_python(data))
                assert seen[-1].type == data["type"]  # not another member of the union
        return seen

    return asyncio.run(run())


def test_openai_python_writes(port):
    seen = converse(
        port,
        lambda c: c.session.update(session={"type": "realtime", "instructions": "Be brief."}),
        lambda c: c.conversation.item.create(item=TEXT),
        lambda c: c.response.create(),
    )
    (message,) = seen[-1].response.output
    assert message.content[0].transcript == "Good morning. How are you?"
    audio = [event for event in seen if event.type == "response.output_audio.delta"]
    assert sum(len(base64.b64decode(event.delta)) for event in audio) > 4800


def test_openai_python_speaks(port):
    audio = as_audio(silence(0.5), tone(0.5), silence(0.8))
    seen = converse(
        port,
        lambda c: c.session.update(session=TRANSCRIBED),
        lambda c: c.input_audio_buffer.append(audio=audio),
    )
    kind = "conversation.item.input_audio_transcription.completed"
    (transcript,) = [event for event in seen if event.type == kind]
    assert transcript.transcript == "5 tenths"
    assert seen[-1].response.status == "completed"


def test_two_clients_at_once_do_not_mix(port):
    async def ask(text: str) -> str:
        openai = AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        async with openai.realtime.connect(model="m") as connection:
            part = [{"type": "input_text", "text": text}]
            item = {"type": "message", "role": "user", "content": part}
            await connection.conversation.item.create(item=item)
            await connection.response.create()
            async for event in connection:
                if event.type == "conversation.item.added" and event.item.role == "user":
                    heard = event.item.content[0].text
                if event.type == "response.done":
                    return heard
        return ""

    async def both() -> list[str]:
        return await asyncio.gather(ask("one"), ask("two"))

    assert asyncio.run(both()) == ["one", "two"]


@pytest.mark.skipif(
    NODE is None or shutil.which("node") is None,
    reason="VOCALMTP_NODE_MODULES names no folder with @openai/agents-realtime, or Node is missing",
)
def test_the_agents_sdk_under_node(port, tmp_path):
    shutil.copy(SCRIPT, tmp_path)
    (tmp_path / "node_modules").symlink_to(Path(NODE or "").resolve())
    command = ["node", SCRIPT.name, f"ws://127.0.0.1:{port}/v1/realtime"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["bytes"] > 4800
    assert result["history"] == [
        ["user", "completed", ["Hi."]],
        ["assistant", "completed", ["Good morning. How are you?"]],
    ]


# -- broken clients ------------------------------------------------------------------------------


@pytest.fixture
def connect(port: int) -> Iterator[Callable[..., client.ClientConnection]]:
    """Opens sockets, which are closed at the end."""
    with ExitStack() as stack:

        def open_socket(first: str = "session.created", **options: Any) -> client.ClientConnection:
            address = f"ws://127.0.0.1:{port}/v1/realtime?model=m"
            socket = stack.enter_context(client.connect(address, **options))
            assert json.loads(socket.recv(60))["type"] == first
            return socket

        yield open_socket


def test_a_client_that_goes_cancels_its_answer(connect, state):
    llm = next(iter(state.responders.values())).llm
    llm.pieces = ("A long answer, which goes on and on. " * 90,)
    socket = connect()
    socket.send(json.dumps({"type": "conversation.item.create", "item": TEXT}))
    socket.send('{"type": "response.create"}')
    while json.loads(socket.recv(60))["type"] != "response.output_audio.delta":
        pass
    socket.close_socket()  # without a good-bye
    wait_until(lambda: not state.speech.engine.active)
    wait_until(lambda: not state.active)


@pytest.mark.parametrize("data", ["{" * 1000, b"\xff\x00" * 1000, "", b""])
def test_garbage_ends_only_its_own_connection(port, connect, data):
    socket = connect()
    with pytest.raises(ConnectionClosed):
        for _ in range(100):
            socket.send(data)
            assert json.loads(socket.recv(60))["type"] == "error"
    assert converse(port, until="session.created")


def test_a_huge_message_ends_only_its_own_connection(port, connect):
    socket = connect(max_size=None)
    with pytest.raises(ConnectionClosed):
        socket.send("x" * (MAX_MESSAGE + 1))
        socket.recv(60)
        socket.recv(60)
    assert converse(port, until="session.created")


def test_sessions_are_limited(connect, state):
    state.limits = state.limits.model_copy(update={"sessions": 1})
    first = connect()
    connect("error")
    first.close()
    wait_until(lambda: not state.active)
    connect()


def test_the_subprotocol_of_browsers_is_accepted(connect):
    socket = connect(subprotocols=["realtime", "openai-insecure-api-key.none"])
    assert socket.subprotocol == "realtime"
