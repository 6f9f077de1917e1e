"""The socket and the pages around it, without a browser."""

import json
import threading
import time
from contextlib import nullcontext

import numpy as np
import pytest
from helpers.chat_fakes import silence, tone

from vocalmtp.audio.io import to_pcm
from vocalmtp.errors import InputError
from vocalmtp.server.state import ServerState

pytest.importorskip("gradio", reason="the extra 'demo' is not installed")

from starlette.testclient import TestClient  # noqa: E402
from starlette.websockets import WebSocketDisconnect  # noqa: E402

from vocalmtp.server.app import make_app  # noqa: E402
from vocalmtp.server.page import mount_page  # noqa: E402

LOCAL = "http://127.0.0.1:7860"
SOCKET = "ws://127.0.0.1:7860/talk/socket"
QUESTION = to_pcm(np.concatenate([tone(0.5), silence(0.8)]))


def client(room: ServerState, **options) -> TestClient:
    return TestClient(make_app(room, **options), base_url=LOCAL)


def receive(socket, kind: str) -> tuple[list[dict], bytes]:
    """The messages up to one of a kind, and all samples among them."""
    seen, sound = [], b""
    while not seen or seen[-1]["kind"] != kind:
        message = socket.receive()
        if message["type"] == "websocket.close":
            raise WebSocketDisconnect(message["code"])
        if message.get("bytes") is not None:
            sound += message["bytes"]
        else:
            seen.append(json.loads(message["text"]))
    return seen, sound


