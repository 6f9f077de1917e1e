"""The scorers of short answers, on worked examples."""

import pytest

from vocalmtp.evaluation.answers import (
    agreement,
    exact_match,
    f1,
    final_answer,
    normalise_answer,
    speech_scores,
    text_scores,
)
from vocalmtp.evaluation.spoken_form import in_digits, spoken_form


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
def test_normalisation_is_triviaqas(text, normal):
    assert normalise_answer(text) == normal


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
    assert f1(answer, aliases) == pytest.approx(score)


def test_what_leads_to_the_answer_does_not_count():
    assert final_answer("Well now, the answer is: Rome.") == "Rome."
    assert final_answer("Rome") == "Rome"
    assert text_scores("The answer is Rome", ["Rome"]) == (1, 1)


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("nine", "9"),
        ("ninety nine red", "99 red"),
        ("one hundred and five", "105"),
        ("a hundred", "100"),
        ("a dog", "a dog"),
        ("nineteen forty five", "1945"),
        ("nineteen oh five", "1905"),
        ("nineteen hundred", "1900"),
        ("two thousand and one", "2001"),
        ("twenty twenty", "2020"),
        ("one thousand nine hundred and forty five", "1945"),
        ("three million two hundred thousand and one", "3200001"),
        ("twenty first of may", "21th of may"),
        ("two hundredth", "200th"),
        ("one two three", "1 2 3"),
        ("five hundred million", "500000000"),
        ("zero", "0"),
        ("twenty one thousand", "21000"),
        ("this and that", "this and that"),
        ("", ""),
    ],
)
def test_number_words_become_digits(words, digits):
    assert in_digits(words) == digits


def test_every_number_is_found_again():
    from num2words import num2words

    for number in (*range(0, 2100), 12_345, 999_999, 1_000_000, 7_654_321):
        words = num2words(number).replace("-", " ").replace(",", "")
        assert in_digits(words) == str(number)


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("9", "nine"),
        ("The year was 1945.", "the year was nineteen forty five"),
        ("1,000,000", "one million"),
        ("3.5", "three point five"),
        ("the 21st", "the twenty first"),
        ("Beyonc\u00e9", "beyonce"),
    ],
)
def test_what_sounds_alike_is_alike(written, heard):
    assert spoken_form(written) == spoken_form(heard)


def test_another_script_is_left_as_it_is():
    assert spoken_form("\u6771\u4eac") == "\u6771\u4eac"


def test_heard_answers_and_their_agreement():
    assert speech_scores("the answer is nine", ["9", "nine planets"]) == (1, 1)
    assert agreement("The answer is 9.", "the answer is nine").errors == 0
    missed = agreement("The answer is 9.", "the answer is mine")
    assert (missed.errors, missed.words) == (1, 4)
    assert agreement("The answer is 9.", "").rate == 1
