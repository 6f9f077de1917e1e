"""A conversation with a recording."""

import numpy as np
import pytest
from helpers.chat_fakes import ScriptedWriter, kinds, silence, tone

from vocalmtp.chat.recorded import converse
from vocalmtp.errors import InputError


def test_every_turn_is_answered_whole(make_session):
    session = make_session(ScriptedWriter("One two three."))
    sound = np.concatenate([tone(0.3), silence(1.0), tone(0.5)])  # goes on within the answer
    events = list(converse(session, sound))
    assert [e.text for e in events if e.kind == "transcript" and e.final] == [
        "3 tenths",
        "5 tenths",
    ]
    assert [e.text for e in events if e.kind == "finished"] == ["One two three."] * 2
    assert "interrupted" not in kinds(events)


def test_what_is_not_understood_is_not_answered(make_session, monkeypatch):
    session = make_session()
    monkeypatch.setattr("helpers.chat_fakes.CountingEar.text", lambda self, settled=False: "")
    events = list(converse(session, tone(0.5)))
    assert kinds(events)[-1] == "listening"
    assert "finished" not in kinds(events)


def test_a_recording_without_speech(make_session):
    with pytest.raises(InputError, match="no speech"):
        list(converse(make_session(), silence(1.0)))
