"""The ears: pocketsphinx on real speech, Whisper on random weights, and when they are asked."""

import threading
import time

import numpy as np
import pytest
from helpers.chat_fakes import QUESTION, ScriptedWriter, silence, tone, until
from helpers.tiny_whisper import save_tiny_whisper

import vocalmtp
from vocalmtp.audio.io import resample
from vocalmtp.chat.transcription import TranscriptionWorker
from vocalmtp.errors import InputError
from vocalmtp.evaluation.intelligibility import word_errors
from vocalmtp.recognizers.base import (
    SAMPLE_RATE,
    BufferedRecognizerStream,
    PocketsphinxRecognizer,
    build_recognizer,
)


@pytest.fixture(scope="module")
def ear() -> PocketsphinxRecognizer:
    return PocketsphinxRecognizer()


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    audio = vocalmtp.load("mini")(QUESTION, greedy=True)
    samples = resample(audio.samples, audio.sample_rate, SAMPLE_RATE)
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(samples) + 3200)
    return np.pad(samples, (1600, 1600)) + noise.astype(np.float32)


def hear(ear, samples: np.ndarray, size: int = 512) -> str:
    hearing = ear.listen()
    for start in range(0, len(samples), size):
        hearing.push(samples[start : start + size])
    text = hearing.text(settled=True)
    hearing.close()
    return text


def test_pocketsphinx_hears_while_the_user_speaks(ear, speech):
    hearing = ear.listen()
    partial = []
    for start in range(0, len(speech), 1600):
        hearing.push(speech[start : start + 1600])
        partial.append(hearing.text())
    assert partial[0] == ""
    assert partial[-1]
    text = hearing.text(settled=True)
    assert hearing.text(settled=True) == text
    hearing.close()
    assert word_errors(QUESTION, text).rate <= 0.5
    assert hear(ear, speech) == text  # the next turn does not depend on the one before


def test_a_decoder_is_of_one_turn_at_a_time_and_then_used_again(speech):
    ear = PocketsphinxRecognizer()
    expected = hear(ear, speech)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(hear(ear, speech, 4000))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 2
    assert len(ear._idle) == 2
    ear.listen().close()
    assert len(ear._idle) == 2


def _kill(process) -> None:
    process._process.kill()
    process._process.wait()


def test_who_hears_may_die(ear, speech, make_session):
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
    assert hear(ear, speech)  # another one takes its place
    _kill(ear._idle[-1])
    assert hear(ear, speech)


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


def test_silence_is_heard_as_nothing_and_speech_goes_on_after_a_pause(ear, speech):
    assert hear(ear, np.zeros(SAMPLE_RATE // 2, np.float32)) in ("", "the", "a")
    hearing = ear.listen()
    assert hearing.text(settled=True) == ""
    hearing.push(speech)
    once = hearing.text(settled=True)
    hearing.push(speech)
    assert hearing.text(settled=True).startswith(once + " ")
    hearing.close()


def test_a_recogniser_of_whole_recordings_is_not_asked_too_often():
    asked: list[int] = []
    hearing = BufferedRecognizerStream(
        lambda samples: asked.append(len(samples)) or f" {len(samples)} "
    )
    for _ in range(100):  # 3.2 s
        hearing.push(np.zeros(512, np.float32))
        hearing.text()
    assert len(asked) == 3
    assert hearing.text(settled=True) == "51200"
    assert hearing.text(settled=True) == "51200"
    assert len(asked) == 4


def test_whisper_from_a_folder(tmp_path, speech):
    ear = build_recognizer(str(save_tiny_whisper(tmp_path / "tiny")))
    assert ear.name == "Whisper (tiny)"
    text = hear(ear, speech)
    assert text  # random weights: letters, but always the same
    assert hear(ear, speech, 16_000) == text
    assert "<|" not in text


@pytest.mark.parametrize("name", ["whispr", "folder"])
def test_what_is_no_ear_is_said_in_one_line(tmp_path, monkeypatch, name):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"ear '{name}'"):
        build_recognizer(name)