def wait(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_conversation_over_a_socket(make_room):
    room = make_room("One two.")
    before = threading.active_count()
    with client(room).websocket_connect(SOCKET) as socket:
        ready, _ = receive(socket, "ready")
        assert ready[0]["sample_rate"] == 16_000
        socket.send_json({"kind": "rate", "rate": 16_000})
        for start in range(0, len(QUESTION), 1000):
            socket.send_bytes(QUESTION[start : start + 1000])
        seen, sound = receive(socket, "finished")
        assert len(sound) == 2 * 16_000 * seen[-1]["seconds"]
        words = [w for m in seen if m["kind"] == "audio_chunk" for w in m["words"]]
        assert [(w["text"], w["place"]) for w in words] == [("one", [0, 3]), ("two", [4, 8])]
        assert [m["text"] for m in seen if m["kind"] == "transcript" and m["final"]] == ["5 tenths"]
        socket.send_json({"kind": "played", "turn": 1, "seconds": 0.3})
        socket.send_json({"kind": "interrupt"})
        seen, _ = receive(socket, "interrupted")
        assert (seen[-1]["heard"], round(seen[-1]["seconds"], 1)) == ("One", 0.3)
        assert room.talking == 1
    wait(lambda: room.talking == 0 and threading.active_count() <= before + 1)


def test_voice_mode_and_role_are_picked_by_name_only(make_room):
    room = make_room()
    with client(room).websocket_connect(SOCKET) as socket:
        socket.send_json({"kind": "settings", "voice": "bob", "mode": "other"})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")[0][-1]["text"] == "Other."
        socket.send_json({"kind": "settings", "role": "clerk", "mode": "llm"})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")
        assert room.answerers["llm"]._writer.asked[-1][0] == ("system", "You file.")
        assert room.tts.used[-1] == "bob"
        socket.send_json({"kind": "settings", "role": ""})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")
        assert room.answerers["llm"]._writer.asked[-1][0] == ("system", room.config.system)
        wrongs = ({"voice": "/etc/passwd"}, {"mode": "none"}, {"voice": 5}, {"role": "me.yaml"})
        for wrong in wrongs:
            socket.send_json({"kind": "settings", **wrong})
            message = receive(socket, "error")[0][-1]["message"]
            assert message.startswith(next(iter(wrong)))


def test_the_role_greets_when_the_page_says_that_somebody_listens(make_room):
    room = make_room()
    room.role = room.roles["clerk"]
    with client(room).websocket_connect(SOCKET) as socket:
        socket.send_json({"kind": "greet"})
        seen, sound = receive(socket, "finished")
        assert (seen[-1]["turn"], seen[-1]["text"]) == (0, "Next!") and sound
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")[0][-1]["turn"] == 1


def test_a_voice_is_sought_once_and_not_for_every_clause(make_room):
    room = make_room("One, two. Three. Four.")
    room.voice = "bob"
    with client(room).websocket_connect(SOCKET) as socket:
        for _ in range(2):
            socket.send_json({"kind": "ask", "text": "Hello?"})
            assert receive(socket, "finished")
        assert room.tts.sought == ["bob"]
        socket.send_json({"kind": "settings", "role": "clerk"})
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")
    assert room.tts.sought == ["bob", room.roles["clerk"]]
    assert set(room.tts.used) == {"bob"} and len(room.tts.used) >= 9


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
def test_a_message_that_makes_no_sense_is_answered_and_the_conversation_goes_on(make_room, message):
    with client(make_room()).websocket_connect(SOCKET) as socket:
        send = socket.send_bytes if isinstance(message, bytes) else socket.send_text
        send(message)
        assert receive(socket, "error")[0][-1]["message"]
        socket.send_json({"kind": "ask", "text": "Hello?"})
        assert receive(socket, "finished")


def test_who_goes_too_far_is_sent_away(make_room):
    room = make_room(message=2000, mistakes=3, ahead=2.0)
    for messages, code in (([b"x" * 2002], 1009), ([b"odd"] * 4, 1008), ([bytes(2000)] * 60, 1008)):
        with client(room).websocket_connect(SOCKET) as socket:
            receive(socket, "ready")
            for message in messages:
                socket.send_bytes(message)
            assert receive(socket, "over")[0][-1]["message"]
            with pytest.raises(WebSocketDisconnect) as closed:
                receive(socket, "never")
            assert closed.value.code == code
    wait(lambda: room.talking == 0)


def test_a_conversation_has_an_end(make_room):
    with client(make_room(minutes=0.005)).websocket_connect(SOCKET) as socket:
        assert "time limit" in receive(socket, "over")[0][-1]["message"]


def test_too_many_are_told_that_it_is_busy_and_may_come_again(make_room):
    room = make_room(sessions=1)
    web = client(room)
    with web.websocket_connect(SOCKET) as first:
        receive(first, "ready")
        with web.websocket_connect(SOCKET) as second:
            assert "busy" in receive(second, "busy")[0][-1]["message"]
    wait(lambda: room.talking == 0)
    with web.websocket_connect(SOCKET) as third:
        assert receive(third, "ready")


@pytest.mark.parametrize(
    ("headers", "welcome"),
    [
        ({"origin": LOCAL}, True),
        ({}, True),
        ({"origin": "http://evil.example"}, False),
        ({"origin": "null"}, False),
    ],
)
def test_only_pages_of_this_server_may_talk(make_room, headers, welcome):
    refused = nullcontext() if welcome else pytest.raises(WebSocketDisconnect)
    web = client(make_room())
    with refused, web.websocket_connect(SOCKET, headers=headers) as socket:
        receive(socket, "ready")


def test_the_page_its_scripts_and_the_sample_question(make_room, monkeypatch):
    room = make_room()
    monkeypatch.setattr("vocalmtp.server.app.mount_page", mount_page)
    web = client(room)
    page = web.get("/")
    assert page.status_code == 200
    assert "talk/assets/talk.js" in page.text
    assert "talk-button" in page.text
    for name in ("talk.js", "sound.js", "recording.js", "transcript.js", "worklets.js", "talk.css"):
        assert web.get(f"/talk/assets/{name}").status_code == 200
    assert web.get("/talk/sample.wav").content[:4] == b"RIFF"
    assert web.get("/", headers={"host": "evil.example"}).status_code == 400


def test_with_a_password_nothing_is_served_without_it(make_room):
    web = client(make_room(), auth="ann:se:cret")
    for path in ("/talk/sample.wav", "/talk/assets/talk.js", "/config"):
        assert web.get(path).status_code == 401
        assert web.get(path, auth=("ann", "wrong")).status_code == 401
    with pytest.raises(WebSocketDisconnect), web.websocket_connect(SOCKET):
        pass
    assert web.get("/talk/sample.wav", auth=("ann", "se:cret")).status_code == 200
    with web.websocket_connect(SOCKET) as socket:  # by the cookie
        receive(socket, "ready")
    for wrong in ("ann", ":secret", "ann:"):
        with pytest.raises(InputError, match="user:password"):
            client(make_room(), auth=wrong)
