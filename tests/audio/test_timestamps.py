"""Word times from pointers, words as written, and timestamps files."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises_input_error

from vocalmtp.audio.io import Word
from vocalmtp.audio.timestamps import (
    phrases,
    save_timestamps,
    spoken_words,
    timestamps_format,
    word_times,
    written_tokens,
)
from vocalmtp.errors import ErrorCode, InputError
from vocalmtp.text import normalize

TEXT = "go on, you."
#       0123456789
POINTERS = np.array([0, 0, 1, 2, 3, 4, 5, 7, 8, 9, 10])
GOLDEN = Path(__file__).parents[1] / "text" / "golden.tsv"


def test_word_lasts_from_its_first_character_to_the_one_after_it() -> None:
    assert word_times(TEXT, POINTERS, 10.0, complete=True) == [
        Word("go", 0.0, 0.3),
        Word("on", 0.4, 0.6),
        Word("you", 0.7, 1.0),
    ]


@pytest.mark.parametrize(("frames", "words"), [(0, []), (6, ["go"]), (7, ["go", "on"])])
def test_incomplete_pointers_give_only_words_that_have_ended(frames: int, words: list[str]) -> None:
    found = word_times(TEXT, POINTERS[:frames], 10.0, complete=False)
    assert [word.text for word in found] == words


def test_last_word_of_a_truncated_utterance_ends_with_it() -> None:
    assert word_times(TEXT, POINTERS[:5], 10.0, complete=True) == [
        Word("go", 0.0, 0.3),
        Word("on", 0.4, 0.5),
    ]


def test_pointer_may_skip_a_word() -> None:
    assert word_times("a b c.", np.array([0, 4, 5]), 10.0, complete=True) == [
        Word("a", 0.0, 0.1),
        Word("b", 0.1, 0.1),
        Word("c", 0.1, 0.2),
    ]


def test_words_of_one_token_are_joined() -> None:
    text = "it is five dollars."
    written = written_tokens("It is $5.", spoken_words(text))
    pointers = np.arange(len(text))
    found = word_times(text, pointers, 10.0, complete=True, written=written)
    assert found == [Word("It", 0.0, 0.2), Word("is", 0.3, 0.5), Word("$5.", 0.6, 1.8)]
    early = word_times(text, pointers[:12], 10.0, complete=False, written=written)
    assert [word.text for word in early] == ["It", "is"]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Dr. Smith, 5 p.m.", ["Dr.", "Smith,", "5", "p.m."]),
        ("It cost $5 million, i.e. a lot.", ["It", "cost", "$5", "million,", "i.e.", "a", "lot."]),
        ("on 5 May 2026", ["on", "5 May", "2026"]),  # spoken in another order
        ("- Hello \u2014 world \u2026", ["- Hello", "\u2014 world \u2026"]),  # unspoken marks
        ("See [the docs](https://x.org/a).", ["See", "[the", "docs](https://x.org/a)."]),
        ("He said:\n\u201cDon\u2019t!\u201d", ["He", "said:", "\u201cDon\u2019t!\u201d"]),
    ],
)
def test_words_as_written(text: str, tokens: list[str]) -> None:
    found = written_tokens(text, spoken_words(normalize(text)))
    assert [token.text for token in dict.fromkeys(found)] == tokens
    assert all(text[token.start : token.end] in token.text for token in found)


def test_every_word_has_a_token_and_every_token_is_there() -> None:
    """Of all golden texts, whatever their readings are."""
    for line in GOLDEN.read_text("utf-8").splitlines():
        text = line.split("\t")[0].replace("\\n", "\n")
        try:
            spoken = spoken_words(normalize(text))
        except InputError:
            continue
        found = written_tokens(text, spoken)
        assert len(found) == len(spoken), text
        tokens = list(dict.fromkeys(found))
        assert [token.start for token in tokens] == sorted(token.start for token in tokens)
        assert " ".join(token.text for token in tokens).split() == text.split()


def test_words_without_any_text() -> None:
    assert written_tokens("", []) == [] and written_tokens(" ", ["a"]) == []


WORDS = [
    Word("It", 0.0, 0.2),
    Word("cost", 0.2, 0.5),
    Word("$5", 0.5, 1.0),
    Word("&", 1.0, 1.1),
    Word("more.", 1.1, 1.6),
    Word("Then", 1.9, 2.1),
    Word("<we>", 2.8, 3.0),
    *(Word("word", 3.0 + n / 10, 3.1 + n / 10) for n in range(10)),
    Word("on", 3725.5, 3725.75),
]


def test_phrases_end_at_sentences_pauses_and_forty_characters() -> None:
    found = [phrase.text for phrase in phrases(WORDS)]
    assert found == [
        "It cost $5 & more.",
        "Then",
        "<we> word word word word word word word",
        "word word word",
        "on",
    ]
    assert [(p.start, p.end) for p in phrases(WORDS)][0] == (0.0, 1.6)
    assert list(phrases([])) == []


def test_json_has_words(tmp_path: Path) -> None:
    save_timestamps(WORDS[:2], tmp_path / "w.json")
    assert json.loads((tmp_path / "w.json").read_text()) == {
        "words": [
            {"word": "It", "start": 0.0, "end": 0.2},
            {"word": "cost", "start": 0.2, "end": 0.5},
        ]
    }


def test_subtitles_have_phrases(tmp_path: Path) -> None:
    words = [*WORDS[:7], WORDS[-1]]
    for name in ("w.srt", "w.vtt"):
        save_timestamps(words, tmp_path / name)
    assert (tmp_path / "w.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:01,600\nIt cost $5 & more.\n\n"
        "2\n00:00:01,900 --> 00:00:02,100\nThen\n\n"
        "3\n00:00:02,800 --> 00:00:03,000\n<we>\n\n"
        "4\n01:02:05,500 --> 01:02:05,750\non\n"
    )
    assert (tmp_path / "w.vtt").read_text() == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.600\nIt cost $5 &amp; more.\n\n"
        "00:00:01.900 --> 00:00:02.100\nThen\n\n"
        "00:00:02.800 --> 00:00:03.000\n&lt;we&gt;\n\n"
        "01:02:05.500 --> 01:02:05.750\non\n"
    )


@pytest.mark.parametrize(("name", "code"), [("w.txt", "invalid_value"), ("x/w.srt", "not_found")])
def test_invalid_timestamps_file(tmp_path: Path, name: str, code: ErrorCode) -> None:
    with raises_input_error(code, key="timestamps"):
        timestamps_format(tmp_path / name)
