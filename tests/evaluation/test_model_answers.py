"""RoleTriviaQA with a model's own answers, from written or spoken questions."""

import json
from pathlib import Path

import pytest
import soundfile
from helpers.errors import raises_input_error
from helpers.sounds import buzz
from helpers.toy_model import save_toy_model

from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.evaluation.config import RoleTriviaQAConfig
from vocalmtp.evaluation.roletriviaqa import run_roletriviaqa
from vocalmtp.loading import load


@pytest.fixture(scope="module")
def listener(tmp_path_factory) -> Path:
    """A model with audio input."""
    audio = {"width": 16, "layers": 1, "end_id": 35}
    return save_toy_model(tmp_path_factory.mktemp("model") / "toy", audio_input=audio)


@pytest.fixture
def answer(tmp_path, listener, hi_there, monkeypatch):
    """Runs the benchmark; returns its report and its rows by id."""
    monkeypatch.setattr("vocalmtp.dialogue.MAX_TOKENS", 12)
    data = tmp_path / "data"
    for role in ("one", "two"):
        (data / "references" / role).mkdir(parents=True)
        soundfile.write(data / "references" / role / "0.wav", buzz(1.5), 16_000)
    soundfile.write(data / "question.wav", buzz(0.8), 16_000)
    base = {"question": "what is one?", "aliases": ["one"], "answer": "one.", "split": "test"}
    spoken = {"question_audio": "question.wav", "question_voice": "kal"}
    rows = [
        base | spoken | {"id": "a", "role": "one", "seen": True},
        base | {"id": "b", "role": "two", "seen": False},
        base | {"id": "c", "role": "two", "seen": False, "question_audio": "nowhere.wav"},
    ]
    (data / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**changes) -> tuple[str, dict[str, dict]]:
        settings = {"data": str(data), "output": tmp_path / "out", "model": str(listener)}
        settings |= {"answers": "own", "judge": ["test-loudness"], "speed": False}
        config = RoleTriviaQAConfig(**settings | {"mos_items": 0, "processes": 1} | changes)
        text = run_roletriviaqa(config)
        lines = (config.output / "results.jsonl").read_text().splitlines()
        return text, {row["id"]: row for row in map(json.loads, lines)}

    return make


def test_written_questions_are_answered_in_speech(answer, listener):
    text, rows = answer()
    assert rows.keys() == {"a", "b"} and "nowhere.wav" in text
    assert len(rows["a"]["text_answer"]) > 0 and "question_transcript" not in rows["a"]
    model = DialogueModel(load(listener))
    query = Query(text="what is one?", voice=model.tts.find_voice(None))
    assert "".join(model.stream_text(query)) == model.answer([query])[0]


def test_interleaved_answers_are_written_and_spoken_together(answer, tmp_path):
    audio = {"width": 16, "layers": 1, "end_id": 35}
    settings = {"text": "prompt", "audio_input": audio, "interleave": {"text": 4, "steps": 2}}
    model = save_toy_model(tmp_path / "interleaved", **settings)
    text, rows = answer(ask="speech", model=str(model))
    assert rows["a"]["text_answer"] and rows["a"]["question_transcript"] and rows["a"]["seconds"]
    assert rows["b"]["failure"] == "no text" and "question_transcript" not in rows["b"]


def test_spoken_questions_are_transcribed_and_answered(answer):
    text, rows = answer(ask="speech")
    assert rows["a"]["question_transcript"] and rows["a"]["asr_words"] == 3
    assert rows["b"]["failure"] == "no text" and "question_transcript" not in rows["b"]
    assert "| questions in the voice kal |" in text
    with raises_input_error("other_run", "output", names="ask"):
        answer()


def test_decoder_may_receive_the_vector_of_another_role(answer):
    text, rows = answer(answers="gold", speaker_conditioning="swapped")
    assert rows["a"]["decoder_role"] == "two" and rows["b"]["decoder_role"] == "one"
    assert "| similarity to the decoder's role | " in text


def test_spoken_questions_need_a_model_that_answers_from_audio(answer, tmp_path):
    with raises_input_error("conflict", "ask"):
        answer(answers="gold", ask="speech")
    text_only = save_toy_model(tmp_path / "text-only")
    with raises_input_error("unsupported"):
        answer(model=str(text_only), output=tmp_path / "other")
