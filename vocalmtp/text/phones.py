"""Phones of English, in the IPA or ARPAbet, as letters that models read."""

import re

from vocalmtp.errors import InputError
from vocalmtp.text.ipa import PHONES, VOWELS, read_ipa
from vocalmtp.text.letter_phones import Chunk

# Phones that are not written by their own names.
_LETTERS = {
    **{"aa": "ah", "ae": "a", "ah": "uh", "ax": "uh", "ao": "aw", "aw": "ow", "ay": "igh"},
    **{"ey": "ay", "iy": "ee", "ow": "oh", "uh": "oo", "uw": "oo", "hh": "h", "jh": "j"},
    **{"dh": "th"},
}


def parse_phones(phones: str, alphabet: str) -> list[Chunk] | None:
    """Return the phones of every word.

    Args:
        phones: one or more words.
        alphabet: "ipa", or a name with "arpabet": one word, whose phones have blanks between them
            and may have digits for the stress.

    Returns:
        Phones of `text.ipa.PHONES`; None if the alphabet or a phone is unknown.

    """
    if "arpabet" in alphabet.lower():
        word = tuple(map(_arpabet_phone, phones.lower().split()))
        return [word] if word and all(phone in PHONES for phone in word) else None
    if alphabet.lower() != "ipa" or not phones.strip():
        return None
    try:
        return [read_ipa(word) for word in phones.split()]
    except InputError:
        return None


def _arpabet_phone(phone: str) -> str:
    if phone == "ah0":
        return "ax"
    return f"{phone}0" if phone in VOWELS else phone


def respell(words: list[Chunk]) -> str:
    """Write phones with English letters, a hyphen between syllables: "tuh-may-toh"."""
    return " ".join(map(_spell, words))


def _spell(word: Chunk) -> str:
    """The letters of a word, cut before the last consonant between two vowels."""
    plain = [phone.rstrip("012") for phone in word]
    vowels = [n for n, phone in enumerate(plain) if re.match("[aeiou]", phone)]
    cuts = [max(a + 1, b - 1) for a, b in zip(vowels, vowels[1:], strict=False)]
    syllables = [plain[a:b] for a, b in zip([0, *cuts], [*cuts, len(plain)], strict=True)]
    return "-".join("".join(_LETTERS.get(phone, phone) for phone in own) for own in syllables)
