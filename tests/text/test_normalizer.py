"""What people write, and how it is read out."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.errors import InputError
from vocalmtp.text import ALPHABET, char_ids, normalize

READINGS = {
    # plain text stays, with one stop at its end
    "The birch canoe slid on the smooth planks.": "the birch canoe slid on the smooth planks.",
    "Hello": "hello.",
    "well-known, isn't it": "well-known, isn't it.",
    # numbers
    "1,234 and 0.50": "one thousand two hundred and thirty-four and zero point five zero.",
    "-5 or 007": "minus five or zero zero seven.",
    "1st, 2nd and 23rd": "first, second and twenty-third.",
    "10-20 of 12345678901234567890": "ten to twenty of "
    "one two three four five six seven eight nine zero "
    "one two three four five six seven eight nine zero.",
    "1/2, 3/4, 2 1/2 and 9/11": "one half, three quarters, two and one half and nine eleven.",
    "\u00bd a cup": "one half a cup.",
    "version 1.2.3": "version one point two point three.",
    "16:9": "sixteen to nine.",
    # years and dates
    "in 1999 and 2005": "in nineteen ninety-nine and two thousand and five.",
    "1914\u20131918": "nineteen fourteen to nineteen eighteen.",
    "the 1990s, '80s and 1960s": "the nineteen nineties, eighties and nineteen sixties.",
    "May 5, 2024": "may fifth, twenty twenty-four.",
    "5th of May": "may fifth.",
    "Sept. 3rd": "september third.",
    "2024-05-12": "may twelfth, twenty twenty-four.",
    "12/31/1999 or 31/12/99": "december thirty-first, nineteen ninety-nine or "
    "december thirty-first, nineteen ninety-nine.",
    # times
    "at 3:30 p.m. or 12:05": "at three thirty pee em or twelve oh five.",
    "5:00": "five o'clock.",
    "It is 3 p.m. Go!": "it is three pee em. go!",
    # money
    "$5.20 and $1": "five dollars and twenty cents and one dollar.",
    "$0.99": "ninety-nine cents.",
    "\u00a33 million or 5\u20ac": "three million pounds or five euros.",
    "$1.5M": "one point five million dollars.",
    # units and symbols
    "5% of 20 km/h": "five percent of twenty kilometers per hour.",
    "at -3\u00b0C": "at minus three degrees celsius.",
    "1 kg, 2 kg, 3m\u00b2": "one kilogram, two kilograms, three square meters.",
    "A & B @ C": "a and bee at see.",
    "2 + 2 = 4": "two plus two equals four.",
    "x\u00b2": "ex squared.",
    # telephone numbers
    "(555) 123-4567": "five five five, one two three, four five six seven.",
    # abbreviations, initials, addresses
    "Dr. Smith and Mrs Jones": "doctor smith and missus jones.",
    "St. Mary's, Baker St., No. 5": "saint mary's, baker street, number five.",
    "e.g. Acme Inc. The end": "for example acme incorporated. the end.",
    "J. K. Rowling of the U.S. Army": "jay kay rowling of the you ess army.",
    "the BBC's PDFs": "the bee bee see's pee dee eff's.",
    "NASA knows": "nasa knows.",
    "Henry VIII in World War II": "henry the eighth in world war two.",
    "Mail me@example.com": "mail me at example dot com.",
    "H2O": "aitch two oh.",
    # punctuation and Unicode
    "\u201cWell\u2026 \u2018no\u2019\u201d \u2014 she said": "well. no, she said.",
    "Wait\u2026 what?!": "wait, what?",
    "(aside) go!!!": "aside, go!",
    "Caf\u00e9 na\u00efve \u00c6sop Stra\u00dfe": "cafe naive aesop strasse.",
    "\uff28\uff45\uff4c\uff4c\uff4f": "hello.",
    "One\n\nTwo": "one. two.",
    "hello \U0001f600": "hello.",
}


@pytest.mark.parametrize(("written", "spoken"), READINGS.items())
def test_readings(written, spoken):
    assert normalize(written) == spoken


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


@given(st.text(st.characters(max_codepoint=0x2100), max_size=60))
def test_any_text_is_in_the_alphabet_or_refused(text):
    try:
        spoken = normalize(text)
    except InputError:
        return
    assert set(spoken) <= set(ALPHABET)
    assert spoken[-1] in ".?!" and spoken[0].isalpha() or spoken[0] in "'-"
    assert "  " not in spoken


@given(st.text(st.sampled_from("abcXYZ019 .,?!;:'-$%/()&\n"), max_size=40))
def test_normalised_text_stays_as_it_is(text):
    try:
        spoken = normalize(text)
    except InputError:
        return
    assert normalize(spoken) == spoken


def test_char_ids_are_places_in_the_alphabet():
    assert [ALPHABET[i] for i in char_ids("so it's.")] == list("so it's.")
    with pytest.raises(InputError, match="character 'S' is not in the alphabet"):
        char_ids("So")


@pytest.mark.parametrize("sign", [" ", "\n", ".", ",.", "(", "1", "1,", "1:", "a@", "a.", "a-"])
def test_odd_texts_take_no_longer_than_others(sign):
    begin = time.process_time()
    normalize(f"a{sign * 20_000}b")
    assert time.process_time() - begin < 5
