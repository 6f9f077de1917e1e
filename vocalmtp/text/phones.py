"""Phones of English, in the IPA or ARPAbet, as letters that models read."""

import re

# Phones of ARPAbet with their letters, and their forms in the IPA.
_PHONES = {
    "AA": ("ah", "ɑː ɑ ɒ a"),
    "AE": ("a", "æ"),
    "AH": ("uh", "ʌ ə ɐ"),
    "AO": ("aw", "ɔː ɔ"),
    "AW": ("ow", "aʊ"),
    "AY": ("igh", "aɪ"),
    "EH": ("eh", "ɛ e"),
    "ER": ("er", "ɜː ɝ ɚ ɜ ɜɹ əɹ"),
    "EY": ("ay", "eɪ"),
    "IH": ("ih", "ɪ ɨ"),
    "IY": ("ee", "iː i"),
    "OW": ("oh", "oʊ əʊ o"),
    "OY": ("oy", "ɔɪ"),
    "UH": ("oo", "ʊ"),
    "UW": ("oo", "uː u"),
    "B": ("b", "b"),
    "CH": ("ch", "t͡ʃ tʃ ʧ"),
    "D": ("d", "d"),
    "DH": ("th", "ð"),
    "F": ("f", "f"),
    "G": ("g", "ɡ g"),
    "HH": ("h", "h"),
    "JH": ("j", "d͡ʒ dʒ ʤ"),
    "K": ("k", "k"),
    "L": ("l", "l ɫ"),
    "M": ("m", "m"),
    "N": ("n", "n"),
    "NG": ("ng", "ŋ"),
    "P": ("p", "p"),
    "R": ("r", "ɹ r ɾ"),
    "S": ("s", "s"),
    "SH": ("sh", "ʃ"),
    "T": ("t", "t ʔ"),
    "TH": ("th", "θ"),
    "V": ("v", "v"),
    "W": ("w", "w ʍ"),
    "Y": ("y", "j"),
    "Z": ("z", "z"),
    "ZH": ("zh", "ʒ"),
}
_LETTERS = {phone: letters for phone, (letters, _) in _PHONES.items()}
_IPA = {form: phone for phone, (_, forms) in _PHONES.items() for form in forms.split()}
_IPA_PHONE = re.compile("|".join(sorted(_IPA, key=len, reverse=True)))
_IPA_MARKS = re.compile("[ˈˌ.ˑ̩̯ʰ‿|ː]")  # stress, syllables, length where no phone has it
_VOWEL = re.compile("[AEIOU]")


def respell(phones: str, alphabet: str) -> str | None:
    """Write phones with English letters, a hyphen between syllables: "tuh-may-toh".

    Args:
        phones: one or more words.
        alphabet: "ipa", or a name with "arpabet", whose phones have blanks between them and may
            have digits for the stress.

    Returns:
        The letters; None if the alphabet or a phone is unknown.

    """
    if "arpabet" in alphabet.lower():
        words = [re.sub(r"\d", "", phones).upper().split()]
    elif alphabet.lower() == "ipa":
        words = [_split_ipa(word) for word in phones.split()]
    else:
        return None
    if not words or not all(words) or any(p not in _LETTERS for word in words for p in word):
        return None
    return " ".join(_spell(word) for word in words)


def _split_ipa(word: str) -> list[str]:
    """The phones of a word; [""] if one is unknown."""
    found, place = [], 0
    while place < len(word):
        match = _IPA_PHONE.match(word, place)
        if match:
            found.append(_IPA[match[0]])
        elif not _IPA_MARKS.match(word, place):
            return [""]
        place = match.end() if match else place + 1
    return found


def _spell(word: list[str]) -> str:
    """The letters of a word, cut before the last consonant between two vowels."""
    vowels = [n for n, phone in enumerate(word) if _VOWEL.match(phone)]
    cuts = [max(a + 1, b - 1) for a, b in zip(vowels, vowels[1:], strict=False)]
    syllables = [word[a:b] for a, b in zip([0, *cuts], [*cuts, len(word)], strict=True)]
    return "-".join("".join(_LETTERS[phone] for phone in own) for own in syllables)
