"""Pauses, own pronunciations and elements of SSML in texts."""

import warnings

import pytest
from helpers.errors import raises_input_error
from helpers.fuzzing import both_sizes, check
from hypothesis import strategies as st

from vocalmtp.text import normalize
from vocalmtp.text.lexicon import Lexicon
from vocalmtp.text.phones import parse_phones, respell
from vocalmtp.text.ssml import LONGEST_PAUSE, parse_marks

PAUSES = {
    "a [pause] b": 0.5,
    "a [PAUSE] b": 0.5,
    "a [break] b": 0.5,
    "a [short pause] b": 0.25,
    "a [long pause] b": 1.0,
    "a [pause 2 s] b": 2.0,
    "a [pause 2] b": 2.0,
    "a [pause: 300ms] b": 0.3,
    "a [pause=.5s] b": 0.5,
    "a [pause 1 second] b": 1.0,
    "a <break/> b": 0.5,
    "a <break> b": 0.5,
    "a <BREAK TIME='300ms'/> b": 0.3,
    'a <break time="1.5s"></break> b': 1.5,
    "a <break time=2s /> b": 2.0,
    'a <break time="+250ms"/> b': 0.25,
    'a <break strength="none"/> b': 0.0,
    'a <break strength="x-strong" /> b': 1.5,
    'a <break strength="weak" time="0s"/> b': 0.0,
}


@pytest.mark.parametrize("text", PAUSES)
def test_pauses_split_a_text(text):
    first, second = parse_marks(text)
    assert (first.spoken.strip(), first.pause) == ("a", PAUSES[text])
    assert (second.written.strip(), second.pause) == ("b", None)


@pytest.mark.parametrize(
    ("mark", "pause"),
    [
        ("<break time='soon'/>", 0.5),
        ("<break time=''/>", 0.5),
        ("<break strength='huge'/>", 0.5),
        ("[pause 1 h]", 0.5),
        ("<break time='1000s'/>", LONGEST_PAUSE),
    ],
)
def test_an_invalid_pause_warns(mark, pause):
    with pytest.warns(UserWarning, match="pause|break"):
        passages = parse_marks(f"a {mark} b")
    assert passages[0].pause == pause


@pytest.mark.parametrize(
    "text",
    [
        "see [1] and [2]",
        "x < 3 and y > 4",
        "[pause](https://example.org)",
        "H<sub>2</sub>O is <s>old</s> <mark>new</mark>",
        "a [link](https://example.org/a) and [page](../page.html)",
        "a [page](/docs/) of it",
        "<breakfast> at 8",
        "if (a[pause_at] < b)",
    ],
)
def test_other_brackets_stay(text):
    [passage] = parse_marks(text)
    assert normalize(passage.spoken) == normalize(text)


READINGS = {
    '<say-as interpret-as="characters">SQL2</say-as>': "ess cue ell two.",
    '<say-as interpret-as="spell-out">cat</say-as>': "see ay tee.",
    '<say-as interpret-as="digits">1999</say-as>': "one nine nine nine.",
    '<say-as interpret-as="telephone">555-1234</say-as>': "five five five, one two three four.",
    '<say-as interpret-as="ordinal">3</say-as>': "third.",
    '<say-as interpret-as="cardinal">1999</say-as>': ("one thousand nine hundred and ninety-nine."),
    '<say-as interpret-as="date" format="dmy">3/4/2020</say-as>': "april third, twenty twenty.",
    '<say-as interpret-as="date" format="mm/dd">4-3</say-as>': None,
    '<say-as interpret-as="date" format="md">4-3</say-as>': "april third.",
    '<say-as interpret-as="date" format="mdy">13/40/1</say-as>': None,
    '<say-as interpret-as="time">3:30pm</say-as>': "three thirty pee em.",
    '<say-as interpret-as="expletive">bother</say-as>': "bother.",
    "<sub alias='World Wide Web'>WWW</sub>": "world wide web.",
    '<phoneme alphabet="ipa" ph="təˈmeɪtoʊ">tomato</phoneme>': "tuh-may-toh.",
    '<phoneme ph="dʒɪf">GIF</phoneme>': "jihf.",
    '<phoneme alphabet="x-cmu-arpabet" ph="S IY1 K W AH0 L">SQL</phoneme>': "seek-wuhl.",
    "[Siobhan](shi-vawn)": "shi-vawn.",
    "[GIF](/dʒɪf/)": "jihf.",
    "[SQL](SEQUEL)": "sequel.",
    "<speak><s>One</s><s>two</s></speak>": "one. two.",
    "<?xml version='1.0'?><speak version='1.1' xml:lang='en'>Hi</speak>": "hi.",
    "<speak><!-- a note -->Hi<metadata><x>no</x></metadata></speak>": "hi.",
    "<speak>Tom &amp; Jerry</speak>": "tom and jerry.",
}


