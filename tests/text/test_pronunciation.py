"""Phones of words: IPA, the lexicon, the network behind it, and given pronunciations."""

import random
from pathlib import Path

import numpy as np
import pytest
from helpers.errors import raises_input_error

from vocalmtp.text import ALPHABET, char_ids
from vocalmtp.text.ipa import PHONES, read_ipa, write_ipa
from vocalmtp.text.letter_phones import learn
from vocalmtp.text.lexicon import Lexicon
from vocalmtp.text.pronunciation import KERNEL, LETTERS, Pronouncer, phones_of, phonetic, track_ids
from vocalmtp.text.ssml import parse_marks

WORDS = {
    "cat": ("k", "ae1", "t"),
    "ship": ("sh", "ih1", "p"),
    "box": ("b", "aa1", "k", "s"),
    "tap": ("t", "ae1", "p"),
    "chip": ("ch", "ih1", "p"),
    "six": ("s", "ih1", "k", "s"),
}


@pytest.fixture(scope="module")
def pronouncer() -> Pronouncer:
    """A lexicon of six words, and a network that reads every letter as m."""
    table = learn((w, tuple(p.rstrip("012") for p in phones)) for w, phones in WORDS.items())
    weights = {
        "embedding": np.zeros((len(LETTERS) + 2, 4)),
        "weight0": np.zeros((4, 4, KERNEL)),
        "bias0": np.ones(4),
        "output": np.array([[0.0] * 4, [1.0] * 4]),
        "output_bias": np.zeros(2),
    }
    return Pronouncer(WORDS, table, [(), ("m",)], weights)


def test_ipa_is_read_in_common_spellings() -> None:
    assert read_ipa("təˈmeɪtoʊ") == ("t", "ax", "m", "ey1", "t", "ow0")
    assert read_ipa("bˈɝd") == read_ipa("bˈɜɹd") == read_ipa("'bɜːrd") == ("b", "er1", "d")
    assert read_ipa("dʒʌdʒ") == ("jh", "ah0", "jh")


def test_every_sequence_of_phones_survives_ipa() -> None:
    draws = random.Random(0)
    for _ in range(500):
        phones = tuple(draws.choices(PHONES, k=draws.randint(1, 8)))
        assert read_ipa(write_ipa(phones)) == phones


def test_what_is_no_ipa_is_named() -> None:
    with raises_input_error("invalid_value", key="pronunciation", names="ж"):
        read_ipa("ʒж")
    with raises_input_error("empty", key="pronunciation"):
        read_ipa("ˈ")


def test_letters_have_the_phones_of_the_lexicon(pronouncer: Pronouncer) -> None:
    for word, phones in WORDS.items():
        chunks = pronouncer.pronounce(word)
        assert len(chunks) == len(word) and sum(chunks, ()) == phones


def test_bundled_lexicon_has_the_readings_of_sentences() -> None:
    assert phonetic("i am in a house. we live here.") == "ˈaɪ ˈæm ˈɪn ə hˈaʊs. wi lˈɪv hˈɪɹ."


def test_possessives_and_hyphens_follow_their_words(pronouncer: Pronouncer) -> None:
    assert pronouncer.pronounce("cat's")[-2:] == ((), ("s",))
    assert pronouncer.pronounce("box's")[-1] == ("ax", "z")
    chunks = phones_of("cat-ship, cat.", pronouncer=pronouncer)
    assert chunks[3] == () and chunks[4] == ("sh",) and chunks[8] == chunks[9] == ()
    assert chunks[:3] == chunks[10:13] == [("k",), ("ae1",), ("t",)]


def test_network_reads_other_words(pronouncer: Pronouncer) -> None:
    assert pronouncer.pronounce("zzz") == (("m",),) * 3


def test_given_phones_replace_those_of_a_word(pronouncer: Pronouncer) -> None:
    [passage] = parse_marks("A [box](/sɪks/) or [two ships](/ʃɪp tæp/).")
    assert passage.spoken == "A sihks or shihp tap."
    assert passage.phones["sihks"] == ("s", "ih0", "k", "s")
    chunks = phones_of("a sihks.", passage.phones, pronouncer)
    assert [phone for chunk in chunks[2:7] for phone in chunk] == ["s", "ih0", "k", "s"]
    with raises_input_error("wrong_length", key="pronunciation"):
        phones_of("a.", {"a": ("k",) * 4}, pronouncer)


def test_phones_of_elements_and_lexicons_are_given() -> None:
    text = '<phoneme alphabet="cmu-arpabet" ph="T AH0 M EY1 T OW0">x</phoneme> GIF'
    [passage] = parse_marks(text, Lexicon({"GIF": "/dʒˈɪf/"}))
    assert passage.phones["tuh-may-toh"] == ("t", "ax", "m", "ey1", "t", "ow0")
    assert passage.phones["jihf"] == ("jh", "ih1", "f")


def test_saved_pronouncer_reads_alike(pronouncer: Pronouncer, tmp_path: Path) -> None:
    pronouncer.save(tmp_path)
    again = Pronouncer.load(tmp_path)
    for word in (*WORDS, "zzz", "cat's"):
        assert again.pronounce(word) == pronouncer.pronounce(word)


def test_track_ids_without_phones_are_those_of_letters() -> None:
    assert track_ids("a cat.") == char_ids("a cat.")


def test_track_ids_hold_letters_and_phones() -> None:
    text = "the quick brown fox."
    ids, letters = track_ids(text, phones=True), char_ids(text)
    assert [number % len(ALPHABET) for number in ids] == letters
    sounds = [number // len(ALPHABET) for number in ids]
    assert sounds[3] == sounds[-1] == 0 and sounds[-2] > len(PHONES)  # x: two phones
