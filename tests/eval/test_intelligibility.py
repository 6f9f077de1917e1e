import numpy as np
import pytest
import soundfile

from vocalmtp.evaluation.intelligibility import (
    WordErrors,
    corpus_rate,
    mean_rate,
    recognise,
    relative_rate,
    scoring_text,
    word_errors,
)


def test_scoring_text_drops_case_and_punctuation_but_not_apostrophes():
    assert scoring_text("It's -- OK, \u2018he\u2019 said: don\u2019t!") == "it's ok he said don't"


@pytest.mark.parametrize(
    ("reference", "heard", "errors", "words"),
    [
        ("the cat sat.", "the cat sat", 0, 3),
        ("the cat sat.", "the hat sat down", 2, 3),
        ("the cat sat.", "", 3, 3),
        ("the cat sat.", "cat", 2, 3),
    ],
)
def test_word_errors_by_hand(reference, heard, errors, words):
    assert word_errors(reference, heard) == WordErrors(errors, words)


def test_corpus_rate_weighs_words_and_mean_rate_utterances():
    scores = [WordErrors(1, 2), WordErrors(0, 8)]
    assert corpus_rate(scores).value == 0.1
    assert mean_rate(scores).value == 0.25
    assert relative_rate(scores, [WordErrors(1, 2), WordErrors(1, 8)]).value == 0.5


def test_what_is_heard_does_not_depend_on_what_was_heard_before(tmp_path):
    random = np.random.default_rng(0)
    for name in "ab":
        wav = random.standard_normal(16_000) * np.sin(np.arange(16_000) / 900) * 0.2
        soundfile.write(tmp_path / f"{name}.wav", wav, 16_000)
    first = recognise(tmp_path / "a.wav")
    recognise(tmp_path / "b.wav")
    assert recognise(tmp_path / "a.wav") == first
