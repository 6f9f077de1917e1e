"""Segmentation of normalized text into sentences and of streamed text into clauses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.text import ClauseSplitter, sayable, split_sentences, word_spans

LONG = (
    "the first part of this sentence is quite long, the second part of it is just as long, "
    "and the third part goes on and on; but the fourth part comes to an end at last."
)
CLAUSES = {
    "Hello there, how are you? I am fine.": ["Hello there, ", "how are you? ", "I am fine."],
    "Yes, it is. No, it is not.": ["Yes, it is. ", "No, it is not."],
    "It costs $5.20 on May 5, 2026. Dr. Smith left at 3 p.m. Then he slept.": [
        "It costs $5.20 on May 5, 2026. ",
        "Dr. Smith left at 3 p.m. ",
        "Then he slept.",
    ],
    'He said "no." Then he left.': ['He said "no." ', "Then he left."],
    "Roe v. Wade, Fig. 2 and max. speed. Next": [
        "Roe v. Wade, ",
        "Fig. 2 and max. speed. ",
        "Next",
    ],
    "Wait... what? Fine": ["Wait... what? ", "Fine"],
    "Tea\n- black\n- green": ["Tea\n", "- black\n", "- green"],
    "1. Mix it\n2. Bake it": ["1. Mix it\n", "2. Bake it"],
    "The value of $f(x, y)$ is zero. Good": ["The value of $f(x, y)$ is zero. ", "Good"],
    "It costs $5, or maybe $6. Good": ["It costs $5, or maybe $6. ", "Good"],
    "\u65e5\u672c. Fine.": ["\u65e5\u672c. ", "Fine."],
}


def test_sentences_end_with_their_marks():
    assert split_sentences("go on. who? me! yes.") == ["go on.", "who?", "me!", "yes."]


def test_long_sentences_are_cut_at_the_best_pause_near_the_middle():
    assert split_sentences(LONG, limit=100) == [
        "the first part of this sentence is quite long,",
        "the second part of it is just as long, and the third part goes on and on;",
        "but the fourth part comes to an end at last.",
    ]
    assert split_sentences("one two three four five six seven.", limit=20) == [
        "one two three four,",
        "five six seven.",
    ]


@given(
    st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=80), st.integers(20, 60)
)
def test_sentence_cuts_keep_every_word_and_the_limit(words, limit):
    pieces = split_sentences(" ".join(words) + ".", limit)
    kept = " ".join(pieces).replace(",", "").replace(".", "").split()
    assert kept == words
    assert all(len(piece) <= limit + 1 for piece in pieces)


def test_a_word_longer_than_the_limit_stays_whole():
    assert split_sentences("a" * 300 + ".") == ["a" * 300 + "."]


def test_word_spans_exclude_punctuation():
    text = "it's well-known, isn't it? yes."
    assert [text[a:b] for a, b in word_spans(text)] == ["it's", "well-known", "isn't", "it", "yes"]


def split_in_pieces(text: str, size: int) -> list[str]:
    splitter = ClauseSplitter()
    clauses = [
        clause
        for start in range(0, len(text), size)
        for clause in splitter.push(text[start : start + size])
    ]
    return clauses + splitter.finish()


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("text", CLAUSES)
def test_clauses_do_not_depend_on_the_pieces(text, size):
    assert split_in_pieces(text, size) == CLAUSES[text]


def test_clause_is_returned_when_the_next_word_begins():
    splitter = ClauseSplitter()
    assert splitter.push("I am fine. ") == []  # it could still be an abbreviation
    assert splitter.push("T") == ["I am fine. "]


def test_clauses_keep_the_whole_text_and_have_a_limit():
    text = "word " * 100 + "a" * 500 + ", and then more, " * 30
    clauses = split_in_pieces(text, 7)
    assert "".join(clauses) == text
    assert max(map(len, clauses)) <= 200


def test_sayable_drops_words_of_other_scripts():
    assert sayable("Fine.") == "Fine."
    assert sayable("The word \u65e5\u672c is Japan.") == "The word is Japan."
    assert sayable("\u65e5\u672c \U0001f642") == ""


def test_fence_labels_are_not_spoken():
    assert sayable("```python\n") == ""
