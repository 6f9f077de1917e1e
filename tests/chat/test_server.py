"""The server's socket, limits, authentication and files, without a browser."""

import json
import threading
from contextlib import nullcontext

import numpy as np
import pytest
from helpers.chat_fakes import silence, tone
from helpers.errors import raises_input_error
from helpers.waiting import wait_until

from vocalmtp.audio.formats import to_pcm
from vocalmtp.server.state import ServerState

pytest.importorskip("gradio", reason="the extra 'demo' is not installed")

from starlette.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402

from vocalmtp.server.app import make_app  # noqa: E402
from vocalmtp.server.page import mount_page  # noqa: E402

LOCAL = "http://127.0.0.1:7860"
SOCKET = "ws://127.0.0.1:7860/talk/socket"
QUESTION = to_pcm(np.concatenate([tone(0.5), silence(0.8)]))


def client(server: ServerState, **options) -> TestClient:
    return TestClient(make_app(server, **options), base_url=LOCAL)


def receive(socket, kind: str) -> tuple[list[dict], bytes]:
    """The JSON messages up to one of a kind, and the audio among them."""
    seen, audio = [], b""
    while not seen or seen[-1]["kind"] != kind:
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
        if message.get("bytes") is not None:
            audio += message["bytes"]
        else:
            seen.append(json.loads(message["text"]))
    return seen, audio


def test_spoken_turn_over_a_socket_is_answered_and_interrupted(make_server):
    server = make_server("One two.")
    before = threading.active_count()
    with client(server).websocket_connect(SOCKET) as socket:
        ready, _ = receive(socket, "ready")
        assert ready[0]["sample_rate"] == 16_000
        socket.send_json({"kind": "rate", "rate": 16_000})
        for start in range(0, len(QUESTION), 1000):
            socket.send_bytes(QUESTION[start : start + 1000])
        seen, audio = receive(socket, "finished")
        assert len(audio) == 2 * 16_000 * seen[-1]["seconds"]
        words = [w for m in seen if m["kind"] == "audio_chunk" for w in m["words"]]
        assert [(w["text"], w["span"]) for w in words] == [("one", [0, 3]), ("two", [4, 8])]
        assert [m["text"] for m in seen if m["kind"] == "transcript" and m["final"]] == ["5 tenths"]
        socket.send_json({"kind": "played", "turn": 1, "seconds": 0.3})
        socket.send_json({"kind": "interrupt"})
        seen, _ = receive(socket, "interrupted")
        assert (seen[-1]["played_text"], round(seen[-1]["seconds"], 1)) == ("One", 0.3)
        assert server.active == 1
    wait_until(lambda: server.active == 0 and threading.active_count() <= before + 1)


def test_voice_responder_and_role_are_chosen_by_name_only(make_server):
    server = make_server()
    with client(server).websocket_connect(SOCKET) as socket:
        socket.send_json({"kind": "settings", "voice": "bob", "responder": "other"})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")[0][-1]["text"] == "Other."
        socket.send_json({"kind": "settings", "role": "clerk", "responder": "llm"})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")
        assert server.responders["llm"].llm.requests[-1][0] == ("system", "You file.")
        assert server.tts.used[-1] == "bob"
        socket.send_json({"kind": "settings", "role": ""})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")
        assert server.responders["llm"].llm.requests[-1][0] == ("system", server.config.system)
        wrongs = (
            {"voice": "/etc/passwd"},
            {"responder": "none"},
            {"voice": 5},
            {"role": "me.yaml"},
        )
        for wrong in wrongs:
            socket.send_json({"kind": "settings", **wrong})
            error = receive(socket, "error")[0][-1]
            assert (error["code"], error["key"]) == ("invalid_message", next(iter(wrong)))


def test_role_greets_on_request(make_server):
    server = make_server()
    server.role = server.roles["clerk"]
    with client(server).websocket_connect(SOCKET) as socket:
        socket.send_json({"kind": "greet"})
        seen, audio = receive(socket, "finished")
        assert (seen[-1]["turn"], seen[-1]["text"]) == (0, "Next!") and audio
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")[0][-1]["turn"] == 1


def test_voice_is_resolved_once_and_not_for_every_clause(make_server):
    server = make_server("One, two. Three. Four.")
    server.voice = "bob"
    with client(server).websocket_connect(SOCKET) as socket:
        for _ in range(2):
            socket.send_json({"kind": "ask", "text": "Hello?"})
            assert receive(socket, "finished")
        assert server.tts.resolved == ["bob"]
        socket.send_json({"kind": "settings", "role": "clerk"})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")
    assert server.tts.resolved == ["bob", server.roles["clerk"]]
    assert set(server.tts.used) == {"bob"} and len(server.tts.used) >= 9


