"""The modules of recipes/corpus, a small `usr/share` of texts, and a teacher that beeps."""

from pathlib import Path

import pytest
from helpers.corpus_stub import StubTeacher, write_share
from helpers.recipe_files import importing

NAMES = ("align", "judge", "make", "normalise", "plan", "render", "teachers", "templates", "texts")
NAMES += ("teachers.flite", "teachers.graphs", "teachers.hibari", "teachers.kokoro")
NAMES += ("teachers.phonemes",)


@pytest.fixture
def recipe(monkeypatch):
    """A function that imports a module of the recipe by its name."""
    with importing(monkeypatch, ("corpus",), NAMES) as imported:

        def module(name: str):
            found = imported(name)
            return getattr(found, name.partition(".")[2]) if "." in name else found

        yield module


@pytest.fixture
def share(tmp_path) -> Path:
    """Sources in the layout of the Debian packages; one sentence and one word are held out."""
    share = tmp_path / "share"
    write_share(share)
    return share


@pytest.fixture
def make(recipe, share, monkeypatch):
    """A function that makes a corpus of a stub teacher in a folder; few texts, a short shard."""
    maker, plan, texts = recipe("make"), recipe("plan"), recipe("texts")
    monkeypatch.setattr(texts, "MOST", dict.fromkeys(texts.MOST, 40))
    monkeypatch.setattr(plan, "SHARD_ITEMS", 10)
    monkeypatch.setattr(plan, "OTHER_VOICES_SAY", 2)
    monkeypatch.setattr(plan, "LEARN_TEXTS", 30)
    monkeypatch.setattr(texts, "read_lines", _short(texts.read_lines))

    def run(output: Path, hours: float = 0.01, fail_at: int = -1) -> None:
        teacher = StubTeacher(recipe("teachers"), fail_at)
        monkeypatch.setattr(maker, "load_teacher", lambda name: teacher)
        maker.main(output, hours=f"hibari={hours}", source=share)

    return run


def _short(read_lines):
    """The test lists' first sentences; the unseen words whole."""

    def read(name: str) -> list[str]:
        return read_lines(name)[: 6 if name == "test.txt" else 3 if name == "rare.txt" else None]

    return read


@pytest.fixture(autouse=True)
def _fetched_teachers(monkeypatch):
    """Teachers that were fetched on this machine are tested; the others are skipped."""
    monkeypatch.delenv("VOCALMTP_CACHE")
