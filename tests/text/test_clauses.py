"""Cutting a text that is still being written, and finding its words again."""

import pytest

from vocalmtp.text import ClauseSplitter, sayable, word_places

TEXTS = {
    "Hello there, how are you? I am fine.": ["Hello there, ", "how are you? ", "I am fine."],
    "Yes, it is. No, it is not.": ["Yes, it is. ", "No, it is not."],
    "It costs $5.20 on May 5, 2026. Dr. Smith left at 3 p.m. Then he slept.": [
        "It costs $5.20 on May 5, 2026. ",
        "Dr. Smith left at 3 p.m. ",
        "Then he slept.",
    ],
    'He said "no." Then he left.': ['He said "no." ', "Then he left."],
    "Wait... what? Fine": ["Wait... what? ", "Fine"],
    "Tea\n- black\n- green": ["Tea\n", "- black\n", "- green"],
    "\u65e5\u672c. Fine.": ["\u65e5\u672c. ", "Fine."],
}


def cut(text: str, size: int) -> list[str]:
    splitter = ClauseSplitter()
    clauses = [
        clause
        for start in range(0, len(text), size)
        for clause in splitter.push(text[start : start + size])
    ]
    return clauses + splitter.finish()


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("text", TEXTS)
def test_clauses_are_the_same_however_the_text_comes(text, size):
    assert cut(text, size) == TEXTS[text]


def test_a_clause_is_given_out_as_soon_as_the_next_word_begins():
    splitter = ClauseSplitter()
    assert splitter.push("I am fine. ") == []  # it could still be an abbreviation
    assert splitter.push("T") == ["I am fine. "]


def test_nothing_is_lost_and_nothing_is_endless():
    text = "word " * 100 + "a" * 500 + ", and then more, " * 30
    clauses = cut(text, 7)
    assert "".join(clauses) == text
    assert max(map(len, clauses)) <= 200


def test_only_what_can_be_read_out_is_said():
    assert sayable("Fine.") == "Fine."
    assert sayable("The word \u65e5\u672c is Japan.") == "The word is Japan."
    assert sayable("\u65e5\u672c \U0001f642") == ""


def test_spoken_words_are_found_in_what_was_written():
    text = "It costs $5.20 today."
    places = word_places(text, 8)
    assert [text[start:end] for start, end in places] == [
        "It",
        "costs",
        *["$5.20"] * 5,  # five dollars and twenty cents
        "today.",
    ]