@pytest.mark.parametrize(
    "message",
    [
        "no JSON",
        "5",
        "{}",
        '{"kind": "dance"}',
        '{"kind": ["ask"]}',
        '{"kind": "rate", "rate": "fast"}',
        '{"kind": "rate", "rate": 1}',
        '{"kind": "played", "seconds": "x"}',
        '{"kind": "played", "seconds": NaN}',
        '{"kind": "ask"}',
        "[" * 5000,
        b"odd",
    ],
)
def test_invalid_message_is_reported_and_conversation_continues(make_server, message):
    with client(make_server()).websocket_connect(SOCKET) as socket:
        send = socket.send_bytes if isinstance(message, bytes) else socket.send_text
        send(message)
        assert receive(socket, "error")[0][-1]["code"] == "invalid_message"
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")


@pytest.mark.parametrize(
    ("messages", "reason", "code"),
    [
        ([b"x" * 2002], "message_too_large", 1009),
        ([b"odd"] * 4, "invalid_messages", 1008),
        ([bytes(2000)] * 60, "audio_too_fast", 1008),
    ],
)
def test_client_that_exceeds_a_limit_is_disconnected(make_server, messages, reason, code):
    server = make_server(message=2000, invalid_messages=3, max_ahead=2.0)
    with client(server).websocket_connect(SOCKET) as socket:
        receive(socket, "ready")
        for message in messages:
            socket.send_bytes(message)
        assert receive(socket, "over")[0][-1]["code"] == reason
        with pytest.raises(WebSocketDisconnect) as closed:
            receive(socket, "never")
        assert closed.value.code == code
    wait_until(lambda: server.active == 0)


def test_conversation_has_a_time_limit(make_server):
    with client(make_server(minutes=0.005)).websocket_connect(SOCKET) as socket:
        assert receive(socket, "over")[0][-1]["code"] == "time_limit"


def test_busy_server_refuses_a_conversation_until_another_one_ends(make_server):
    server = make_server(sessions=1)
    web = client(server)
    with web.websocket_connect(SOCKET) as first:
        receive(first, "ready")
        with web.websocket_connect(SOCKET) as second:
            assert receive(second, "busy")[0][-1]["code"] == "busy"
    wait_until(lambda: server.active == 0)
    with web.websocket_connect(SOCKET) as third:
        assert receive(third, "ready")


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({"origin": LOCAL}, True),
        ({}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
    ],
)
def test_pages_of_other_origins_are_refused(make_server, headers, allowed):
    refused = nullcontext() if allowed else pytest.raises(WebSocketDisconnect)
    web = client(make_server())
    with refused, web.websocket_connect(SOCKET, headers=headers) as socket:
        receive(socket, "ready")


def test_page_scripts_and_sample_question_are_served(make_server, monkeypatch):
    server = make_server()
    monkeypatch.setattr("vocalmtp.server.app.mount_page", mount_page)
    web = client(server)
    page = web.get("/")
    assert page.status_code == 200
    assert "talk/assets/talk.js" in page.text
    assert "talk-button" in page.text
    for name in ("talk.js", "audio.js", "recording.js", "transcript.js", "worklets.js", "talk.css"):
        assert web.get(f"/talk/assets/{name}").status_code == 200
    assert web.get("/talk/sample.wav").content[:4] == b"RIFF"
    assert web.get("/", headers={"host": "evil.example"}).status_code == 400


def test_password_protects_page_files_and_socket(make_server):
    web = client(make_server(), auth="ann:se:cret")
    for path in ("/talk/sample.wav", "/talk/assets/talk.js", "/config"):
        assert web.get(path).status_code == 401
        assert web.get(path, auth=("ann", "wrong")).status_code == 401
    with pytest.raises(WebSocketDisconnect), web.websocket_connect(SOCKET):
        pass
    assert web.get("/talk/sample.wav", auth=("ann", "se:cret")).status_code == 200
    with web.websocket_connect(SOCKET) as socket:  # by the cookie
        receive(socket, "ready")
    for wrong in ("ann", ":secret", "ann:"):
        with raises_input_error("invalid_value", key="auth"):
            client(make_server(), auth=wrong)
