"""N-gram models are probability distributions, and pocketsphinx reads their files."""

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises_input_error
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.recognizers.ngrams import BEGIN, END, NGrams
from vocalmtp.recognizers.pocketsphinx import (
    DICTIONARY,
    LANGUAGE_MODEL,
    PocketsphinxRecognizer,
    write_language_model,
)

TEXTS = ["the answer is ten", "the answer is two", "oh, it is ten"]
SENTENCES = st.lists(st.lists(st.sampled_from("abc"), min_size=1).map(" ".join), min_size=1)


@given(SENTENCES, st.integers(1, 4))
def test_probabilities_after_every_history_sum_to_one(texts: list[str], order: int) -> None:
    model = NGrams(texts, order)
    unseen = [("c", "c", "c"), ("unknown",)]
    for history in [*model.counts, *unseen]:
        total = sum(model.probability(history, word) for word in model.words)
        assert math.isclose(total, 1.0)


def test_frequent_words_are_likelier_and_no_word_is_impossible() -> None:
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
    """Read the probabilities and the backoff weights of an ARPA file, by n-gram."""
    probabilities, weights, size = {}, {}, 0
    for line in path.read_text().splitlines():
        if line.endswith("-grams:"):
            size = int(line[1])
        elif size and line and not line.startswith("\\"):
            first, *words = line.split()
            gram = " ".join(words[:size])
            probabilities[gram] = 10 ** float(first)
            if len(words) > size:
                weights[gram] = 10 ** float(words[size])
    return probabilities, weights


def test_arpa_file_has_the_probabilities_of_the_model(tmp_path: Path) -> None:
    model = NGrams(TEXTS)
    model.write(tmp_path / "x.arpa")
    probabilities, weights = read_arpa(tmp_path / "x.arpa")
    head = (tmp_path / "x.arpa").read_text().split("\n\n")[0]
    assert head.splitlines()[:2] == ["\\data\\", "ngram 1=9"]  # eight, and the beginning
    for history in ((), ("is",), ("answer", "is"), ("is", "ten")):
        for word in model.words:
            gram, factor = [*history, word], 1.0
            while " ".join(gram) not in probabilities:  # back off, as a reader does
                factor *= weights.get(" ".join(gram[:-1]), 1.0)
                gram = gram[1:]
            read = factor * probabilities[" ".join(gram)]
            assert math.isclose(read, model.probability(history, word), rel_tol=1e-3)
    assert probabilities[BEGIN] < 1e-90


def test_pocketsphinx_uses_the_language_model_of_expected_texts(tmp_path: Path) -> None:
    sphinx = pytest.importorskip("pocketsphinx")
    write_language_model([*TEXTS, "Vocalmtp."], tmp_path)  # a word without a pronunciation
    files = {"lm": str(tmp_path / LANGUAGE_MODEL), "dict": str(tmp_path / DICTIONARY)}
    model = sphinx.Decoder(loglevel="FATAL", **files).get_lm("_default")
    assert model.prob(["ten", "is", "answer"]) > model.prob(["oh", "is", "answer"])
    words = {
        line.split()[0].partition("(")[0]
        for line in (tmp_path / DICTIONARY).read_text().splitlines()
    }
    assert words == {"the", "answer", "is", "ten", "two", "oh", "it"}
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    recognizer = PocketsphinxRecognizer(tmp_path / "texts.txt")
    assert recognizer.name.startswith("pocketsphinx-")
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert set(recognizer.transcribe(noise).split()) <= words
    stream = recognizer.open_stream()
    stream.push(noise)
    assert set(stream.text(settled=True).split()) <= words
    stream.close()


def test_file_of_expected_texts_is_checked(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" ...\n")
    with raises_input_error("empty", key="recognizer"):
        PocketsphinxRecognizer(tmp_path / "empty.txt")
    with raises_input_error("unusable", key="recognizer"):
        PocketsphinxRecognizer(tmp_path / "none.txt")
