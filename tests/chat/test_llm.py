"""Language models: an HTTP server with its faults, a local model, and the removal of thoughts."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.chat_fakes import ToneTTS, error_codes, until
from helpers.errors import raises_input_error
from helpers.llm_process import llm_server, server_log
from helpers.tiny_chat_model import TEMPLATE, WORDS, save_tiny_chat_model
from helpers.waiting import wait_until

from vocalmtp.chat.answer_stream import APOLOGIES
from vocalmtp.chat.history import Message, ToolCall
from vocalmtp.chat.llm import build_llm
from vocalmtp.chat.openai_chat import KEY, OpenAIChat
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.transformers_chat import TransformersChat


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_chat_model(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def url(folder):
    """The address of a server process."""
    with llm_server(folder) as address:
        yield address


def spoken_text(events: list) -> str:
    """The words of an answer that were spoken, as they are written in its text."""
    text = next(e.text for e in events if e.kind == "finished")
    words = [word for e in events if e.kind == "audio_chunk" for word in e.words]
    return " ".join(text[slice(*word.span)] for word in words)


def test_endpoint_is_requested_and_its_answer_is_spoken(make_session, url, monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    session = make_session(OpenAIChat(url, "fine", thinks=False), system="Be brief.")
    session.ask("How is it?")
    events = until(session, "finished")
    assert [e.text for e in events if e.kind == "text_delta"] == ["All is ", "well."]
    assert spoken_text(events) == "All is well."
    request = server_log(url)["requests"][-1]
    assert request["path"] == "/v1/chat/completions"
    assert request["stream"] is True
    assert request["key"] == "Bearer secret"
    assert request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How is it?"},
    ]


def test_functions_are_offered_to_an_endpoint_and_its_calls_are_returned(make_session, url):
    session = make_session(OpenAIChat(url, "calls"))
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    session.tools = (tool,)
    session.ask("Where is it?")
    (called,) = [event for event in until(session, "finished") if event.kind == "tool_called"]
    assert called.call == ToolCall("call_1", "look", '{"at": 1}')
    session.history.add(Message("tool", "There.", call_id="call_1"))
    session.respond()
    until(session, "finished")
    first, second = [r for r in server_log(url)["requests"] if r["model"] == "calls"]
    assert first["tools"] == [tool]
    assert second["messages"][-2:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at": 1}'},
                }
            ],
        },
        {"role": "tool", "content": "There.", "tool_call_id": "call_1"},
    ]


def test_model_behind_an_endpoint_and_in_a_folder_give_the_same_answer(make_session, url, folder):
    answers = []
    for llm in (
        OpenAIChat(f"{url}/chat/completions", "tiny"),
        TransformersChat(folder, max_tokens=12),
    ):
        session = make_session(llm)
        session.ask("the cat")
        answers.append(until(session, "finished")[-1].text)
    assert answers[0] == answers[1]
    assert set(answers[0].split()) <= set(WORDS)
    assert len(answers[0].split()) >= 5


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("garbage", "llm_failed"),
        ("binary", "llm_failed"),
        ("flood", "llm_failed"),
        ("odd", "llm_failed"),
        ("empty", "llm_failed"),
        ("nothing", "llm_failed"),
        ("thoughts-only", "llm_failed"),
        ("broken", "llm_failed"),
        ("cut", "llm_failed"),
        ("missing", "llm_failed"),
        ("slow", "llm_timeout"),
    ],
)
def test_failing_endpoint_speaks_apology_and_keeps_session(make_session, url, model, code):
    session = make_session(OpenAIChat(url, model, timeout=0.5 if model == "slow" else 20))
    session.ask("How is it?")
    events = until(session, "finished")
    assert error_codes(events) == [code]
    assert events[-1].text.endswith(APOLOGIES[code])
    assert spoken_text(events).endswith(APOLOGIES[code])
    session.responder = CascadeResponder(ToneTTS(), OpenAIChat(url, "fine"))
    session.ask("And now?")
    assert until(session, "finished")[-1].text == "All is well."


def test_unreachable_endpoint_speaks_apology(make_session):
    session = make_session(OpenAIChat("http://127.0.0.1:9/v1", "any"))
    session.ask("How is it?")
    events = until(session, "finished")
    assert error_codes(events) == ["llm_unreachable"]
    assert events[-1].text == APOLOGIES["llm_unreachable"]


@pytest.mark.parametrize("model", ["slow", "endless"])
def test_interruption_disconnects_from_the_endpoint(make_session, url, model):
    session = make_session(OpenAIChat(url, model, timeout=3600, thinks=False), max_lead=1.0)
    session.ask("Tell me a story.")
    until(session, "audio_chunk", 2)
    session.interrupt()
    until(session, "interrupted")
    session.responder = CascadeResponder(ToneTTS(), OpenAIChat(url, "fine"))
    session.ask("Enough?")
    assert until(session, "finished")[-1].text == "All is well."
    session.close()  # returns only because the request has ended
    wait_until(lambda: model != "endless" or model in server_log(url)["disconnected"])


def test_interruption_stops_a_local_model(make_session, folder):
    session = make_session(
        TransformersChat(folder, max_tokens=100_000), max_lead=1.0, clock=time.monotonic
    )
    session.ask("the cat")
    until(session, "audio_chunk")
    session.interrupt()
    until(session, "interrupted")
    session.responder = CascadeResponder(ToneTTS(), TransformersChat(folder, max_tokens=12))
    session.ask("the cat")
    assert until(session, "finished")[-1].text


def test_template_without_a_system_role_has_the_prompt_in_the_first_message(tmp_path):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template += "{% for m in messages %}{{ m.content }} {% endfor %}"
    llm = TransformersChat(save_tiny_chat_model(tmp_path / "m", template))
    prompt = llm.prompt([Message("system", "on a mat"), Message("user", "the cat")])
    assert prompt.split() == "on a mat the cat".split()


def test_model_without_a_template_gets_plain_prompts_and_ends_at_the_next_turn(
    tmp_path, make_session, monkeypatch
):
    llm = TransformersChat(save_tiny_chat_model(tmp_path / "m", None))
    assert "plain" in llm.name
    messages = [Message("system", "on a mat"), Message("user", "the cat")]
    assert llm.prompt(messages) == "System: on a mat\nUser: the cat\nAssistant:"
    pieces = (" On a mat.", "\nUs", "er: and", " now?")
    monkeypatch.setattr(llm, "_pieces", lambda *_: iter(pieces))
    session = make_session(llm)
    session.ask("the cat")
    assert until(session, "finished")[-1].text == "On a mat."


def test_conversation_longer_than_the_model_loses_its_oldest_turns(tmp_path, make_session):
    folder = save_tiny_chat_model(tmp_path / "m", positions=96)
    session = make_session(TransformersChat(folder, max_tokens=12), system="on a mat")
    for _ in range(6):
        session.ask("the cat saw one boat")
        events = until(session, "finished")
        assert not error_codes(events) and events[-1].text
    session.ask("the cat " * 60)
    assert error_codes(until(session, "finished")) == ["llm_failed"]


def test_template_that_opens_a_thought_speaks_only_what_follows_it(
    tmp_path, make_session, monkeypatch
):
    template = TEMPLATE + "{% if add_generation_prompt %}<think>\n{% endif %}"
    llm = TransformersChat(save_tiny_chat_model(tmp_path / "m", template))

    pieces = ("Hm. ", "Well.", "</think>", " Fine.")
    monkeypatch.setattr(llm, "_pieces", lambda *_: iter(pieces))
    session = make_session(llm)
    session.ask("the cat")
    assert until(session, "finished")[-1].text == "Fine."


@pytest.mark.parametrize(
    ("device", "code"),
    [("cuda" if not torch.cuda.is_available() else "xpu", "unusable"), ("foo", "unknown_name")],
)
def test_unusable_device_is_refused(folder, device, code):
    with raises_input_error(code, key="device"):
        TransformersChat(folder, device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_local_model_answers_on_a_gpu(make_session, folder):
    session = make_session(TransformersChat(folder, "cuda", max_tokens=12))
    session.ask("the cat")
    assert until(session, "finished")[-1].text


def test_damaged_weights_are_refused(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"torn")
    with raises_input_error("unusable", key="llm"):
        TransformersChat(copy)


def test_tokens_are_counted(folder):
    assert TransformersChat(folder).count_tokens("the cat sat") == 3
    assert OpenAIChat("http://host/v1", "m").count_tokens("a" * 40) == 11


@pytest.mark.parametrize("model", ["thinks", "thought-closed"])
def test_thoughts_of_an_endpoint_are_not_spoken(make_session, url, model):
    session = make_session(OpenAIChat(url, model))
    session.ask("How is it?")
    events = until(session, "finished")
    assert events[-1].text == spoken_text(events) == "All is well."


@pytest.mark.parametrize(
    ("llm", "model", "code", "key"),
    [
        ("http://host/v1", None, "missing", "llm"),
        ("ftp://host/v1", "m", "invalid_value", "llm"),
        ("http://", "m", "invalid_value", "llm"),
        ("openai", "m", "missing", "llm"),
        ("transformers", None, "missing", "llm"),
        (None, "m", "conflict", "llm-model"),
        ("echo", "m", "conflict", "llm-model"),
        ("nowhere", None, "not_found", "llm"),
        (".", "m", "conflict", "llm-model"),
        ("empty", None, "unusable", "llm"),
        ("transformers=empty", None, "unusable", "llm"),
        ("smollm2-135m", None, "not_found", "llm"),  # its card is known, and it is not here
    ],
)
def test_unusable_llms_are_refused(tmp_path, monkeypatch, llm, model, code, key):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    with raises_input_error(code, key=key):
        build_llm(llm, model)


@pytest.mark.slow
def test_server_of_transformers_answers(make_session, folder):
    """`transformers serve` with random weights, offline."""
    pytest.importorskip("openai", reason="transformers serve needs it")
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).parent / "transformers", "serve", folder]
    process = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)])
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None
            time.sleep(0.5)
        llm = OpenAIChat(f"http://127.0.0.1:{port}/v1", str(folder), 60, max_tokens=12)
        session = make_session(llm)
        session.ask("the cat")
        events = until(session, "finished", timeout=90)
        assert error_codes(events) == []
        assert set(events[-1].text.split()) <= set(WORDS)
        assert any(e.kind == "audio_chunk" for e in events)
    finally:
        process.kill()
        process.wait()