@pytest.mark.parametrize("text", READINGS)
def test_elements_are_read(text):
    [passage] = parse_marks(text)
    expected = READINGS[text]
    assert normalize(passage.spoken) == (
        normalize(passage.written) if expected is None else expected
    )


def test_written_words_have_no_marks():
    text = "<speak>My <sub alias='S Q L'>SQL</sub>, [Siobhan](shi-vawn) <break/>and on</speak>"
    written = [passage.written for passage in parse_marks(text)]
    assert written == ["My SQL, Siobhan ", "and on"]


def test_elements_without_effect_are_named():
    with pytest.warns(UserWarning, match="<prosody>, <voice>"):
        [passage] = parse_marks(
            "<speak><prosody rate='slow'><voice name='x'>Hi</voice></prosody></speak>"
        )
    assert passage.spoken == passage.written == "Hi"


def test_unknown_phones_are_named_and_the_word_read():
    with pytest.warns(UserWarning, match="phones"):
        [passage] = parse_marks('<phoneme ph="ʘǃ">click</phoneme>')
    assert passage.spoken == "click"


def test_the_lexicon_reads_whole_words():
    lexicon = Lexicon(
        {"sql": "sequel", "GIF": "jiff", "New Orleans": "new or-linz", "C++": "see plus"}
    )
    text = "SQL, MySQL, a GIF and a gif; NEW ORLEANS, New Orleans, C++."
    assert (
        lexicon.apply(text)
        == "sequel, MySQL, a jiff and a gif; NEW ORLEANS, new or-linz, see plus."
    )
    [passage] = parse_marks("[SQL](ess) SQL", lexicon)
    assert (passage.spoken, passage.written) == ("ess sequel", "SQL SQL")


def test_a_lexicon_is_a_file(tmp_path):
    file = tmp_path / "own words.txt"
    file.write_text("\ufeff# names\nsql = sequel\n\nGIF = /dʒɪf/  # with a jay\n", encoding="utf-8")
    assert Lexicon.load(file).entries == {"sql": "sequel", "GIF": "jihf"}


@pytest.mark.parametrize("line", ["sql", "= x", "sql = 5", "sql =", "sql = /\u0298/"])
def test_an_invalid_line_of_a_lexicon_is_named(tmp_path, line):
    file = tmp_path / "own.txt"
    file.write_text(f"a = ay\n{line}\n", encoding="utf-8")
    with raises_input_error("invalid_value", names=f"{file}' line 2"):
        Lexicon.load(file)


def test_a_lexicon_that_is_none_is_refused(tmp_path):
    with raises_input_error("not_found", "lexicon"):
        Lexicon.load(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9 = caffay\n")
    with raises_input_error("invalid_value", names="line 1"):
        Lexicon.load(tmp_path / "latin.txt")
    with raises_input_error("invalid_value", "lexicon"):
        Lexicon(["sql"])
    with raises_input_error("invalid_value", "spelling"):
        Lexicon({"sql": 5})


@pytest.mark.parametrize(
    ("phones", "alphabet", "letters"),
    [
        ("ʃɪˈvɔːn", "ipa", "shih-vawn"),
        ("bɒn mɑt", "ipa", "bahn maht"),
        ("HH AH0 L OW1", "cmu-arpabet", "huh-loh"),
        ("", "ipa", None),
        ("x y", "ipa", None),
        ("QQ", "arpabet", None),
        ("dʒɪf", "x-sampa", None),
    ],
)
def test_phones_become_letters(phones, alphabet, letters):
    words = parse_phones(phones, alphabet)
    assert (words and respell(words)) == letters


PIECES = (
    "<break", "time=", "'1s'", "/>", ">", "</", "<say-as interpret-as='digits'>", "</say-as>",
    "<phoneme ph='", "[pause", "]", "[", "](", ")", "<sub alias=\"", "</sub>", "<speak>", "</speak>",
    "one two", "5", " ", "&lt;", "<!--", "-->", "<p>", "\n", "<?xml ?>", "é", "<prosody rate='x'>",
)  # fmt: skip


@both_sizes
def test_no_text_with_marks_fails(many):
    def holds(pieces):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            passages = parse_marks("".join(pieces))
        assert passages[-1].pause is None
        assert all(0 <= passage.pause <= LONGEST_PAUSE for passage in passages[:-1])

    check(many, 3000, st.lists(st.sampled_from(PIECES), max_size=30), holds)
