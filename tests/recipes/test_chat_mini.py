"""The closed world of recipes/chat_mini: facts, splits without overlap, voices, strangers."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.recipe_files import RECIPES, importing

from vocalmtp.config import load_yaml
from vocalmtp.data.manifest import read_manifest
from vocalmtp.evaluation.questions import QuestionRow

NAMES = (
    "facts",
    "questions",
    "normalise",
    "teachers",
    "teachers.flite",
    "world",
    "speak",
    "render",
)
NAMES += ("align", "plan", "texts", "templates", "strangers", "small")


@pytest.fixture
def recipe(monkeypatch):
    """Import files of the recipe, which import each other by name."""
    pytest.importorskip("tzdata")
    with importing(monkeypatch, ("corpus", "roletriviaqa_mini", "chat_mini"), NAMES) as imported:
        yield imported


@pytest.fixture
def rows(recipe) -> list[dict]:
    world, questions = recipe("world"), recipe("questions")
    sizes = questions.Sizes(train=10, valid=10, test_in=28, test_out=0)
    return list(questions.make_questions(world.world(), 0, RECIPES / "chat_mini", sizes))


def test_facts_of_the_closed_world(recipe):
    found = {(fact.kind, fact.subject): fact.answers[0] for fact in recipe("world").world()}
    assert found["sum", "seven plus eight"] == "fifteen"
    assert found["product", "nine times six"] == "fifty four"
    assert found["difference", "ten minus three"] == "seven"
    assert found["day_after", "Sunday"] == "Monday" and found["day_before", "Monday"] == "Sunday"
    assert found["month_before", "January"] == "December"
    assert found["capital", "France"] == "Paris" and found["opposite", "hot"] == "cold"


def test_test_wordings_are_not_trained_but_their_facts_are(rows):
    for row in rows:
        QuestionRow.model_validate(row)
    of = {s: [r for r in rows if r["split"] == s] for s in ("train", "valid", "test")}
    assert len(of["train"]) > 3000 and len(of["test"]) >= 300
    trained = {row["question"] for row in of["train"]}
    assert not trained & {row["question"] for row in of["test"]}
    known = {(row["kind"], row["answer"]) for row in of["train"]}
    assert all((row["kind"], row["answer"]) in known for row in of["test"] + of["valid"])
    assert {row["kind"] for row in of["test"]} == {row["kind"] for row in of["train"]}
    assert "hello! what would you like to know?" in {row["answer"] for row in of["train"]}


def test_small_world_has_each_question_once_in_one_voice(recipe):
    rows = recipe("small").small_questions(["colour"], "heart")
    assert len({(row["split"], row["question"]) for row in rows}) == len(rows)
    assert {row["role"] for row in rows} == {"heart"} and {r["kind"] for r in rows} == {"colour"}
    of = {s: {r["question"] for r in rows if r["split"] == s} for s in ("train", "valid", "test")}
    assert not of["train"] & of["test"] and all(of.values())
    trained = {row["answer"] for row in rows if row["split"] == "train"}
    assert {row["answer"] for row in rows} == trained


def test_interleaved_variant_differs_by_its_pattern_alone():
    base, variant = (
        load_yaml(RECIPES / "chat_mini" / f"{n}.yaml") for n in ("small", "interleaved")
    )
    assert variant["model"].pop("interleave") == {"text": 8, "steps": 3}
    assert variant | {"output": base["output"]} == base


def test_test_questions_have_held_out_voices(recipe, rows):
    speak = recipe("speak")
    shards, places = speak.plan_shards(rows, RECIPES / "chat_mini", questions=True)
    assert len(places) == 2 * len(rows)
    asked = [shard for shard in shards if speak.QUESTION in shard.name]
    voices = {
        s: {i.voice.name for x in asked for i in x.items if i.split == s} for s in speak.SPLITS
    }
    assert voices["test"] == {"iris", "kal"} and not voices["train"] & {"iris", "kal"}
    kinds = {row["question"]: row["kind"] for row in rows if row["split"] == "test"}
    pairs = {(kinds[i.text], i.voice.name) for x in asked for i in x.items if i.split == "test"}
    assert len(pairs) > 1.8 * len(set(kinds.values()))  # most kinds are asked by both
    answers = [shard for shard in shards if shard.name.startswith("test-0")]
    assert {item.voice.name for shard in answers for item in shard.items} <= voices["train"]
    place = places[0, "question_audio"]
    shard = next(shard for shard in shards if f"/{shard.name}/" in place)
    assert shard.items[int(Path(place).stem)].text == rows[0]["question"]
    silent, _ = speak.plan_shards(rows, RECIPES / "chat_mini", questions=False)
    assert len(silent) == len(shards) - len(asked)


def test_strangers_synthesize_no_test_question(recipe, tmp_path, monkeypatch):
    strangers = recipe("strangers")
    asked = {"train": "what is two plus two?", "valid": "and four?", "test": "is it four?"}
    lines = [json.dumps({"question": text, "split": split}) for split, text in asked.items()]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines) + "\n")
    rows = [{"id": str(n), "audio": "a.wav", "text": f"line {n}."} for n in range(9)]
    (tmp_path / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    texts = strangers.read_texts(tmp_path, tmp_path, 4, 0)
    assert {text for text, _ in texts["question"]} == {asked["train"], asked["valid"]}
    assert len(texts["sentence"]) == 4
    items = strangers.plan(texts["sentence"] * 50, "s", 0.5, 0)
    assert items == strangers.plan(texts["sentence"] * 50, "s", 0.5, 0)
    assert 60 < sum(item.ked for item in items) < 140
    assert all(item.ked == (item.voice == "ked") for item in items)

    def synthesize(command, input="", **_):
        """A tone between silences; festival fails at one text."""
        paths = re.findall(r'"([^"]+wav)"', input) if command[0] == "festival" else [command[-2]]
        for path in paths[command[0] == "festival" :]:
            wav = np.zeros(16_000)
            wav[8000:9600] = 0.1 * np.sin(np.arange(1600))
            soundfile.write(path, wav, 16_000)

    monkeypatch.setattr(strangers.subprocess, "run", synthesize)
    strangers.write_shard(tmp_path / "made", "s", items[:20])
    made = read_manifest(tmp_path / "made")
    assert len(made) == 19 and {row.text for row in made} <= {item.text for item in items}
    assert all(row.audio.is_file() and abs(row.seconds - 0.26) < 0.02 for row in made)
