"""Question sets in the layouts they are published in."""

import io
import json

import numpy as np
import pytest
import soundfile
from helpers.errors import raises_input_error

from vocalmtp.evaluation.question_formats import load_questions
from vocalmtp.evaluation.questions import QuestionRow


def ours(path, *rows, **changes):
    """Write questions.jsonl; `changes` go to every row."""
    base = {"question": "What?", "aliases": ["x"], "answer": "The answer is x.", "role": "captain"}
    base |= {"split": "test", "seen": True}
    lines = [json.dumps(base | changes | row) + "\n" for row in rows]
    (path / "questions.jsonl").write_text("".join(lines))


def test_own_layout_reports_unusable_rows(tmp_path):
    ours(
        tmp_path,
        {"id": "a"},
        {"id": "b", "split": "train"},
        {"id": "c", "aliases": []},
        {"id": "d", "audio": "none.wav"},
        {"id": "a"},
        {"id": "e", "domain": "out", "role": "pilot", "seen": False},
    )
    (tmp_path / "references" / "captain").mkdir(parents=True)
    soundfile.write(tmp_path / "references" / "captain" / "0.wav", np.zeros(100), 16_000)
    found = load_questions(tmp_path, tmp_path / "out")
    assert [(q.id, q.role, q.domain, q.seen) for q in found.questions] == [
        ("a", "captain", "in", True),
        ("e", "pilot", "out", False),
    ]
    assert [path.name for path in found.references["captain"]] == ["0.wav"]
    assert [problem.partition(": ")[0] for problem in found.broken] == [
        f"questions.jsonl line {line}" for line in (3, 4, 5)
    ]


def test_own_rows_may_have_the_former_field_names():
    row = {"id": "a", "question": "What?", "aliases": ["x"], "answer": "x.", "role": "r"}
    row |= {"split": "test", "seen": True}
    old = QuestionRow.model_validate(row | {"asked": "a.wav", "asker": "kal"})
    new = QuestionRow.model_validate(row | {"question_audio": "a.wav", "question_voice": "kal"})
    assert old == new and new.question_audio == "a.wav"


def test_limit_applies_to_every_role_and_domain(tmp_path):
    ours(tmp_path, *({"id": str(i), "role": f"r{i % 2}"} for i in range(6)))
    found = load_questions(tmp_path, tmp_path, limit=1)
    assert [q.id for q in found.questions] == ["0", "1"]


def test_layout_of_triviaqa(tmp_path):
    row = {"Question": "Who?", "QuestionId": "tc_1", "QuestionSource": "http://x"}
    row["Answer"] = {"Value": "David Seville", "Aliases": ["Seville"], "Type": "WikipediaEntity"}
    row["Answer"] |= {"NormalizedAliases": ["david seville"], "NormalizedValue": "david seville"}
    data = {"Data": [row, {"QuestionId": "tc_2", "Question": "?"}], "Domain": "Web", "Version": 1.0}
    (tmp_path / "web-dev.json").write_text(json.dumps(data))
    found = load_questions(tmp_path / "web-dev.json", tmp_path)
    [question] = found.questions
    assert (question.id, question.role) == ("tc_1", "")
    assert question.aliases == ("David Seville", "Seville", "david seville")
    assert question.answer == "The answer is David Seville."
    assert [problem.partition(":")[0] for problem in found.broken] == ["web-dev.json row 2"]


def test_layout_of_webquestions(tmp_path):
    target = '(list (description "Jamaican \\"Patois\\"") (description English))'
    rows = [{"url": "http://x", "utterance": "what do people speak?", "targetValue": target}]
    rows.append({"url": "http://x", "utterance": "what?", "targetValue": "(list)"})
    (tmp_path / "web.json").write_text(json.dumps(rows))
    found = load_questions(tmp_path / "web.json", tmp_path)
    assert [q.aliases for q in found.questions] == [('Jamaican "Patois"', "English")]
    assert found.questions[0].domain == "out"
    assert [problem.partition(":")[0] for problem in found.broken] == ["web.json row 2"]


