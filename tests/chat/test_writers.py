"""Language models: a real server over HTTP with its faults, a folder, and what is not said."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from helpers.chat_fakes import until
from helpers.errors import raises_input_error
from helpers.tiny_chat_model import WORDS, save_tiny_chat_model

from vocalmtp.chat.llm import build_llm, without_thoughts
from vocalmtp.chat.openai_chat import BROKEN, KEY, SLOW, UNREACHABLE, OpenAIChat
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.transformers_chat import TransformersChat
from vocalmtp.errors import InputError

SERVER = Path(__file__).parents[1] / "helpers" / "llm_server.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_tiny_chat_model(tmp_path_factory.mktemp("llm"))


@pytest.fixture(scope="module")
def url(folder):
    """The address of a server process."""
    process = subprocess.Popen([sys.executable, SERVER, folder], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


def records(url: str) -> dict:
    """What the server was asked, and who hung up."""
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


@pytest.fixture
def talk(make_session):
    """A session with a writer."""

    def make(writer, **settings):
        session = make_session(**settings)
        session.answerer = CascadeResponder(writer, session.answerer._tts)
        return session

    return make


def test_an_endpoint_is_asked_and_its_answer_is_spoken(talk, url, monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    session = talk(OpenAIChat(url, "fine"), system="Be brief.")
    session.ask("How is it?")
    events = until(session, "finished")
    assert [e.text for e in events if e.kind == "text_delta"] == ["All is ", "well."]
    assert [w.text for e in events if e.kind == "audio_chunk" for w in e.words] == [
        "all",
        "is",
        "well",
    ]
    asked = records(url)["asked"][-1]
    assert asked["path"] == "/v1/chat/completions"
    assert asked["stream"] is True
    assert asked["key"] == "Bearer secret"
    assert asked["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How is it?"},
    ]


def test_a_real_model_behind_the_endpoint_says_what_the_same_one_in_a_folder_says(
    talk, url, folder
):
    said = []
    for writer in (
        OpenAIChat(f"{url}/chat/completions", "tiny"),
        TransformersChat(folder, max_tokens=12),
    ):
        session = talk(writer)
        session.ask("the cat")
        said.append(until(session, "finished", timeout=60)[-1].text)
    assert said[0] == said[1]
    assert set(said[0].split()) <= set(WORDS)
    assert len(said[0].split()) >= 5


@pytest.mark.parametrize(
    ("model", "message", "apology"),
    [
        ("garbage", "garbage", BROKEN),
        ("binary", "broke off", BROKEN),
        ("flood", "garbage", BROKEN),
        ("odd", "garbage", BROKEN),
        ("empty", "broke off", BROKEN),
        ("nothing", "wrote nothing", BROKEN),
        ("broken", "out of memory", BROKEN),
        ("cut", "broke off", BROKEN),
        ("missing", "404: no model missing", BROKEN),
        ("slow", "in time", SLOW),
    ],
)
def test_an_endpoint_that_fails_is_excused_and_the_session_lives(
    talk, url, model, message, apology
):
    session = talk(OpenAIChat(url, model, timeout=0.5 if model == "slow" else 20))
    session.ask("How is it?")
    events = until(session, "finished")
    assert message in next(e for e in events if e.kind == "error").message
    assert events[-1].text.endswith(apology)
    assert any(e.kind == "audio_chunk" for e in events)
    session.answerer = CascadeResponder(OpenAIChat(url, "fine"), session.answerer._tts)
    session.ask("And now?")
    assert until(session, "finished")[-1].text == "All is well."


def test_an_endpoint_that_is_down(talk):
    session = talk(OpenAIChat("http://127.0.0.1:9/v1", "any"))
    session.ask("How is it?")
    events = until(session, "finished")
    assert "cannot be reached" in next(e for e in events if e.kind == "error").message
    assert events[-1].text == UNREACHABLE


@pytest.mark.parametrize("model", ["slow", "endless"])
def test_an_interruption_hangs_up(talk, url, model):
    session = talk(OpenAIChat(url, model), ahead=1.0)
    session.ask("Tell me a story.")
    until(session, "audio_chunk", 2)
    begin = time.monotonic()
    session.interrupt()
    until(session, "interrupted")
    session.answerer = CascadeResponder(OpenAIChat(url, "fine"), session.answerer._tts)
    session.ask("Enough?")
    assert until(session, "finished")[-1].text == "All is well."
    assert time.monotonic() - begin < 15  # it would be 20 s until the endpoint is too slow
    if model == "endless":
        while "endless" not in records(url)["gone"]:
            assert time.monotonic() - begin < 15
            time.sleep(0.05)


def test_an_interruption_stops_a_model_in_a_folder(talk, folder):
    model = TransformersChat(folder, max_tokens=100_000)
    session = talk(model, ahead=1.0, clock=time.monotonic)
    session.ask("the cat")
    until(session, "audio_chunk", timeout=60)
    session.interrupt()
    until(session, "interrupted")
    model._max_tokens = 12
    session.ask("the cat")
    assert until(session, "finished", timeout=60)[-1].text


def test_a_template_without_a_system_is_told_in_the_first_message(tmp_path, talk):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template += "{% for m in messages %}{{ m.content }} {% endfor %}"
    model = TransformersChat(save_tiny_chat_model(tmp_path / "m", template), max_tokens=12)
    session = talk(model, system="on a mat")
    session.ask("the cat")
    assert until(session, "finished", timeout=60)[-1].text
    ids = model._prompt(session.history.messages(100, len)[:2]).input_ids[0]
    assert model._tokenizer.decode(ids) == "on a mat the cat"


def test_unusable_device_is_refused(folder):
    with raises_input_error("unusable", key="device"):
        TransformersChat(folder, "xpu")


def test_damaged_weights_are_said_in_one_line(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(InputError, match="not the folder of a"):
        TransformersChat(copy)


def test_tokens_are_counted(folder):
    assert TransformersChat(folder).count_tokens("the cat sat") == 3
    assert OpenAIChat("http://host/v1", "m").count_tokens("a" * 40) == 11


@pytest.mark.parametrize("size", [1, 3, 100])
def test_thoughts_are_not_said(size):
    text = "<think>Hm, <b>?</think>Yes <3, a<b.<think>or</think> Fine.<think>endless"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert "".join(without_thoughts(pieces)) == "Yes <3, a<b. Fine."
    assert "".join(without_thoughts(["a <thin"])) == "a <thin"


@pytest.mark.parametrize(
    ("llm", "model", "message"),
    [
        ("http://host/v1", None, "--llm-model"),
        ("ftp://host/v1", "m", "not an address"),
        ("http://", "m", "not an address"),
        (None, "m", "--llm URL"),
        ("nowhere", None, "no such folder"),
        (".", "m", "is a folder"),
        ("empty", None, "not the folder of a"),
        ("plain", None, "chat template"),
    ],
)
def test_what_is_no_writer_is_said_in_one_line(tmp_path, monkeypatch, llm, model, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    if llm == "plain":
        save_tiny_chat_model(Path("plain"), template=None)
    with pytest.raises(InputError, match=message):
        build_llm(llm, model)


@pytest.mark.slow
def test_transformers_serve_on_random_weights(talk, folder):
    """The server of Transformers itself, offline."""
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
        session = talk(OpenAIChat(f"http://127.0.0.1:{port}/v1", str(folder), 60, max_tokens=12))
        session.ask("the cat")
        events = until(session, "finished", timeout=90)
        assert [e.message for e in events if e.kind == "error"] == []
        assert set(events[-1].text.split()) <= set(WORDS)
        assert any(e.kind == "audio_chunk" for e in events)
    finally:
        process.kill()
        process.wait()
