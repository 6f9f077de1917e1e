"""Normalization of texts, word error rates and their conventions, scores of short answers."""

import pytest
from helpers.errors import raises_input_error

from vocalmtp.evaluation.scoring import (
    CONVENTIONS,
    WordErrors,
    agreement,
    corpus_rate,
    exact_match,
    f1_score,
    final_answer,
    mean_rate,
    normalize_answer,
    relative_rate,
    speech_scores,
    spoken_form,
    text_scores,
    word_errors,
)

# -- spoken form -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("9", "nine"),
        ("W", "double you"),
        ("USB", "u. s. b."),
        ("USB", "you ess bee"),
        ("5 pm", "five p. m."),
        ("five pm", "5 p.m."),
        ("The year was 1945.", "the year was nineteen forty five"),
        ("1905", "nineteen oh five"),
        ("1,000,000", "one million"),
        ("3.5", "three point five"),
        ("$5", "five dollars"),
        ("100 %", "one hundred percent"),
        ("the 21st", "the twenty first"),
        ("Beyonc\u00e9", "beyonce"),
        ("It isn't OK!", "it is not okay"),
        ("Mr. Smith", "mister smith"),
        ("the colour", "the color"),
    ],
)
def test_texts_that_sound_alike_have_one_spoken_form(written, spoken):
    assert spoken_form(written) == spoken_form(spoken)
    assert word_errors(written, spoken).errors == 0


def test_number_words_of_every_number_are_recognized():
    from num2words import num2words

    for number in (*range(130), *range(900, 2100, 7), 12_345, 999_999, 1_000_000, 7_654_321):
        words = num2words(number).replace("-", " ").replace(",", "")
        assert spoken_form(words) == spoken_form(str(number)) == " ".join(str(number))


@pytest.mark.parametrize("text", ["\u6771\u4eac", ""])
def test_texts_that_cannot_be_read_are_kept(text):
    assert spoken_form(text) == text


# -- word errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "transcript", "errors", "words"),
    [
        ("the cat sat.", "the cat sat", 0, 3),
        ("the cat sat.", "the hat sat down", 2, 3),
        ("the cat sat.", "", 3, 3),
        ("the cat sat.", "cat", 2, 3),
        ("", "cat", 1, 1),
    ],
)
def test_word_errors_of_examples(reference, transcript, errors, words):
    assert word_errors(reference, transcript) == WordErrors(errors, words)


def test_corpus_rate_weighs_words_and_mean_rate_utterances():
    scores = [WordErrors(1, 2), WordErrors(0, 8)]
    assert corpus_rate(scores).value == 0.1
    assert mean_rate(scores).value == 0.25
    assert relative_rate(scores, [WordErrors(1, 2), WordErrors(1, 8)]).value == 0.5
    with pytest.raises(ValueError):
        relative_rate(scores, scores[:1])


# -- conventions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "normal"),
    [
        ("seed-tts-eval", "Well-known, isn't it?  Yes \u2014 5%", "wellknown isn't it yes 5"),
        ("librispeech-pc", "Well-known, isn't it?", "wellknown isnt it"),
        ("vall-e", "WELL-KNOWN, ISN'T IT 5", "well known isn't it"),
        ("whisper", "Isn't it twenty one, Mr. Smith?", "is not it 21 mister smith"),
        ("vocalmtp", "Well-known, isn't it? 5", "well known is not it 5"),
    ],
)
def test_texts_are_normalized_as_the_convention_requires(name, text, normal):
    assert CONVENTIONS[name].normalizer(text) == normal


def test_convention_averages_sentences_or_words():
    scores = [word_errors("a b c d", "a b c d"), word_errors("x", "y")]
    assert CONVENTIONS["seed-tts-eval"].rate(scores).value == 0.5
    assert CONVENTIONS["vall-e"].rate(scores).value == 0.2
    hyphen = "a well-known fact", "a wellknown fact"
    assert word_errors(*hyphen, CONVENTIONS["seed-tts-eval"].normalizer).errors == 0
    assert word_errors(*hyphen, CONVENTIONS["vall-e"].normalizer).errors == 2
    with raises_input_error("unknown_name", "convention", names="vall-e"):
        CONVENTIONS["valle"]


# -- short answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The Guns of Navarone", "guns of navarone"),
        ("Rock_'n'_Roll!", "rock n roll"),
        ("  An   apple, a DAY ", "apple day"),
        ("Dr. Strangelove\u2019s `theme\u00b4", "dr strangelove s theme"),
        ("U.S.A.", "u s"),  # its last letter is an article to the official script
        ("Athens", "athens"),  # "a" and "the" inside words stay
        ("", ""),
    ],
)
def test_answer_normalization_is_that_of_triviaqa(text, normal):
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("answer", "aliases", "em", "score"),
    [
        ("The Sea", ["sea"], 1, 1.0),
        ("the deep blue sea", ["blue sea"], 0, 2 * (2 / 3) * 1 / (2 / 3 + 1)),
        ("Paris", ["London", "paris"], 1, 1.0),
        ("new york", ["New York City", "York"], 0, 0.8),  # 2/2 and 2/3 against "new york city"
        ("red red red", ["red"], 0, 0.5),  # a word counts once for each time it is wanted
        ("", ["x"], 0, 0.0),
        ("9", ["nine"], 0, 0.0),  # written answers are scored as the official script does
    ],
)
def test_exact_match_and_f1_are_the_best_over_the_aliases(answer, aliases, em, score):
    assert exact_match(answer, aliases) == em
    assert f1_score(answer, aliases) == pytest.approx(score)


def test_the_lead_of_an_answer_is_not_scored():
    assert final_answer("Well now, the answer is: Rome.") == "Rome."
    assert final_answer("Rome") == "Rome"
    assert text_scores("The answer is Rome", ["Rome"]) == (1, 1)


def test_recognized_answers_are_scored_in_spoken_form():
    assert speech_scores("the answer is nine", ["9", "nine planets"]) == (1, 1)
    assert agreement("The answer is 9.", "the answer is nine").errors == 0
    missed = agreement("The answer is 9.", "the answer is mine")
    assert (missed.errors, missed.words) == (1, 4)
    assert agreement("The answer is 9.", "").rate == 1
    assert agreement("", "anything") == WordErrors(0, 0)
