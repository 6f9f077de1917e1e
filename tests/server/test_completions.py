"""POST /v1/chat/completions: passed on to an endpoint, or answered in text and speech by us."""

import base64
import json

import pytest
from helpers.chat_fakes import ScriptedLLM, llm_failure
from helpers.llm_process import server_log
from helpers.speech_client import client_of, error_of

from vocalmtp.audio.io import join
from vocalmtp.chat.openai_chat import OpenAIChat

COMPLETIONS = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "Who?"}]}
SPOKEN = QUESTION | {"modalities": ["text", "audio"], "audio": {"voice": "ann", "format": "pcm16"}}


@pytest.fixture
def llm() -> ScriptedLLM:
    return ScriptedLLM("Oh. ", "Hi!")


@pytest.fixture
def answering(make_state, llm):
    return client_of(make_state(llm=llm))


def events(response) -> list[dict]:
    *lines, done = [line[6:] for line in response.text.split("\n\n") if line]
    assert done == "[DONE]"
    return [json.loads(line) for line in lines]


def test_answer_in_text(answering, llm):
    parts = [{"type": "text", "text": "Who?"}]
    messages = [{"role": "developer", "content": "Be short."}, {"role": "user", "content": parts}]
    found = answering.post(COMPLETIONS, json={"messages": messages}).json()
    assert found["choices"][0]["message"] == {"role": "assistant", "content": "Oh. Hi!"}
    assert found["usage"]["total_tokens"] == 3 + 2
    assert llm.requests == [[("system", "Be short."), ("user", "Who?")]]
    chunks = events(answering.post(COMPLETIONS, json=QUESTION | {"stream": True}))
    deltas = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(deltas) == "Oh. Hi!"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_answer_in_speech(answering, tts):
    message = answering.post(COMPLETIONS, json=SPOKEN).json()["choices"][0]["message"]
    assert message["content"] is None and message["audio"]["transcript"] == "Oh. Hi!"
    audio = base64.b64decode(message["audio"]["data"])
    seconds = join(list(tts.stream(iter(["Oh. ", "Hi!"]), "ann"))).duration
    assert len(audio) / 48_000 == pytest.approx(seconds, abs=0.01)
    chunks = events(answering.post(COMPLETIONS, json=SPOKEN | {"stream": True}))
    deltas = [chunk["choices"][0]["delta"].get("audio", {}) for chunk in chunks]
    assert "".join(delta.get("transcript", "") for delta in deltas) == "Oh. Hi!"
    assert b"".join(base64.b64decode(delta.get("data", "")) for delta in deltas) == audio


@pytest.mark.parametrize("fields", [QUESTION, SPOKEN])
def test_failing_language_model_is_a_502(make_state, fields):
    client = client_of(make_state(llm=ScriptedLLM(llm_failure())))
    assert error_of(client.post(COMPLETIONS, json=fields))[:2] == (502, "llm_failed")


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"messages": []}, "too_short", "messages"),
        ({"messages": [{"role": "nobody", "content": ""}]}, "literal_error", "messages.0.role"),
        ({"modalities": ["smell"]}, "literal_error", "modalities.0"),
        ({"audio": {"voice": "nobody"}}, "unknown_name", "voice"),
    ],
)
def test_invalid_requests_name_the_field(answering, changes, code, param):
    assert error_of(answering.post(COMPLETIONS, json=SPOKEN | changes)) == (400, code, param)


def test_text_is_passed_on_to_the_endpoint_with_all_its_keys(make_state, llm_url):
    client = client_of(make_state(llm=OpenAIChat(llm_url, "fine")))
    fields = QUESTION | {"model": "tts-1", "stream": True, "tools": [{"type": "function"}]}
    response = client.post(COMPLETIONS, json=fields)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "All is " in response.text and "[DONE]" in response.text
    sent = server_log(llm_url)["requests"][-1]
    assert sent["tools"] == fields["tools"] and sent["model"] == "fine"
    absent = OpenAIChat(llm_url, "absent")  # whose status is passed on too
    assert client_of(make_state(llm=absent)).post(COMPLETIONS, json=QUESTION).status_code == 404


def test_unreachable_endpoint_is_a_502(make_state):
    client = client_of(make_state(llm=OpenAIChat("http://127.0.0.1:9/v1", "fine")))
    for fields in (QUESTION, SPOKEN):
        assert error_of(client.post(COMPLETIONS, json=fields))[:2] == (502, "llm_unreachable")
