"""Trigrams of a few texts: they are probabilities, and a recogniser reads them."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.evaluation.intelligibility import DICTIONARY, LANGUAGE, hear, write_language
from vocalmtp.evaluation.ngrams import BEGIN, END, NGrams

TEXTS = ["the answer is ten", "the answer is two", "oh, it is ten"]
SENTENCES = st.lists(st.lists(st.sampled_from("abc"), min_size=1).map(" ".join), min_size=1)


@given(SENTENCES, st.integers(1, 4))
def test_after_every_history_the_probabilities_are_one(texts: list[str], order: int) -> None:
    model = NGrams(texts, order)
    unseen = [("c", "c", "c"), ("unknown",)]
    for history in [*model.counts, *unseen]:
        total = sum(model.probability(history, word) for word in model.words)
        assert math.isclose(total, 1.0)


def test_what_was_seen_more_often_is_likelier_and_nothing_is_impossible() -> None:
    model = NGrams(TEXTS)
    after = ("answer", "is")
    assert 0.5 > model.probability(after, "ten") > model.probability(after, "two") > 0.3
    assert model.probability(("it", "is"), "ten") > model.probability(after, "ten")
    assert 0 < model.probability(after, "the") < 0.1
    assert model.probability((BEGIN, "the"), "answer") > 0.5
    assert model.probability(("is", "ten"), END) > 0.5
    # by hand: "is ten" 2 of 3 after "is" (2 words seen); "ten" 2 of 15 words (8 kinds)
    ten = 2 / 15 * 15 / 23 + 8 / 23 / 8
    assert math.isclose(model.probability(("is",), "ten"), 2 / 3 * 3 / 5 + 2 / 5 * ten)


def read_arpa(path: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Probabilities and backing off of an ARPA file, as powers of ten, by gram."""
    found, rest, size = {}, {}, 0
    for line in path.read_text().splitlines():
        if line.endswith("-grams:"):
            size = int(line[1])
        elif size and line and not line.startswith("\\"):
            first, *words = line.split()
            gram = " ".join(words[:size])
            found[gram] = 10 ** float(first)
            if len(words) > size:
                rest[gram] = 10 ** float(words[size])
    return found, rest


def test_the_file_has_what_the_model_says(tmp_path: Path) -> None:
    model = NGrams(TEXTS)
    model.write(tmp_path / "x.arpa")
    found, rest = read_arpa(tmp_path / "x.arpa")
    head = (tmp_path / "x.arpa").read_text().split("\n\n")[0]
    assert head.splitlines()[:2] == ["\\data\\", "ngram 1=9"]  # eight, and the beginning
    for history in ((), ("is",), ("answer", "is"), ("is", "ten")):
        for word in model.words:
            gram, factor = [*history, word], 1.0
            while " ".join(gram) not in found:  # back off, as a reader does
                factor *= rest.get(" ".join(gram[:-1]), 1.0)
                gram = gram[1:]
            told = factor * found[" ".join(gram)]
            assert math.isclose(told, model.probability(history, word), rel_tol=1e-3)
    assert found[BEGIN] < 1e-90


def test_the_recogniser_reads_it_with_the_words_that_it_needs(tmp_path: Path) -> None:
    sphinx = pytest.importorskip("pocketsphinx")
    write_language([*TEXTS, "Vocalmtp."], tmp_path)  # a word that it does not know
    files = {"lm": str(tmp_path / LANGUAGE), "dict": str(tmp_path / DICTIONARY)}
    model = sphinx.Decoder(loglevel="FATAL", **files).get_lm("_default")
    assert model.prob(["ten", "is", "answer"]) > model.prob(["oh", "is", "answer"])
    words = {
        line.split()[0].partition("(")[0]
        for line in (tmp_path / DICTIONARY).read_text().splitlines()
    }
    assert words == {"the", "answer", "is", "ten", "two", "oh", "it"}
    assert set(hear(np.zeros(16000, np.float32), 16000, tmp_path).split()) <= words
