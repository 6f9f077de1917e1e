"""The page of `vocalmtp serve --page` beside other clients, and the Realtime interface in a browser."""

from collections.abc import Iterator

import httpx
import pytest
from helpers.chat_page import ask, wait_for_answer
from helpers.chat_server import serving_process

SPEECH = {"input": "One two three.", "voice": "heart", "response_format": "pcm"}
REALTIME = """() => new Promise((resolve, reject) => {
  const socket = new WebSocket(`ws://${location.host}/v1/realtime?model=any`);
  const types = []; let bytes = 0;
  const send = (event) => socket.send(JSON.stringify(event));
  socket.onerror = reject;
  socket.onopen = () => {
    const content = [{ type: "input_text", text: "Good morning." }];
    send({ type: "conversation.item.create", item: { type: "message", role: "user", content } });
    send({ type: "response.create" });
  };
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    types.push(event.type);
    if (event.type === "response.output_audio.delta") bytes += atob(event.delta).length;
    if (event.type === "error") reject(new Error(data));
    if (event.type === "response.done") { socket.close(); resolve([types, bytes]); }
  };
})"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server with the page, in a process of its own."""
    options = ("--page", "--llm", "echo", "--recognizer", "pocketsphinx")
    with serving_process(*options) as (_, port):
        yield f"http://127.0.0.1:{port}"


def test_page_is_one_client_among_others(browse, address):
    page = browse(address)
    alone = httpx.post(f"{address}/v1/audio/speech", json=SPEECH, timeout=120).content
    with httpx.stream("POST", f"{address}/v1/audio/speech", json=SPEECH, timeout=120) as response:
        ask(page, "Good morning.")
        beside = response.read()
    assert "Good morning" in wait_for_answer(page)
    assert len(beside) == len(alone) > 24_000


def test_realtime_in_a_browser(browse, address):
    types, size = browse(address).evaluate(REALTIME)
    assert types[0] == "session.created" and types[-1] == "response.done"
    assert "response.output_audio_transcript.delta" in types
    assert size > 12_000