@pytest.fixture
def published(tmp_path):
    """RoleTriviaQA's record: question and answer as text, answer as speech, a speaker vector."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def cell(level: float) -> dict:
        file = io.BytesIO()
        soundfile.write(file, np.full(800, level), 16_000, format="WAV")
        return {"bytes": file.getvalue(), "path": "a.wav"}

    def write(name: str, *rows: tuple) -> None:
        keys = ("Text Question", "Text Answer", "Role", "Speech Answer", "spk_embed")
        table = [dict(zip(keys, row, strict=True)) for row in rows]
        parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "data" / name)

    (tmp_path / "data").mkdir()
    vector = [3.0, 4.0]
    write("train-00000.parquet", *[("q", "a", "Venti", cell(0.1), vector)] * 10)
    write("val-00000.parquet", ("q", "a", "Klee", cell(0.2), vector))
    write(
        "test-00000.parquet",
        ("Who?", "The answer is Bo.", "Venti", cell(0.3), vector),
        ("Who?", "", "Venti", cell(0.3), vector),
        ("Who?", "The answer is Bo.", "Klee", None, vector),
    )
    write("test_webquestions.parquet", ("Where?", "The answer is Rome.", "Klee", cell(0.4), vector))
    return tmp_path / "data"


def test_published_layout_of_roletriviaqa(published, tmp_path):
    found = load_questions(published, tmp_path / "out")
    assert [(q.role, q.aliases, q.seen, q.domain) for q in found.questions] == [
        ("Venti", ("Bo",), True, "in"),
        ("Klee", ("Rome",), False, "out"),
    ]
    assert soundfile.read(found.questions[0].audio)[0] == pytest.approx(0.3, abs=1e-3)
    assert {role: len(paths) for role, paths in found.references.items()} == {"Venti": 8, "Klee": 1}
    assert soundfile.read(found.references["Klee"][0])[0] == pytest.approx(0.2, abs=1e-3)
    assert np.allclose(found.embeddings["Klee"], [0.6, 0.8])
    assert len(found.broken) == 2
    (published / "val-00000.parquet").unlink()
    with raises_input_error("empty", "data"):
        load_questions(published, tmp_path / "out", "valid")
    with raises_input_error("unknown_name", "split"):
        load_questions(published, tmp_path / "out", "tests")


def test_published_rows_that_are_unusable_are_reported_and_the_rest_is_read(published, tmp_path):
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "data" / "deep").mkdir()
    soundfile.write(tmp_path / "data" / "deep" / "x.wav", np.full(800, 0.5), 16_000)
    here, gone = ({"bytes": None, "path": name} for name in ("deep/x.wav", "gone.wav"))
    keys = ("text_question", "text_answer", "role", "id", "aliases", "speech_answer")
    rows = [
        ("Who?", "Bo.", "Venti", "7", "Bo", here),  # one alias, not its letters
        ("Who?", "Bo.", "Klee", "7", "Bo", here),  # the same question to another role
        ("Who?", "Bo.", "Klee", "7", "Bo", here),
        ("Who?", "Bo.", "Klee", "8", "Bo", gone),
    ]
    table = [dict(zip(keys, row, strict=True)) for row in rows]
    parquet.write_table(pyarrow.Table.from_pylist(table), published / "test-00000.parquet")
    vectors = [{"role": "Klee", "spk_embed": each} for each in ("far", "3, 4")]
    table = [{"text_question": "q", "text_answer": "a"} | row for row in vectors]
    parquet.write_table(pyarrow.Table.from_pylist(table), published / "val-00000.parquet")
    (published / "test_webquestions.parquet").unlink()
    found = load_questions(published, tmp_path / "out", limit=1)
    assert [(q.id, q.aliases) for q in found.questions] == [
        ("Venti-7", ("Bo",)),
        ("Klee-7", ("Bo",)),
    ]
    assert found.questions[0].audio.name == "x.wav"
    assert sum("val-00000.parquet row" in problem for problem in found.broken) == 2
    found = load_questions(published, tmp_path / "out")
    problems = " ".join(found.broken)
    assert "'Klee-8'" in problems and "'Klee-7'" in problems
    assert load_questions(published, tmp_path / "out").digest == found.digest


def test_audio_beyond_the_limit_is_not_unpacked(published, tmp_path):
    load_questions(published, tmp_path / "out", limit=1)
    assert len(list((tmp_path / "out" / "recordings").iterdir())) == 2


def test_missing_column_and_damaged_file_are_refused(published, tmp_path):
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.Table.from_pylist([{"Text Question": "q", "Role": "r", "reply": "x"}])
    parquet.write_table(table, published / "test-00000.parquet")
    with raises_input_error("missing", "data", names="reply"):
        load_questions(published, tmp_path)
    (published / "test-00000.parquet").write_bytes(b"torn")
    with raises_input_error("damaged", "data"):
        load_questions(published, tmp_path)


def test_parquet_needs_its_package(tmp_path, monkeypatch):
    import sys

    (tmp_path / "test.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with raises_input_error("not_installed", "package", names="vocalmtp[parquet]"):
        load_questions(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "code", "names"),
    [
        ("none", None, "not_found", "none"),
        ("mini", None, "not_found", "recipes/roletriviaqa_mini/make.py"),
        ("a.json", "{", "damaged", "a.json"),
        ("a.json", '{"data": []}', "invalid_value", "a.json"),
        ("a.json", "[{}]", "empty", "targetValue"),
    ],
)
def test_data_without_questions_is_refused(tmp_path, monkeypatch, name, content, code, names):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    with raises_input_error(code, "data", names=names):
        load_questions(name, tmp_path)
