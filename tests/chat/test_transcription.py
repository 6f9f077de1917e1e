"""Failing recognizers, and sessions that are closed within a turn."""

import time

import numpy as np
import pytest
from helpers.chat_fakes import ScriptedWriter, silence, tone, until

from vocalmtp.chat.transcription import TranscriptionWorker
from vocalmtp.recognizers.pocketsphinx import PocketsphinxRecognizer


@pytest.fixture(scope="module")
def ear() -> PocketsphinxRecognizer:
    return PocketsphinxRecognizer()


def _kill(process) -> None:
    process._process.kill()
    process._process.wait()


def test_who_hears_may_die(ear, make_session):
    session = make_session(ScriptedWriter("Yes."))
    session._listener = TranscriptionWorker(ear, session._report, session._failed)
    session.feed(tone(0.3))
    until(session, "speech_started")
    while session._heard.hearing is None:
        time.sleep(0.01)
    _kill(session._heard.hearing._process)
    session.feed(np.concatenate([tone(0.3), silence(0.8)]))
    events = until(session, "listening")
    assert [e.kind for e in events].count("error") == 1
    assert "could not hear" in next(e for e in events if e.kind == "error").message


def test_a_session_that_is_closed_within_a_turn_gives_its_decoder_back(ear, make_session):
    session = make_session()
    session._listener = TranscriptionWorker(ear, session._report, session._failed)
    count = len(ear._idle)
    session.feed(tone(0.3))
    session.close()
    deadline = time.monotonic() + 10
    while len(ear._idle) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)
