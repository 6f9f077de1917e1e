"""Cutting text, and finding its words."""

from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.text import split_sentences, word_spans

LONG = (
    "the first part of this sentence is quite long, the second part of it is just as long, "
    "and the third part goes on and on; but the fourth part comes to an end at last."
)


def test_sentences_end_with_their_signs():
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
def test_no_word_is_lost_and_no_piece_is_too_long(words, limit):
    pieces = split_sentences(" ".join(words) + ".", limit)
    said = " ".join(pieces).replace(",", "").replace(".", "").split()
    assert said == words
    assert all(len(piece) <= limit + 1 for piece in pieces)


def test_one_enormous_word_stays_whole():
    assert split_sentences("a" * 300 + ".") == ["a" * 300 + "."]


def test_words_have_no_punctuation():
    text = "it's well-known, isn't it? yes."
    assert [text[a:b] for a, b in word_spans(text)] == ["it's", "well-known", "isn't", "it", "yes"]
