"""A conversation with a recording."""

import numpy as np
from helpers.chat_fakes import CountingStream, ScriptedLLM, kinds, silence, tone
from helpers.errors import raises_input_error

from vocalmtp.chat.recorded import converse


def test_every_turn_of_a_recording_is_answered_completely(make_session):
    session = make_session(ScriptedLLM("One two three."))
    samples = np.concatenate([tone(0.3), silence(1.0), tone(0.5)])  # continues during the answer
    events = list(converse(session, samples))
    assert [e.text for e in events if e.kind == "transcript" and e.final] == [
        "3 tenths",
        "5 tenths",
    ]
    assert [e.text for e in events if e.kind == "finished"] == ["One two three."] * 2
    assert "interrupted" not in kinds(events)


def test_turn_with_empty_transcript_is_not_answered(make_session, monkeypatch):
    session = make_session()
    monkeypatch.setattr(CountingStream, "text", lambda self, settled=False: "")
    events = list(converse(session, tone(0.5)))
    assert kinds(events)[-1] == "listening"
    assert "finished" not in kinds(events)


def test_recording_without_speech_is_refused(make_session):
    with raises_input_error("empty", key="input"):
        list(converse(make_session(), silence(1.0)))
