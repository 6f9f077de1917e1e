"""What holds for any text; how single ones are read is in golden.tsv."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vocalmtp.errors import InputError
from vocalmtp.text import ALPHABET, char_ids, normalize, split_sentences


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has nothing to say"),
        ("  \n", "has nothing to say"),
        ("?!", "has nothing to say"),
        ("\U0001f600", "has nothing to say"),
        ("\u3053\u3093", "cannot read '\u3053' .hiragana letter ko.; write it in English letters"),
        ("\u041f\u0440\u0438\u0432\u0435\u0442", "cyrillic small letter pe"),
    ],
)
def test_what_cannot_be_spoken_is_refused_in_one_line(text, message):
    with pytest.raises(InputError, match=message) as error:
        normalize(text)
    assert "\n" not in str(error.value)


FRAGMENTS = (
    "1 1,234.5 007 1/2 3-2 5'10\" 10:30 p.m. 1990s '80s 3/2/24 2024-03-02 May Jan. 1st $5 "
    "\u00a33m bn % \u00b0C km/h m\u00b2 x 2^3 e6 +1 (555) 123-4567 No. #1 IV I Henry Chapter "
    "Dr. St. U.S. J. Inc. etc. min. e.g. NASA FBI PDFs iPhone A a@b.com www.a.io/x @me #You "
    "a.md /a/b & = < > -> ~ \u2014 \u2026 \u201c \u2019 ' \" ( ) [1] <b> * _ - -- . , ? ! ; : "
    "the on in call v2 w/o \U0001f600 \u0301 \u202e \x07 \u0665 \u00bd \ud800 zz Caf\u00e9"
).split()
ANY_TEXT = st.one_of(
    st.text(max_size=60),  # of any script, unassigned and lone halves of pairs as well
    st.text(st.characters(max_codepoint=0x2100), max_size=60),
    st.text(st.sampled_from("abcXYZ019 .,?!;:'-$%/()&@#\n"), max_size=40),
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(" ".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join),
)


def check(text):
    """Refused, or in the alphabet and not changed by being normalised again."""
    try:
        spoken = normalize(text)
    except InputError as error:
        assert str(error).isprintable()
        return
    assert set(spoken) <= set(ALPHABET)
    assert spoken[-1] in ".?!" and (spoken[0].isalpha() or spoken[0] in "'-")
    assert "  " not in spoken
    assert normalize(spoken) == spoken
    assert split_sentences(spoken)


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_any_text_is_refused_or_in_the_alphabet_and_stays(text):
    check(text)


@pytest.mark.slow
@given(ANY_TEXT)
@settings(max_examples=10_000, deadline=None)
def test_ten_thousand_texts(text):
    check(text)


def test_an_empty_line_is_a_pause_and_a_line_end_is_none():
    assert normalize("One\n\nTwo\nthree") == "one. two three."


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("one\x00two\x07\x1bthree", "one two three."),
        ("\u202bhello\u202c", "hello."),
        ("e\u0301\u0301\u0301t", "et."),
        ("\ud800go", "go."),
    ],
)
def test_control_characters_and_marks_are_left_out(text, spoken):
    assert normalize(text) == spoken


def test_a_message_has_no_control_characters():
    with pytest.raises(InputError) as error:
        normalize("\x1b[31m \u202e \u05e9\u05dc\u05d5\u05dd")
    assert str(error.value).isprintable() and "hebrew letter" in str(error.value)


def test_char_ids_are_places_in_the_alphabet():
    assert [ALPHABET[i] for i in char_ids("so it's.")] == list("so it's.")
    with pytest.raises(InputError, match="character 'S' is not in the alphabet"):
        char_ids("So")


PROSE = (
    "The 3 canoes cost $5.20 on May 5, 1999; see example.com/a or Dr. Smith at 10:30 p.m. again. "
)


def test_a_megabyte_is_read_in_seconds():
    begin = time.process_time()
    spoken = normalize(PROSE * (1_000_000 // len(PROSE)))
    assert spoken.count("canoes cost five dollars") == 1_000_000 // len(PROSE)
    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    "sign",
    [" ", "\n", ".", ",.", "(", "1", "1,", "1,111,", "1:", "1/", "1-", "a@", "a.", "a-", "/a"]
    + ["a.com/", "[", "<b ", "^", "A.", "--", "'", "+1 ", "\U0001f600", "\u0301", "\u00bd"],
)
def test_odd_texts_take_no_longer_than_others(sign):
    begin = time.process_time()
    normalize(f"a{sign * 10_000}b")
    assert time.process_time() - begin < 5
