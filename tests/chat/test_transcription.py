"""The transcription thread of a session with pocketsphinx's child processes."""

import os
import signal
import time

import numpy as np
import pytest
from helpers.chat_fakes import ScriptedLLM, error_codes, silence, tone, until

from vocalmtp.recognizers.base import Recognizer, RecognizerStream
from vocalmtp.recognizers.pocketsphinx import PocketsphinxRecognizer, PocketsphinxStream


class Recorder(Recognizer):
    """Keeps the streams of pocketsphinx."""

    name = description = "pocketsphinx"

    def __init__(self) -> None:
        self.recognizer = PocketsphinxRecognizer()
        self.streams: list[PocketsphinxStream] = []

    def transcribe(self, samples: np.ndarray) -> str:
        return self.recognizer.transcribe(samples)

    def open_stream(self) -> RecognizerStream:
        self.streams.append(self.recognizer.open_stream())
        return self.streams[-1]


@pytest.fixture(scope="module")
def recorder() -> Recorder:
    return Recorder()


def test_recognizer_that_dies_within_a_turn_is_reported(recorder, make_session):
    recorder.streams.clear()
    session = make_session(ScriptedLLM("Yes."), recognizer=recorder)
    session.feed(tone(0.3))
    until(session, "speech_started")
    while not recorder.streams:
        time.sleep(0.01)
    os.kill(recorder.streams[0].pid, signal.SIGKILL)
    session.feed(np.concatenate([tone(0.3), silence(0.8)]))
    assert error_codes(until(session, "listening")) == ["recognition_failed"]


def test_closing_a_session_within_a_turn_returns_its_stream(recorder, make_session):
    recorder.streams.clear()
    session = make_session(recognizer=recorder)
    session.feed(tone(0.3))
    session.close()
    (stream,) = recorder.streams
    again = recorder.recognizer.open_stream()
    assert again.pid == stream.pid
    again.close()
