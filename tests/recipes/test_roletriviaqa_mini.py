"""The questions of recipes/roletriviaqa_mini: facts, sizes and splits."""

from pathlib import Path

import pytest
from helpers.recipe_files import importing

from vocalmtp.evaluation.questions import QuestionRow

NAMES = ("facts", "questions", "normalise", "teachers", "teachers.flite", "texts", "templates")

ADJECTIVES = """\
  1 the licence
00000001 00 a 01 hot 0 001 ! 00000002 a 0101 | of a high temperature
00000002 00 a 02 cold 0 chilly 1 001 ! 00000001 a 0101 | of a low temperature
00000003 00 a 01 hot 1 001 ! 00000004 a 0101 | stolen
00000004 00 a 01 legal 0 001 ! 00000003 a 0101 | allowed
"""
NOUNS = """\
00000010 05 n 02 terrier 0 hunter 0 002 @ 00000011 n 0000 %p 00000012 n 0000 | a small dog
00000011 05 n 02 hunting_dog 0 hound 0 000 | a dog
00000012 04 n 01 hunt 0 000 | a chase
"""


@pytest.fixture
def recipe(monkeypatch):
    """Import files of the recipe, which import each other by name."""
    pytest.importorskip("tzdata")
    with importing(monkeypatch, ("corpus", "roletriviaqa_mini"), NAMES) as imported:
        yield imported


@pytest.fixture
def wordnet(tmp_path) -> Path:
    """A few lines in the format of WordNet's files."""
    (tmp_path / "data.adj").write_text(ADJECTIVES)
    (tmp_path / "data.noun").write_text(NOUNS)
    (tmp_path / "index.adj").write_text(
        "hot a 2 1 ! 2 1 00000001 00000003\ncold a 1 1 ! 1 1 00000002\nlegal a 1 1 ! 1 0 00000004\n"
    )
    (tmp_path / "index.noun").write_text(
        "terrier n 1 1 @ 1 1 00000010\nhunter n 1 1 @ 1 0 00000010\nhunt n 1 0 1 0 00000012\n"
    )
    (tmp_path / "cntlist.rev").write_text(
        "cold%3:00:01:: 1 30\nhot%3:00:01:: 1 80\nhot%3:00:02:: 2 8\nterrier%1:05:00:: 1 9\n"
        "hunter%1:05:00:: 2 7\nhunt%1:04:00:: 1 3\n"
    )
    return tmp_path


def test_wordnet_facts_have_the_first_sense_by_frequency(recipe, wordnet):
    facts = recipe("facts")
    assert list(facts.opposites(wordnet)) == [
        facts.Fact("opposite", "hot", ("cold",)),
        facts.Fact("opposite", "cold", ("hot",)),
    ]
    [kind] = facts.kinds(wordnet)
    assert kind == facts.Fact("kind", "a terrier", ("hunting dog", "hound"))


def test_facts_of_all_kinds(recipe, wordnet):
    facts = recipe("facts")
    found = {(fact.kind, fact.subject): fact.answers for fact in facts.all_facts(wordnet)}
    assert found["country", "Cairo"] == ("Egypt",)
    assert found["country", "London"] == ("Britain", "UK")
    assert found["continent", "Benin"] == ("Africa",)
    assert found["atomic_number", "tin"] == ("fifty", "50")
    assert found["element", "twenty six"] == ("iron",)
    assert found["product", "seven times eight"] == ("fifty six", "56")
    assert found["difference", "ten minus two"] == ("eight", "8")
    assert found["month_before", "January"] == ("December",)
    assert found["month_days", "February"] == ("twenty eight", "28", "twenty nine", "29")
    assert found["first_day", "nineteen ninety nine"] == ("Friday", "a Friday")


def test_questions_are_enough_and_splits_do_not_overlap(recipe, wordnet):
    facts, questions = recipe("facts"), recipe("questions")
    found = facts.all_facts(wordnet)
    sizes = questions.Sizes(least=160)
    rows = list(questions.make_questions(found, seed=0, sizes=sizes))
    assert rows == list(questions.make_questions(found, seed=0, sizes=sizes))
    assert rows != list(questions.make_questions(found, seed=1, sizes=sizes))
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        QuestionRow.model_validate(row)
        assert row["answer"].rstrip(".!").endswith(f"the answer is {row['aliases'][0]}")
    train = [row for row in rows if row["split"] == "train"]
    test = [row for row in rows if row["split"] == "test"]
    assert len(train) >= 1700 and len(test) >= 300  # WordNet has 480 more
    assert len({row["role"] for row in test}) == 10
    assert {row["role"] for row in test if not row["seen"]} == {"pilot", "robot"}
    assert all(row["seen"] for row in train)
    asked = {row["question"] for row in rows if row["split"] != "test"}
    assert not asked & {row["question"] for row in test}
    known = {(row["kind"], row["aliases"][0]) for row in train}
    assert all((r["kind"], r["aliases"][0]) in known for r in test if r["domain"] == "in")
    outside = {row["kind"] for row in test if row["domain"] == "out"}
    assert len(outside) == 4 and not outside & {row["kind"] for row in train}
    for role in {row["role"] for row in test}:
        mine = [row["domain"] for row in test if row["role"] == role]
        assert (mine.count("in"), mine.count("out")) == (30, 12)


def test_voices_of_roles_exist(recipe):
    questions, voices = recipe("questions"), recipe("teachers.flite").flite.load_voices()
    for role in questions.load_roles():
        assert bool(voices[role.voice].share) == role.seen  # unseen ones are held out of the corpus
