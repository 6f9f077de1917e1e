"""RoleTriviaQA from question to report, on a toy model and with fast judges."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.errors import raises_input_error
from helpers.sounds import buzz

from vocalmtp.bench import speed
from vocalmtp.evaluation.answer_sources import SpokenTexts, read_answers
from vocalmtp.evaluation.config import RoleTriviaQAConfig
from vocalmtp.evaluation.questions import Question
from vocalmtp.evaluation.role_report import confusion, group_metrics, voice_scores
from vocalmtp.evaluation.roletriviaqa import run_roletriviaqa


@pytest.fixture(autouse=True)
def _fast(hi_there, monkeypatch):
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
def configure(data, tmp_path, toy_folder):
    """Makes the settings of a run, with changes."""

    def make(**changes) -> RoleTriviaQAConfig:
        base = {"data": str(data), "output": tmp_path / "out", "model": str(toy_folder)}
        base |= {"judge": ["test-loudness", "test-three"], "speed": False, "processes": 1}
        return RoleTriviaQAConfig(**(base | changes))

    return make


def results(config: RoleTriviaQAConfig) -> dict[str, dict]:
    lines = (config.output / "results.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_recorded_answers_are_scored(configure):
    config = configure(answers="natural")
    text = run_roletriviaqa(config)
    rows = results(config)
    assert rows["a"]["em"] == rows["a"]["em_speech"] == 1 and rows["a"]["transcript"] == "hi there"
    assert rows["a"]["agreement_errors"] == 3  # "the answer is" is not in the transcript
    assert rows["c"]["failure"] == "no recording" and rows["c"]["em_speech"] == 0
    assert rows["c"]["agreement_errors"] == rows["c"]["agreement_words"] == 1
    assert rows["c"]["similarity"] == {"loud": 0.0, "quiet": 0.0}
    assert voice_scores(rows["a"])[2] == voice_scores(rows["b"])[2] == 1
    assert rows["b"]["domain"] == "out" and rows["b"]["mos"] == 3.0
    assert "| | all | seen roles | unseen roles | in-domain | out-of-domain |" in text.replace(
        "|  |", "| |"
    )
    assert "| ... no recording | 33.3 %" in text
    assert "Left out: questions.jsonl line 4: 'id'" in text and "the peak level" in text
    found = json.loads((config.output / "confusion.json").read_text())
    assert found["roles"] == ["loud", "quiet"]
    for name in ("confusion.png", "similarity.png", "knowledge.png", "roletriviaqa.json"):
        assert (config.output / name).stat().st_size > 500


def test_model_speaks_gold_answers_and_continues(configure, monkeypatch):
    config = configure(speed=True, limit=1, batch_size=2)
    text = run_roletriviaqa(config)
    rows = results(config)
    assert rows.keys() == {"a", "b", "c"}  # the first of every role and domain
    assert all((config.output / row["audio"]).is_file() for row in rows.values())
    assert rows["c"]["text_answer"] == "Nine." and rows["c"]["em"] == 0
    assert "| steps/s, batch 2 |" in text and "| first audio |" in text
    before = (config.output / rows["a"]["audio"]).stat().st_mtime_ns
    monkeypatch.setattr(SpokenTexts, "answer", None)  # nothing is synthesized again
    assert run_roletriviaqa(configure(batch_size=3)) != text  # without its speed
    assert (config.output / rows["a"]["audio"]).stat().st_mtime_ns == before
    with raises_input_error("other_run", "output", names="seed"):
        run_roletriviaqa(configure(seed=1))


def test_answers_of_another_model_may_be_empty_too_long_or_unreadable(configure, tmp_path):
    texts = {"a": "Hi there.", "b": "so " * 1000, "c": "\u6771\u4eac"}
    file = tmp_path / "texts.jsonl"
    lines = [json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()]
    file.write_text("".join(lines))
    config = configure(answers=str(file))
    text = run_roletriviaqa(config)
    rows = results(config)
    assert rows["a"]["audio"] and rows["b"]["failure"] == "text too long"
    assert rows["c"]["failure"].startswith("refused: text") and rows["c"]["audio"] is None
    assert "'texts.jsonl'" in text and "| ... refused | 33.3 %" in text
    file.write_text('{"id": "a", "text": ""}\n')
    again = configure(answers=str(file), output=tmp_path / "empty")
    run_roletriviaqa(again)
    assert {row["failure"] for row in results(again).values()} == {"no text"}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "not_found"),
        ('{"id": "a"}\n', "invalid_value"),
        ('{"id": "z", "text": "x"}\n', "mismatch"),
    ],
)
def test_unusable_answers_are_refused(tmp_path, content, code):
    path = tmp_path / "texts.jsonl"
    if content is not None:
        path.write_text(content)
    with raises_input_error(code, "answers"):
        read_answers(path, [Question(id="a", question="?", aliases=("x",))])


def test_role_without_a_recording_is_refused(configure, data):
    (data / "references" / "loud" / "0.wav").unlink()
    with raises_input_error("missing", "role", names="loud"):
        run_roletriviaqa(configure())


def test_metrics_leave_out_what_was_not_measured():
    row = {"em": 1, "f1": 1, "em_speech": 1, "f1_speech": 1, "role": "", "similarity": {}}
    row |= {"agreement_errors": 0, "agreement_words": 0, "failure": "", "mos": None}
    found = {metric.name: metric.estimate for metric in group_metrics("all", [row])}
    assert "margin" not in found and found["EM, text"].value == 1
    assert found["opinion score"].count == 0
    assert confusion([row])[0] == []
    alone = row | {"role": "a", "similarity": {"a": 0.5}}
    assert "margin" not in {metric.name for metric in group_metrics("all", [alone])}
