"""Answers of a model's own in the benchmark of roles: questions that it reads, or hears."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.sounds import buzz
from helpers.toy_model import save_toy_model

from vocalmtp.dialogue import DialogueModel, Query
from vocalmtp.errors import InputError
from vocalmtp.evaluation import judges
from vocalmtp.evaluation.items import pick_items
from vocalmtp.evaluation.recognition import run_hearing
from vocalmtp.evaluation.roletriviaqa import RoleRun, run_roletriviaqa
from vocalmtp.recognizers.base import build_recognizer
from vocalmtp.tts import load


class Nobody:
    """Finds all voices alike."""

    name, about = "nobody", "nobody"

    def embed(self, path: Path) -> np.ndarray:
        return np.ones(2) / 2**0.5


@pytest.fixture(scope="module")
def listener(tmp_path_factory) -> Path:
    audio_input = {"width": 16, "layers": 1, "end_id": 35}
    return save_toy_model(tmp_path_factory.mktemp("model") / "toy", audio_input=audio_input)


@pytest.fixture
def ask(tmp_path, listener, quick_ears, monkeypatch):
    monkeypatch.setitem(judges.SPEAKER_JUDGES, "nobody", Nobody)
    monkeypatch.setattr("vocalmtp.dialogue.MAX_TOKENS", 12)
    data = tmp_path / "data"
    for role in ("one", "two"):
        (data / "references" / role).mkdir(parents=True)
        soundfile.write(data / "references" / role / "0.wav", buzz(1.5), 16_000)
    soundfile.write(data / "asked.wav", buzz(0.8), 16_000)
    base = {"question": "what is one?", "aliases": ["one"], "answer": "one.", "split": "test"}
    rows = [
        base | {"id": "a", "role": "one", "seen": True, "asked": "asked.wav", "asker": "kal"},
        base | {"id": "b", "role": "two", "seen": False},
    ]
    rows.append(base | {"id": "c", "role": "two", "seen": False, "asked": "nowhere.wav"})
    (data / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(**changes) -> tuple[str, dict[str, dict]]:
        run = RoleRun(
            **{
                "data": str(data),
                "output": tmp_path / "out",
                "model": str(listener),
                "answers": "own",
                "speaker_judge": "nobody",
                "speed": False,
                "sound": 0,
                "processes": 1,
            }
            | changes
        )
        text = run_roletriviaqa(run)
        lines = (run.output / "results.jsonl").read_text().splitlines()
        return text, {row["id"]: row for row in map(json.loads, lines)}

    return make


def test_questions_are_read_and_the_answers_spoken(ask, listener):
    text, rows = ask()
    assert rows.keys() == {"a", "b"} and "audio 'nowhere.wav' is not there" in text
    respondent = DialogueModel(load(listener))
    voice = respondent.tts.find_voice(None)
    assert len(rows["a"]["text_answer"]) > 0 and "understood" not in rows["a"]
    assert "which reads the questions" in text
    asked = Query(text="what is one?", voice=voice)
    assert "".join(respondent.stream_text(asked)) == respondent.answer([asked])[0]


def test_questions_are_heard(ask):
    text, rows = ask(ask="speech")
    assert rows["a"]["understood"] and rows["a"]["asr_words"] == 3
    assert rows["b"]["failure"] == "no text" and "understood" not in rows["b"]  # not spoken
    assert "WER of the questions heard" in text and "| asked by kal |" in text
    assert "which hears the questions" in text
    with pytest.raises(InputError, match="made with ask 'speech', not 'text'"):
        ask()


def test_the_decoder_may_be_told_another_role(ask):
    text, rows = ask(answers="gold", speaker_conditioning="swapped")
    assert rows["a"]["decoder_role"] == "two" and rows["b"]["decoder_role"] == "one"
    assert "| similarity to the decoder's role | " in text


def test_transcripts_have_a_word_error_rate(listener, manifest, tmp_path, monkeypatch):
    monkeypatch.setattr(DialogueModel, "transcribe", lambda self, heard: ["hi"] * len(heard))
    ear, items = build_recognizer(str(listener)), pick_items(manifest, "test", [], None)
    lines = run_hearing(ear, items, tmp_path / "out", "toy")
    found = {line.system: line.figure.value for line in lines}
    assert found == {"all": 4 / 6, "ann": 3 / 4, "bob": 1 / 2}
    monkeypatch.setattr(DialogueModel, "encode_audio", None)  # nothing is heard again
    assert run_hearing(ear, items, tmp_path / "out", "toy") == lines
    with pytest.raises(InputError, match="made with ear 'toy', not 'other'"):
        run_hearing(ear, items, tmp_path / "out", "other")


def test_what_cannot_be_asked(ask, tmp_path):
    with pytest.raises(InputError, match="give --answers own"):
        ask(answers="gold", ask="speech")
    deaf = save_toy_model(tmp_path / "deaf")
    with pytest.raises(InputError, match="does not listen"):
        ask(model=str(deaf), output=tmp_path / "other")
