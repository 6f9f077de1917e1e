"""Properties of the normalization of any text; single readings are in golden.tsv."""

import ast
import re
import unicodedata
import warnings
from pathlib import Path

import pytest
from helpers.errors import raises_input_error
from hypothesis import given, settings
from hypothesis import strategies as st

import vocalmtp.text
from vocalmtp.errors import InputError
from vocalmtp.text import ALPHABET, char_ids, normalize, split_sentences
from vocalmtp.text.markup import strip_markup
from vocalmtp.text.normalizer import WINDOW, windows
from vocalmtp.text.numbers import LETTER_NAMES, cardinal, ordinal, plural, year
from vocalmtp.text.symbols import fold_characters
from vocalmtp.text.units import CURRENCIES, PER, UNITS


@pytest.mark.parametrize("text", ["", "  \n", "?!", "\U0001f600", "```python\n```"])
def test_text_without_words_is_refused(text):
    with raises_input_error("empty", key="text"):
        normalize(text)


@pytest.mark.parametrize(
    "text", ["\u3053\u3093", "\u041f\u0440\u0438\u0432\u0435\u0442", "Fine \u65e5\u672c."]
)
def test_other_scripts_are_refused_by_default(text):
    with raises_input_error("unsupported", key="text"):
        normalize(text)


def test_error_message_has_no_control_characters():
    with raises_input_error("unsupported", key="text") as caught:
        normalize("\x1b[31m \u202e \u05e9\u05dc\u05d5\u05dd")
    assert str(caught.value).isprintable()


def test_words_of_other_scripts_are_skipped_with_a_warning():
    with pytest.warns(UserWarning, match="1 of 4"):
        assert (
            normalize("The word \u65e5\u672c means.", unknown_characters="skip")
            == "the word means."
        )


def test_skipping_every_word_leaves_nothing_to_say():
    with warnings.catch_warnings(), raises_input_error("empty", key="text"):
        warnings.simplefilter("ignore")
        normalize("\u65e5\u672c", unknown_characters="skip")


def test_characters_of_other_scripts_are_named():
    assert normalize("the \u3053", unknown_characters="name") == "the hiragana letter ko."
    assert (
        normalize("\u65e5", unknown_characters="name")
        == "see jay kay unified ideograph six five ee five."
    )


def test_unknown_option_for_unknown_characters_is_refused():
    with raises_input_error("unknown_name", key="unknown_characters"):
        normalize("fine", unknown_characters="drop")  # type: ignore[arg-type]


FRAGMENTS = (
    "1 1,234.5 007 1/2 3-2 5'10\" 10:30 p.m. 1990s '80s 3/2/24 2024-03-02 May Jan. 1st $5 "
    "\u00a33m bn % \u00b0C km/h m\u00b2 x 2^3 e6 +1 (555) 123-4567 No. #1 IV I Henry Chapter "
    "Dr. St. U.S. J. Inc. etc. min. e.g. NASA FBI PDFs iPhone A a@b.com www.a.io/x @me #You "
    "a.md /a/b & = < > -> ~ \u2014 \u2026 \u201c \u2019 ' \" ( ) [1] <b> * _ - -- . , ? ! ; : "
    "the on in call v2 w/o \U0001f600 \u0301 \u202e \x07 \u0665 \u00bd \ud800 zz Caf\u00e9 \u2260 "
    "\u226e 4x100m 1h25m 1:23:45.6 v2.3-rc.1 H2O SO4^2- Ca\u00b2\u207a &amp; 1-800-FLOWERS GPT-4o "
    "747-400 CVE-2024-1 9\u201311 5-Mar-99 Tues. \u20ac2.345,67 25bps 10k 12\" 3' mmHg \u00b5L Rm. "
    "180C 1c. T. y/y 2h30m ==m== 44B.C. +/- 2x\u00b3 1/x e^x 0.1M 0xFF CO EUR/USD 40\u00b042' 7-8pm "
    "'00s \u00b9\u2074C Q1'24 1'000 $x^2$ $$ \\frac{1}{2} ** `c` ``` | # > \n - 1. $.50 $1/2 MA IT "
    "2/3rds nor-\n mal 5\u2605 \u2200 \u221a \u220f \u0391 \u03b1\u03b2 Ctrl+C U+1F a1b2c3d4 ::1"
).split(" ")
ANY_TEXT = st.one_of(
    st.text(max_size=60),  # of any script, unassigned and lone surrogates as well
    st.text(st.characters(max_codepoint=0x2300), max_size=60),
    st.text(st.sampled_from("abcXYZ019 .,?!;:'-$%/()&@#^=<>\"\n"), max_size=40),
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map(" ".join),
    st.lists(st.sampled_from(FRAGMENTS), max_size=8).map("".join),
)


