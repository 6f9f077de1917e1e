"""A conversation with a model that hears and answers by itself, with random weights."""

from pathlib import Path

import numpy as np
import pytest
from helpers.chat_fakes import silence, tone
from helpers.toy_model import save_toy_model

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.chat.answer import Turn
from vocalmtp.chat.history import Message
from vocalmtp.chat.native import NOTHING, SpeechLMResponder
from vocalmtp.cli import main
from vocalmtp.dialogue import DialogueModel
from vocalmtp.recognizers.base import build_recognizer
from vocalmtp.recognizers.speech_lm import SpeechLMRecognizer
from vocalmtp.tts import load


@pytest.fixture(scope="module", params=["codes", "mels"])
def folder(tmp_path_factory, request) -> Path:
    audio_input = {"width": 16, "layers": 1, "end_id": 35, "source": request.param}
    return save_toy_model(tmp_path_factory.mktemp("model") / "toy", audio_input=audio_input)


@pytest.fixture
def native(folder, monkeypatch) -> SpeechLMResponder:
    monkeypatch.setattr("vocalmtp.dialogue.MAX_TOKENS", 10)
    return SpeechLMResponder(DialogueModel(load(folder)))


class AnswerSink:
    """Keeps what leaves."""

    longest = 100

    def __init__(self):
        self.written, self.samples, self.failures = "", 0, []

    def text(self, delta):
        self.written += delta

    def audio(self, samples, sample_rate, words):
        self.samples += len(samples)

    def failure(self, message):
        self.failures.append(message)

    def mark(self, part):
        pass

    def on_cancel(self, action):
        from contextlib import nullcontext

        return nullcontext()


def turn(text: str, samples: np.ndarray | None) -> Turn:
    return Turn(messages=[Message("user", text)], voice="ann", seed=1, samples=samples)


def test_a_turn_is_heard_shown_and_answered(native):
    hearing = SpeechLMRecognizer(native._respondent).open_stream()
    hearing.push(tone(0.6))
    shown = hearing.text(settled=True)
    assert native.hears and shown
    out = AnswerSink()
    native.answer(turn(shown, tone(0.6)), out)
    assert out.written and out.samples and not out.failures
    typed = AnswerSink()
    native.answer(turn("what is two plus two?", None), typed)
    assert typed.written and typed.samples
    unknown = AnswerSink()  # a session without an ear: it transcribes before it answers
    native.answer(turn("", tone(0.6)), unknown)
    assert unknown.written == out.written and unknown.samples == out.samples


def test_nothing_is_understood(native, monkeypatch):
    monkeypatch.setattr(DialogueModel, "transcribe", lambda self, heard: ["."])
    out = AnswerSink()
    native.answer(turn("", silence(0.5)), out)
    assert out.written == NOTHING and out.failures == ["Nothing was understood."]


def test_a_recording_is_answered_from_file_to_file(folder, native, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vocalmtp.audio.vad.VoiceActivityDetector.__call__", loud)
    Audio(np.concatenate([silence(0.3), tone(0.8)]), 16_000).save(tmp_path / "question.wav")
    files = ["--input", str(tmp_path / "question.wav"), "--output", str(tmp_path / "answer.wav")]
    with pytest.raises(SystemExit, match="0"):
        main(["chat", "--native", "--model", str(folder), *files])
    printed = capsys.readouterr()
    heard, answer = printed.out.splitlines()
    assert heard.startswith("you: ") and answer.startswith("answer: ")
    assert "answers: native; ear: speech LM" in printed.err
    assert len(read_audio(tmp_path / "answer.wav", 16_000))


def loud(self, frame: np.ndarray) -> float:
    return float(np.sqrt(np.mean(frame**2)) > 0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--llm", "folder"], "native needs none"),
        (["--ear", "pocketsphinx"], "native needs none"),
        (["--llm-model", "name"], "llm-model 'name': native needs none"),
        (["--device", "cuda"], "device 'cuda': native needs none"),
        (["--system", "Be."], "system 'Be.'"),
        ([], "has no audio input"),
    ],
)
def test_what_does_not_go_with_it(arguments, message, capsys, tmp_path):
    folder = save_toy_model(tmp_path / "deaf")
    with pytest.raises(SystemExit, match="2"):
        main(["chat", "--native", "--terminal", "--model", str(folder), *arguments])
    assert message in capsys.readouterr().err


def test_it_may_hear_for_somebody_else(folder, monkeypatch):
    monkeypatch.setattr(DialogueModel, "transcribe", lambda self, heard: ["hello"])
    ear = build_recognizer(str(folder))
    hearing = ear.open_stream()
    hearing.push(tone(1.0))
    assert hearing.text(settled=True) == "hello" and folder.name in ear.description


def test_texts_of_people_are_counted(native):
    assert native.count_tokens("You are FRIENDLY: answer in 2 sentences!") > 20
