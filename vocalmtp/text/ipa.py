"""The phones of English, and their forms in the International Phonetic Alphabet."""

from collections.abc import Sequence

from vocalmtp.errors import InputError
from vocalmtp.text.letter_phones import Chunk

VOWELS = "aa ae ah ao aw ay eh er ey ih iy ow oy uh uw".split()
CONSONANTS = "b ch d dh f g hh jh k l m n ng p r s sh t th v w y z zh".split()
# The phones of CMUdict with the stress of vowels (0 none, 1 primary, 2 secondary), and the schwa.
PHONES = (*(f"{vowel}{stress}" for vowel in VOWELS for stress in "012"), "ax", *CONSONANTS)

_WRITTEN = {
    **{"aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ay": "aɪ", "eh": "ɛ", "er": "ɜɹ"},
    **{"ey": "eɪ", "ih": "ɪ", "iy": "i", "ow": "oʊ", "oy": "ɔɪ", "uh": "ʊ", "uw": "u", "ax": "ə"},
    **{"ch": "tʃ", "jh": "dʒ", "dh": "ð", "th": "θ", "g": "ɡ", "hh": "h", "y": "j", "ng": "ŋ"},
    **{"r": "ɹ", "sh": "ʃ", "zh": "ʒ"},
    **{phone: phone for phone in "bdfklmnpstvwz"},
}
_STRESS = {"ˈ": "1", "'": "1", "ˌ": "2"}
_MARKS = {"0": "", "1": "ˈ", "2": "ˌ"}
# One character for each phone, as misaki writes them, and other spellings of the same.
_SPELLINGS = {
    **dict.fromkeys("ː͡|‿ʰ̩̯ˑ", ""),
    **{"eɪ": "A", "aɪ": "I", "oʊ": "O", "əʊ": "O", "aʊ": "W", "ɔɪ": "Y", "tʃ": "ʧ", "dʒ": "ʤ"},
    **{"ɜɹ": "ɝ", "ɜr": "ɝ", "ɜ": "ɝ", "əɹ": "ɚ", "ər": "ɚ", "r": "ɹ", "g": "ɡ"},
    **{
        "e": "ɛ",
        "a": "ɑ",
        "ɒ": "ɑ",
        "ɫ": "l",
        "ɾ": "t",
        "T": "t",
        "ʔ": "t",
        "o": "O",
        "ʍ": "w",
        "ɨ": "ɪ",
    },
}
_PHONES = {
    **{"A": "ey", "I": "ay", "O": "ow", "W": "aw", "Y": "oy", "ʧ": "ch", "ʤ": "jh", "ɝ": "er"},
    **{"ɚ": "er", "ᵊ": "ax", "ɐ": "ax", "ᵻ": "ih"},
    **{written: phone for phone, written in _WRITTEN.items() if len(written) == 1},
}


def read_ipa(ipa: str) -> Chunk:
    """Return the phones of one word in IPA, such as `təˈmeɪtoʊ`.

    A full stop between two characters keeps them apart.

    Raises:
        InputError: a character stands for no English phone, or there is no phone.

    """
    written = ipa.strip()
    for spelling, character in _SPELLINGS.items():
        written = written.replace(spelling, character)
    phones: list[str] = []
    stress = "0"
    for character in written:
        if character in _STRESS or character == ".":
            stress = _STRESS.get(character, stress)
            continue
        if character not in _PHONES:
            raise InputError(
                f"pronunciation '{ipa}': '{character}' is no phone of English in IPA; "
                "see 'vocalmtp tts TEXT --show-text --phones'",
                code="invalid_value",
            )
        phone = _PHONES[character]
        phones.append(f"{phone}{stress}" if phone in VOWELS else phone)
        stress = "0" if phone in VOWELS or phone == "ax" else stress
    if not phones:
        raise InputError(f"pronunciation '{ipa}': has no phones; give IPA", code="empty")
    return tuple(phones)


def write_ipa(phones: Sequence[str]) -> str:
    """Return phones in IPA, which `read_ipa` reads back."""
    text = ""
    for phone in phones:
        mark = _MARKS[phone[-1]] if phone[-1].isdigit() else ""
        written = mark + _WRITTEN[phone.rstrip("012")]
        text += f".{written}" if f"{text[-1:]}{written[:1]}" in _SPELLINGS else written
    return text
