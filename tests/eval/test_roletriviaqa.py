"""The benchmark of roles from question to report, on a toy model and with quick judges."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.sounds import buzz

from vocalmtp.audio.io import read_audio
from vocalmtp.bench import speed
from vocalmtp.errors import InputError
from vocalmtp.evaluation import judges
from vocalmtp.evaluation.questions import Question
from vocalmtp.evaluation.responders import Cascade, read_texts
from vocalmtp.evaluation.role_report import confusion, figures, voice_scores
from vocalmtp.evaluation.roletriviaqa import RoleRun, run_roletriviaqa


class Loudness:
    """Tells recordings apart by how loud they are: near (1, 0) or near (0, 1)."""

    name, about = "loudness", "how loud it is"

    def embed(self, path: Path) -> np.ndarray:
        loud = float(np.abs(read_audio(path, 16_000)).max())
        angle = np.clip(loud, 0, 1) * np.pi / 2
        return np.array([np.cos(angle), np.sin(angle)])


@pytest.fixture(autouse=True)
def _quick(quick_ears, monkeypatch):
    monkeypatch.setitem(judges.SPEAKER_JUDGES, "loudness", Loudness)
    monkeypatch.setattr("vocalmtp.evaluation.quality.dnsmos", lambda path: {"ovrl": 3.0})
    monkeypatch.setattr("vocalmtp.evaluation.quality.check_dnsmos", lambda: None)
    monkeypatch.setattr(speed, "SENTENCES", ("Hi.",))


@pytest.fixture
def data(tmp_path) -> Path:
    """Three questions of two roles, two of them with recordings, and a reference of each role."""
    folder = tmp_path / "data"
    for role, level in (("quiet", 0.3), ("loud", 3.0)):
        (folder / "references" / role).mkdir(parents=True)
        path = folder / "references" / role / "0.wav"
        soundfile.write(path, np.clip(buzz(1.5) * level, -1, 1), 16_000)
        soundfile.write(folder / f"{role}.wav", np.clip(buzz(1.0) * level, -1, 1), 16_000)
    base = {"question": "What?", "split": "test"}
    rows = [
        {"id": "a", "aliases": ["hi there"], "answer": "The answer is hi there.", "role": "quiet"}
        | {"seen": True, "audio": "quiet.wav"},
        {"id": "b", "aliases": ["hi there"], "answer": "Hi there.", "role": "loud", "seen": False}
        | {"audio": "loud.wav", "domain": "out"},
        {"id": "c", "aliases": ["9"], "answer": "Nine.", "role": "loud", "seen": False},
    ]
    lines = [json.dumps(base | row) + "\n" for row in rows] + ["{}\n"]
    (folder / "questions.jsonl").write_text("".join(lines))
    return folder


@pytest.fixture
def ask(data, tmp_path, toy_folder):
    """A run with other settings than the quick ones."""

    def make(**changes) -> RoleRun:
        base = {"data": str(data), "output": tmp_path / "out", "model": str(toy_folder)}
        base |= {"speaker_judge": "loudness", "speed": False, "processes": 1}
        return RoleRun(**(base | changes))

    return make


def results(asked: RoleRun) -> dict[str, dict]:
    lines = (asked.output / "results.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_recordings_score_as_they_are(ask):
    asked = ask(answers="natural")
    text = run_roletriviaqa(asked)
    rows = results(asked)
    assert rows["a"]["em"] == rows["a"]["em_speech"] == 1 and rows["a"]["transcript"] == "hi there"
    assert rows["a"]["agreement_errors"] == 3  # "the answer is" was not heard
    assert rows["c"]["failure"] == "no recording" and rows["c"]["em_speech"] == 0
    assert rows["c"]["agreement_errors"] == rows["c"]["agreement_words"] == 1
    assert rows["c"]["similarity"] == {"loud": 0.0, "quiet": 0.0}
    assert voice_scores(rows["a"])[2] == voice_scores(rows["b"])[2] == 1
    assert rows["b"]["domain"] == "out" and rows["b"]["dnsmos"] == 3.0
    assert "| | all | seen roles | unseen roles | in-domain | out-of-domain |" in text.replace(
        "|  |", "| |"
    )
    assert "| ... no recording | 33.3 %" in text
    assert "3 questions of the split test; 1 rows were broken and left out." in text
    assert "Left out: questions.jsonl line 4: 'id': field required." in text
    assert "pocketsphinx, US English; voices by how loud it is" in text
    found = json.loads((asked.output / "confusion.json").read_text())
    assert found["roles"] == ["loud", "quiet"]
    for name in ("confusion.png", "similarity.png", "knowledge.png", "roletriviaqa.json"):
        assert (asked.output / name).stat().st_size > 500


def test_a_model_says_the_gold_and_goes_on_where_it_stopped(ask, tts, monkeypatch):
    asked = ask(speed=True, limit=1, batch_size=2)
    text = run_roletriviaqa(asked)
    rows = results(asked)
    assert rows.keys() == {"a", "b", "c"}  # the first of every role and domain
    assert all((asked.output / row["audio"]).is_file() for row in rows.values())
    assert rows["c"]["text_answer"] == "Nine." and rows["c"]["em"] == 0
    assert "| steps a second, batch 2 |" in text and "| first audio |" in text
    before = (asked.output / rows["a"]["audio"]).stat().st_mtime_ns
    monkeypatch.setattr(Cascade, "answer", None)  # nothing is said again
    assert run_roletriviaqa(ask(batch_size=3)) != text  # without its speed
    assert (asked.output / rows["a"]["audio"]).stat().st_mtime_ns == before
    with pytest.raises(InputError, match="its rows were made with seed 0, not 1; choose another"):
        run_roletriviaqa(ask(seed=1))


def test_answers_of_another_model_may_be_empty_endless_or_unreadable(ask, tmp_path):
    texts = {"a": "Hi there.", "b": "so " * 1000, "c": "\u6771\u4eac"}
    file = tmp_path / "texts.jsonl"
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()]
    file.write_text("".join(lines))
    asked = ask(answers=str(file))
    text = run_roletriviaqa(asked)
    rows = results(asked)
    assert rows["a"]["audio"] and rows["b"]["failure"] == "endless text"
    assert rows["c"]["failure"].startswith("refused: text") and rows["c"]["audio"] is None
    assert "saying the texts 'texts.jsonl'" in text and "| ... refused | 33.3 %" in text
    file.write_text('{"id": "a", "text": ""}\n')
    again = ask(answers=str(file), output=tmp_path / "empty")
    run_roletriviaqa(again)
    assert {row["failure"] for row in results(again).values()} == {"no text"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; give gold, natural or a .jsonl file"),
        ('{"id": "a"}\n', "line 1: 'text': field required"),
        ('{"id": "z", "text": "x"}\n', "none is of these questions"),
    ],
)
def test_texts_that_will_not_do(tmp_path, content, message):
    path = tmp_path / "texts.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_texts(path, [Question(id="a", question="?", aliases=("x",))])


def test_a_role_without_a_recording_is_named(ask, data):
    (data / "references" / "loud" / "0.wav").unlink()
    with pytest.raises(InputError, match="role 'loud': no recording of it in 'data'; put one into"):
        run_roletriviaqa(ask())


def test_figures_leave_out_what_was_not_measured():
    row = {"em": 1, "f1": 1, "em_speech": 1, "f1_speech": 1, "role": "", "similarity": {}}
    row |= {"agreement_errors": 0, "agreement_words": 0, "failure": "", "dnsmos": None}
    lines = {line.what: line.figure for line in figures("all", [row])}
    assert "margin" not in lines and lines["EM, text"].value == 1
    assert lines["DNSMOS OVRL"].count == 0
    assert confusion([row])[0] == []
    alone = row | {"role": "a", "similarity": {"a": 0.5}}
    assert "margin" not in {line.what for line in figures("all", [alone])}