def words(text: str) -> set[str]:
    return set(re.findall("[a-z]+", text.lower()))


def spoken_words() -> set[str]:
    """Every word that the normalizer can add: those in its source, its tables, and numbers."""
    lexicon: set[str] = set()
    for path in Path(vocalmtp.text.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                lexicon |= words(node.value)
    tables = [*UNITS.values(), *CURRENCIES.values(), PER.values(), LETTER_NAMES.values()]
    lexicon |= {word for entry in tables for name in entry for word in words(name)}
    for number in [*range(101), *(10**n for n in range(3, 64))]:
        cardinal_words = cardinal(f"{number:,}")
        lexicon |= words(cardinal_words) | words(plural(cardinal_words))
        lexicon |= words(ordinal(f"{number:,}")) | words(ordinal(f"{number:,}") + "s")
    lexicon |= {word for n in range(1000, 2100) for word in words(year(str(n)))}
    for character in map(chr, range(0x110000)):
        if unicodedata.category(character) in ("Sm", "Sc"):
            lexicon |= words(unicodedata.name(character, ""))
    return lexicon | {f"{LETTER_NAMES[letter]}th" for letter in "ijkm"}


LEXICON = spoken_words()


def written_words(text: str) -> set[str]:
    """Words of a text, with and without its markup, and their parts between capitals."""
    parts = set()
    for run in re.findall(
        "[A-Za-z]+", f"{fold_characters(strip_markup(text))} {fold_characters(text)}"
    ):
        capitals = [i for i, letter in enumerate(run) if letter.isupper()]
        cuts = sorted({0, len(run), *capitals, *(i + 1 for i in capitals)})
        parts |= {run[i:j].lower() for i in cuts for j in cuts if i < j}
    return parts


def check(text: str) -> None:
    """Refused, or in the alphabet, of known words, and not changed by a second normalization."""
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
    assert words(spoken) <= LEXICON | written_words(text)


@given(ANY_TEXT)
@settings(max_examples=200, deadline=None)
def test_any_text_is_refused_or_normalized_to_known_words(text):
    check(text)


@pytest.mark.fuzz
@given(ANY_TEXT)
@settings(max_examples=5_000, deadline=None)
def test_five_thousand_texts(text):
    check(text)


def test_paragraphs_are_pauses_and_line_breaks_are_not():
    assert normalize("One\n\nTwo\nthree") == "one. two three."
    assert normalize("One.\n\nTwo") == "one. two."


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("one\x00two\x07\x1bthree", "one two three."),
        ("\u202bhello\u202c", "hello."),
        ("e\u0301\u0301\u0301t", "et."),
        ("\ud800go", "go."),
    ],
)
def test_control_characters_and_marks_are_dropped(text, spoken):
    assert normalize(text) == spoken


def test_char_ids_are_places_in_the_alphabet():
    assert [ALPHABET[i] for i in char_ids("so it's.")] == list("so it's.")
    with raises_input_error("invalid_value", key="text"):
        char_ids("So")


PROSE = (
    "The 3 canoes cost $5.20 on May 5, 1999; see example.com/a or Dr. Smith at 10:30 p.m. again. "
)


@pytest.mark.parametrize(
    "text", [PROSE * 3000, "a" * 100_000, "a b " * 30_000, "1" * 50_000, " " * 9999]
)
def test_rules_read_windows_of_limited_length(text):
    pieces = windows(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= WINDOW
    assert len(pieces) <= 2 * len(text) / WINDOW + 1  # so the work is linear in the length


def test_long_text_has_the_reading_of_its_sentences():
    assert normalize(PROSE * 50) == " ".join([normalize(PROSE)] * 50)


@pytest.mark.parametrize(
    "sign",
    [" ", "\n", ".", ",.", "(", "1", "1,", "1,111,", "1:", "1/", "1-", "a@", "a.", "a-", "/a", "x+"]
    + [
        "a.com/",
        "[",
        "<b ",
        "^",
        "A.",
        "--",
        "'",
        "+1 ",
        "\U0001f600",
        "\u0301",
        "\u00bd",
        "$",
        "|",
    ]
    + [
        "\\frac{",
        "{",
        "&lt;",
        "H2",
        "1x",
        "*",
        "_",
        "`",
        "# ",
        "> ",
        "=",
        "\u2260",
        "I",
        "5'",
        '"1',
    ],
)
def test_repeated_signs_are_normalized(sign):
    assert normalize(f"a{sign * 2000}b")
