"""The events of the Realtime interface over fakes, without a socket."""

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from helpers.chat_fakes import (
    RATE,
    WORD,
    CountingRecognizer,
    ScriptedLLM,
    ToneTTS,
    detect_by_level,
    llm_failure,
    silence,
    tone,
)
from helpers.waiting import wait_until

from vocalmtp.audio.formats import to_pcm
from vocalmtp.audio.io import resample
from vocalmtp.chat.config import ChatConfig
from vocalmtp.chat.history import ToolCall
from vocalmtp.chat.responders import CascadeResponder
from vocalmtp.chat.session import ChatSession
from vocalmtp.server.realtime.session import RealtimeSession

QUESTION = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}
MANUAL = {"audio": {"input": {"turn_detection": None, "transcription": {"model": "any"}}}}
LONG = "One two three four five six seven eight. "
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}


class Client:
    """Sends events, and collects those of the server."""

    def __init__(self, *pieces: Any, llm: Any = None, **settings: Any):
        self.llm = llm or ScriptedLLM(*pieces or ("One two three.",))
        config = ChatConfig(echo="off", **settings)
        self.chat = ChatSession(
            CascadeResponder(ToneTTS(), self.llm), CountingRecognizer(), None, config
        )
        self.seen: list[dict[str, Any]] = []
        self.session = RealtimeSession(
            self.chat,
            self.seen.append,
            ToneTTS.voices.__getitem__,
            CountingRecognizer(),
            "m",
            "ann",
        )

    def send(self, kind: str, **fields: Any) -> bool:
        return self.session.handle(json.dumps({"type": kind, **fields}))

    def speak(self, *parts: np.ndarray) -> None:
        self.send("input_audio_buffer.append", audio=as_audio(*parts))

    def wait(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of a kind."""
        wait_until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in [*self.seen] if event["type"] == kind]

    def kinds(self) -> list[str]:
        """The kinds of events, without repetitions in a row."""
        kinds = [event["type"] for event in self.seen]
        return [kind for n, kind in enumerate(kinds) if not n or kind != kinds[n - 1]]


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Client]]:
    detect_by_level(monkeypatch)
    made: list[Client] = []

    def make(*pieces: Any, **settings: Any) -> Client:
        made.append(Client(*pieces, **settings))
        return made[-1]

    yield make
    for client in made:
        client.chat.close()


def as_audio(*parts: np.ndarray) -> str:
    samples = resample(np.concatenate(parts), RATE, 24_000)
    return base64.b64encode(to_pcm(samples)).decode()


def audio_seconds(events: list[dict[str, Any]]) -> float:
    return sum(len(base64.b64decode(event["delta"])) for event in events) / 2 / 24_000


ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
    "response.done",
]


def test_session_created_has_the_settings(connect):
    (created,) = connect().seen
    session = created["session"]
    assert created["type"] == "session.created" and created["event_id"]
    assert session["type"] == "realtime" and session["model"] == "m"
    assert session["audio"]["output"]["voice"] == "ann"
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert session["audio"]["input"]["turn_detection"]["interrupt_response"] is True


def test_update_merges(connect):
    client = connect()
    before = client.seen[0]["session"]
    client.send("session.update", session={"type": "realtime", "instructions": "Be brief."})
    client.send("session.update", session={"audio": {"output": {"voice": {"id": "bob"}}}})
    after = client.wait("session.updated", 2)["session"]
    changed = before | {"instructions": "Be brief."}
    changed["audio"]["output"]["voice"] = "bob"
    assert after == changed
    assert client.chat.config.system == "Be brief."


def test_null_leaves_a_setting_as_it_is_or_turns_it_off(connect):
    client = connect(system="Base.")
    audio = {"input": {"turn_detection": None, "format": None}, "output": {"speed": None}}
    client.send("session.update", session={"instructions": None, "tools": None, "audio": audio})
    session = client.wait("session.updated")["session"]
    assert session["audio"]["input"]["turn_detection"] is None
    assert session["audio"]["input"]["format"]["rate"] == 24_000
    assert (session["instructions"], session["audio"]["output"]["speed"]) == ("Base.", 1.0)
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create", response={"instructions": None, "metadata": None})
    assert client.wait("response.done")["response"]["status"] == "completed"


def test_a_text_turn(connect):
    client = connect()
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    done = client.wait("response.done")["response"]
    assert client.kinds() == [
        "session.created",
        "conversation.item.added",
        "conversation.item.done",
        *ANSWER,
    ]
    assert done["status"] == "completed"
    (item,) = done["output"]
    assert item["content"] == [{"type": "output_audio", "transcript": "One two three."}]
    assert audio_seconds(client.of("response.output_audio.delta")) == pytest.approx(3 * WORD, 0.01)
    assert done["usage"]["output_token_details"] == {"text_tokens": 3, "audio_tokens": 15}
    assert client.llm.requests[0][-1] == ("user", "Hi.")
    ids = {event["item_id"] for event in client.seen if "item_id" in event}
    assert ids == {item["id"]}


def test_text_modality_has_no_audio(connect):
    client = connect()
    client.send("session.update", session={"output_modalities": ["text"]})
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    done = client.wait("response.done")["response"]
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "One two three."}]
    assert not client.of("response.output_audio.delta")
    assert client.wait("response.output_text.done")["text"] == "One two three."


def test_a_spoken_turn(connect):
    client = connect()
    update = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    client.send("session.update", session=update)
    client.speak(silence(1.0), tone(0.5), silence(0.8))
    client.wait("response.done")
    name = "conversation.item.input_audio_transcription"
    assert client.kinds()[2:] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        f"{name}.delta",
        f"{name}.completed",
        *ANSWER,
    ]
    start = client.wait("input_audio_buffer.speech_started")
    stop = client.wait("input_audio_buffer.speech_stopped")
    assert 500 < start["audio_start_ms"] < 1000  # with the padding before it
    assert 2050 < stop["audio_end_ms"] < 2300
    completed = client.wait(f"{name}.completed")
    assert completed["item_id"] == start["item_id"] == stop["item_id"]
    assert completed["transcript"] == "5 tenths"


def test_speech_interrupts_and_the_client_truncates(connect):
    client = connect(LONG, "And", 60.0)
    client.speak(tone(0.5), silence(0.8))
    delta = client.wait("response.output_audio.delta")
    client.wait("response.output_audio.delta", 8)
    client.speak(tone(0.5))
    done = client.wait("response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    client.wait("input_audio_buffer.speech_started", 2)
    client.send(
        "conversation.item.truncate",
        item_id=delta["item_id"],
        content_index=0,
        audio_end_ms=round(2.5 * WORD * 1000),
    )
    assert client.wait("conversation.item.truncated")["item_id"] == delta["item_id"]
    client.send("conversation.item.retrieve", item_id=delta["item_id"])
    item = client.wait("conversation.item.retrieved")["item"]
    assert item["content"] == [{"type": "output_audio", "transcript": "One two"}]
    assert client.chat.history.turns[-1].text == "One two"
    client.speak(silence(0.8))
    client.wait("response.created", 2)
    wait_until(lambda: len(client.llm.requests) == 2)
    assert client.llm.requests[1][-2][1].startswith("One two ")


def test_truncation_of_what_is_still_being_spoken_cancels_it(connect):
    client = connect(LONG, "And", 60.0)
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    delta = client.wait("response.output_audio.delta", 8)
    end = round(3.5 * WORD * 1000)
    fields = {"item_id": delta["item_id"], "content_index": 0, "audio_end_ms": end}
    client.send("conversation.item.truncate", **fields)
    done = client.wait("response.done")["response"]
    assert done["status_details"]["reason"] == "client_cancelled"
    assert client.chat.history.turns[-1].text == "One two three"


def test_a_finished_answer_is_kept_unless_it_is_truncated(connect):
    """The client plays; that the next response begins does not shorten the one before."""
    client = connect()
    for number in (1, 2):
        client.send("conversation.item.create", item=QUESTION)
        client.send("response.create")
        client.wait("response.done", number)
    texts = [text for _, text in client.llm.requests[1]][1:]
    assert texts == ["Hi.", "One two three.", "Hi."]


def test_manual_turns(connect):
    client = connect()
    client.send("session.update", session=MANUAL)
    client.speak(tone(0.5), silence(1.5))
    assert not client.of("input_audio_buffer.speech_started")
    client.send("input_audio_buffer.commit")
    client.send("response.create")  # at once: the transcript follows
    client.wait("response.done")
    assert client.llm.requests == [[client.llm.requests[0][0], ("user", "5 tenths")]]
    assert not client.of("input_audio_buffer.speech_stopped")
    assert client.of("input_audio_buffer.committed")


def test_cleared_audio_is_not_heard(connect):
    client = connect()
    client.send("session.update", session=MANUAL)
    client.speak(tone(0.5))
    client.send("input_audio_buffer.clear")
    client.send("input_audio_buffer.commit", event_id="mine")
    error = client.wait("error")["error"]
    assert (error["code"], error["event_id"]) == ("empty", "mine")
    client.speak(tone(0.3))
    client.send("input_audio_buffer.commit")
    name = "conversation.item.input_audio_transcription.completed"
    assert client.wait(name)["transcript"] == "3 tenths"


def test_without_create_response_only_transcripts_follow(connect):
    client = connect()
    detection = {"type": "server_vad", "create_response": False}
    client.send("session.update", session={"audio": {"input": {"turn_detection": detection}}})
    client.speak(tone(0.5), silence(0.8))
    client.wait("conversation.item.done")
    wait_until(lambda: bool(client.chat.history.turns))
    assert not client.llm.requests and not client.of("response.created")
    client.send("response.create")
    client.wait("response.done")
    assert client.llm.requests[0][-1] == ("user", "5 tenths")


def test_noise_stops_without_an_item(connect):
    client = connect()
    client.speak(tone(0.12), silence(1.0))
    assert client.wait("input_audio_buffer.speech_stopped")
    assert not client.of("conversation.item.added")


@pytest.mark.parametrize("begun", [False, True])
def test_cancel(connect, begun):
    client = connect(*((LONG, "And") if begun else ()), 60.0)
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    if begun:
        client.wait("response.output_audio.delta")
    client.send("response.create", event_id="again")
    assert client.wait("error")["error"]["event_id"] == "again"
    client.send("response.cancel")
    done = client.wait("response.done")["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"]["reason"] == "client_cancelled"
    assert len(done["output"]) == begun
    client.send("response.cancel")
    assert client.wait("error", 2)["error"]["code"] == "not_found"


def test_a_function_call_and_its_result(connect):
    class Caller(ScriptedLLM):
        def write(self, messages, out) -> Iterator[str]:
            self.tools = out.tools
            yield from super().write(messages, out)
            if messages[-1].role == "user":
                out.call(ToolCall("call_1", "look", '{"at": 1}'))

    client = connect(llm=Caller("Let me see."))
    client.send("session.update", session={"tools": [TOOL]})
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    done = client.wait("response.done")["response"]
    assert client.llm.tools[0]["function"]["name"] == "look"
    message, call = done["output"]
    assert (call["type"], call["name"], call["arguments"]) == ("function_call", "look", '{"at": 1}')
    arguments = client.wait("response.function_call_arguments.done")
    assert (arguments["call_id"], arguments["output_index"]) == ("call_1", 1)
    result = {"type": "function_call_output", "call_id": "call_1", "output": "A boat."}
    client.send("conversation.item.create", item=result)
    client.send("response.create")
    client.wait("response.done", 2)
    *_, asked, called, answer = client.chat.history.turns[:-1]
    assert asked.text == "Hi." and called.calls == (ToolCall("call_1", "look", '{"at": 1}'),)
    assert (answer.role, answer.text, answer.call_id) == ("tool", "A boat.", "call_1")


def test_a_failure_of_the_llm_fails_the_response(connect):
    client = connect(llm_failure())
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    done = client.wait("response.done")["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["code"] == "llm_failed"
    assert client.of("response.output_audio.delta")  # an apology


def test_items_are_placed_and_deleted(connect):
    client = connect()
    for name, previous in (("b", None), ("a", "root"), ("c", "b")):
        item = QUESTION | {"id": name, "content": [{"type": "input_text", "text": name}]}
        fields = {} if previous is None else {"previous_item_id": previous}
        client.send("conversation.item.create", item=item, **fields)
    client.send("conversation.item.delete", item_id="b")
    assert [event["previous_item_id"] for event in client.of("conversation.item.added")] == [
        None,
        None,
        "b",
    ]
    assert client.wait("conversation.item.deleted")["item_id"] == "b"
    assert [turn.text for turn in client.chat.history.turns] == ["a c"]


def test_instructions_of_a_system_item_and_of_a_response(connect):
    client = connect(system="Base.")
    part = [{"type": "input_text", "text": "More."}]
    item = {"type": "message", "role": "system", "content": part}
    client.send("conversation.item.create", item=item)
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    client.wait("response.done")
    client.send("response.create", response={"instructions": "Now this.", "metadata": {"k": "v"}})
    done = client.wait("response.done", 2)["response"]
    assert [request[0][1] for request in client.llm.requests] == ["Base.\n\nMore.", "Now this."]
    assert done["metadata"] == {"k": "v"}


def test_a_recording_as_an_item(connect):
    client = connect()
    part = {"type": "input_audio", "audio": as_audio(tone(0.4))}
    client.send("conversation.item.create", item=QUESTION | {"content": [part]})
    client.send("response.create")
    client.wait("response.done")
    assert client.llm.requests[0][-1] == ("user", "4 tenths")


INVALID = {
    "no JSON": "{",
    "bytes": b"\xff\xfe",
    "NaN": '{"type": "conversation.item.truncate", "audio_end_ms": NaN}',
    "a list": "[]",
    "deep": "[" * 100_000,
    "no type": "{}",
    "unknown type": '{"type": "transcription_session.update"}',
    "no base64": '{"type": "input_audio_buffer.append", "audio": "!!"}',
    "audio of another type": '{"type": "input_audio_buffer.append", "audio": 5}',
    "half a sample": '{"type": "input_audio_buffer.append", "audio": "AAAA"}',
    "no session": '{"type": "session.update"}',
    "another format": json.dumps(
        {
            "type": "session.update",
            "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}},
        }
    ),
    "another session": '{"type": "session.update", "session": {"type": "transcription"}}',
    "no item": '{"type": "conversation.item.create"}',
    "unknown item": '{"type": "conversation.item.create", "item": {"type": "song"}}',
    "wrong part": json.dumps(
        {
            "type": "conversation.item.create",
            "item": QUESTION | {"content": [{"type": "output_text", "text": "x"}]},
        }
    ),
    "no such item": '{"type": "conversation.item.delete", "item_id": "x"}',
    "no such place": json.dumps(
        {"type": "conversation.item.create", "item": QUESTION, "previous_item_id": "x"}
    ),
    "outside": '{"type": "response.create", "response": {"conversation": "none"}}',
    "nothing to cancel": '{"type": "response.cancel"}',
    "response of another type": '{"type": "response.create", "response": 5}',
    "item_id of another type": '{"type": "conversation.item.retrieve", "item_id": {"a": 1}}',
}


@pytest.mark.parametrize("message", INVALID.values(), ids=INVALID)
def test_an_invalid_event_is_an_error_and_the_session_continues(connect, message):
    client = connect()
    assert not client.session.handle(message)
    (error,) = client.of("error")
    assert error["error"]["type"] == "invalid_request_error" and error["error"]["code"]
    client.send("conversation.item.create", item=QUESTION)
    client.send("response.create")
    assert client.wait("response.done")["response"]["status"] == "completed"


def test_audio_that_arrives_too_fast_is_refused(connect, monkeypatch):
    monkeypatch.setattr("vocalmtp.server.realtime.session.MAX_AHEAD", 0.5)
    client = connect()
    client.speak(silence(60.0))
    assert client.wait("error")["error"]["code"] == "out_of_range"
