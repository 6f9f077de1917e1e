"""A speech LM with random weights as recognizer and responder."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.chat_fakes import silence, speech_probability, tone
from helpers.errors import error_code, raises_input_error
from helpers.tiny_chat_model import save_tiny_chat_model
from helpers.toy_model import save_toy_model
from transformers import AutoTokenizer

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.chat.answer_stream import APOLOGIES
from vocalmtp.chat.history import Message
from vocalmtp.chat.pipeline import build_pipeline
from vocalmtp.chat.responders import AnswerRequest, SpeechLMResponder
from vocalmtp.chat.transformers_chat import TransformersChat
from vocalmtp.cli import main
from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.loading import load
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.recognizers.base import build_recognizer


@pytest.fixture(scope="module", params=["codes", "mels"])
def folder(tmp_path_factory, request) -> Path:
    audio_input = {"width": 16, "layers": 1, "end_id": 35, "source": request.param}
    return save_toy_model(tmp_path_factory.mktemp("model") / "toy", audio_input=audio_input)


@pytest.fixture
def responder(folder, monkeypatch) -> SpeechLMResponder:
    monkeypatch.setattr("vocalmtp.dialogue.MAX_TOKENS", 10)
    return SpeechLMResponder(load(folder))


class Sink:
    """Collects an answer."""

    max_chars, live, think_seconds = 100, False, None

    def __init__(self):
        self.full_text, self.samples, self.errors = "", 0, []

    def text(self, delta):
        self.full_text += delta

    def audio(self, samples, sample_rate, words):
        self.samples += len(samples)

    def error(self, code, message):
        self.errors.append(code)

    def mark(self, part):
        pass

    def thought(self, delta):
        pass

    def on_cancel(self, action):
        return nullcontext()


def request(text: str, samples: np.ndarray | None) -> AnswerRequest:
    return AnswerRequest(messages=[Message("user", text)], voice="ann", seed=1, samples=samples)


def test_spoken_and_typed_turns_are_answered(responder):
    assert responder.end_to_end
    transcript = responder.recognizer.transcribe(tone(0.6))
    assert transcript
    spoken, typed, unknown = Sink(), Sink(), Sink()
    responder.answer(request(transcript, tone(0.6)), spoken)
    assert spoken.full_text and spoken.samples and not spoken.errors
    responder.answer(request("what is two plus two?", None), typed)
    assert typed.full_text and typed.samples
    responder.answer(request("", tone(0.6)), unknown)  # it transcribes before it answers
    assert (unknown.full_text, unknown.samples) == (spoken.full_text, spoken.samples)


@pytest.fixture(scope="module")
def interleaved(tmp_path_factory) -> Path:
    """A model whose text and speech alternate; it never ends a text."""
    settings = {"audio_input": {"width": 16, "layers": 1, "end_id": 35}, "text": "prompt"}
    folder = tmp_path_factory.mktemp("model") / "interleaved"
    return save_toy_model(folder, interleave={"text": 4, "steps": 2}, **settings)


class OrderedSink(Sink):
    """Notes whether text or audio came."""

    max_chars = 12

    def __init__(self):
        super().__init__()
        self.order, self.words = "", []

    def text(self, delta):
        super().text(delta)
        self.order += "t"

    def audio(self, samples, sample_rate, words):
        super().audio(samples, sample_rate, words)
        self.order += "a"
        self.words += words


def test_text_and_speech_of_an_answer_alternate(interleaved, monkeypatch):
    monkeypatch.setattr("vocalmtp.dialogue.MAX_TOKENS", 10)
    responder = SpeechLMResponder(load(interleaved))
    out, silent = OrderedSink(), OrderedSink()
    responder.answer(request("what is one?", tone(0.6)), out)
    assert out.order.startswith("t") and "at" in out.order and not out.errors
    assert len(out.full_text) <= out.max_chars and out.samples
    (word,) = out.words  # all of it, at the end
    assert word.text == out.full_text and word.span == (0, len(out.full_text))
    assert word.end == pytest.approx(out.samples / load(interleaved).sample_rate)
    written = replace(request("what is one?", tone(0.6)), spoken=False)
    responder.answer(written, silent)
    assert silent.full_text and not silent.samples


def test_an_answer_in_a_batch_is_the_streamed_one(interleaved, monkeypatch):
    monkeypatch.setattr("vocalmtp.dialogue.MAX_TOKENS", 10)
    model = DialogueModel(load(interleaved))
    queries = [Query(text=text, voice="ann") for text in ("what is one?", "who are you?", "hi.")]
    for query, (text, audio) in zip(queries, model.speak(queries, 5, batch_size=2), strict=True):
        pieces = list(model.stream_answer(query, 5))
        assert "".join(p for p in pieces if isinstance(p, str)) == text
        chunks = [p.samples for p in pieces if isinstance(p, Audio)]
        np.testing.assert_allclose(np.concatenate(chunks), audio.samples, atol=1e-5)
        assert audio.truncated and len(chunks) > 2


def test_models_that_write_first_have_no_streamed_answers(responder):
    with raises_input_error("unsupported", "model"):
        next(responder._model.stream_answer(Query(text="hi.")))


def test_turn_without_words_is_answered_by_an_apology(responder, monkeypatch):
    monkeypatch.setattr(DialogueModel, "transcribe", lambda self, audio: ["."])
    out = Sink()
    responder.answer(request("", silence(0.5)), out)
    assert out.full_text == APOLOGIES["not_understood"] and out.errors == ["not_understood"]


def test_recording_is_answered_from_file_to_file(
    folder, interleaved, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("vocalmtp.dialogue.MAX_TOKENS", 10)
    monkeypatch.setattr("vocalmtp.audio.vad.VoiceActivityDetector.__call__", speech_probability)
    Audio(np.concatenate([silence(0.3), tone(0.8)]), 16_000).save(tmp_path / "question.wav")
    files = ["--input", str(tmp_path / "question.wav"), "--output", str(tmp_path / "answer.wav")]
    for model in (folder, interleaved):
        with pytest.raises(SystemExit, match="0"):
            main(["chat", "--native", "--model", str(model), *files])
        printed = capsys.readouterr()
        user, answer = printed.out.splitlines()
        assert user.startswith("you: ") and answer.startswith("answer: ")
        assert "answers: speech LM; recognizer: speech LM" in printed.err
        assert len(read_audio(tmp_path / "answer.wav", 16_000))
        (tmp_path / "answer.wav").unlink()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--llm", "folder"], "conflict"),
        (["--recognizer", "pocketsphinx"], "conflict"),
        (["--llm-model", "name"], "conflict"),
        (["--system", "Be."], "conflict"),
        ([], "unsupported"),  # the model has no audio input
    ],
)
def test_native_refuses_other_parts_and_models_without_audio_input(
    arguments, code, capsys, tmp_path
):
    folder = save_toy_model(tmp_path / "tts")
    with pytest.raises(SystemExit, match="2"):
        main(["chat", "--native", "--terminal", "--model", str(folder), *arguments])
    assert error_code(capsys.readouterr().err) == code


def test_speech_lm_is_a_recognizer_for_other_responders(folder, monkeypatch):
    monkeypatch.setattr(DialogueModel, "transcribe", lambda self, audio: ["hello"])
    recognizer = build_recognizer(str(folder))
    stream = recognizer.open_stream()
    stream.push(tone(1.0))
    assert stream.text(settled=True) == "hello" and folder.name in recognizer.description


def test_texts_with_figures_and_capitals_are_counted(responder):
    assert responder.count_tokens("You are FRIENDLY: answer in 2 sentences!") > 20


def test_a_model_over_a_text_lm_answers_by_that_one(tmp_path):
    llm = save_tiny_chat_model(tmp_path / "llm")
    trunk = json.loads((llm / "config.json").read_text()) | {"tie_word_embeddings": True}
    model = save_toy_model(tmp_path / "model", trunk=trunk, text="both")
    AutoTokenizer.from_pretrained(llm).save_pretrained(model)
    text_lm = SpeechLM.load(model).trunk.causal_lm()
    prompt = TransformersChat(llm).prompt([Message("user", "the cat")])
    ids = AutoTokenizer.from_pretrained(llm)(prompt, return_tensors="pt").input_ids
    made = text_lm.generate(ids, do_sample=False, max_new_tokens=6)[0, ids.shape[1] :].tolist()

    pipeline = build_pipeline(str(model), responder="speech-lm", recognizer="pocketsphinx")
    assert pipeline.recognizer.name.startswith("pocketsphinx")  # it does not hear by itself
    pipeline.responder.llm._max_tokens = 6
    out = Sink()
    pipeline.responder.answer(request("the cat", None), out)
    expected = AutoTokenizer.from_pretrained(llm).decode(made, skip_special_tokens=True)
    assert out.full_text.strip() == expected.strip() and out.samples and not out.errors
    with raises_input_error("conflict", "llm"):
        build_pipeline(str(model), llm="echo", responder="speech-lm")


def test_a_text_lm_without_its_output_layer_writes_nothing(tmp_path):
    llm = save_tiny_chat_model(tmp_path / "llm")
    trunk = json.loads((llm / "config.json").read_text())
    model = save_toy_model(tmp_path / "model", trunk=trunk, text="both")
    with raises_input_error("unsupported", "trunk"):
        build_pipeline(str(model), responder="speech-lm")
