"""Written English to the letters that the models read: lower case, figures and symbols in words."""

import re
import unicodedata

from vocalmtp.errors import InputError
from vocalmtp.text.alphabet import ALPHABET, shorten
from vocalmtp.text.numbers import spell_numbers
from vocalmtp.text.tables import (
    ABBREVIATIONS,
    LETTER_NAMES,
    LETTERS_OF,
    MONTHS,
    NEVER_LAST,
    PUNCTUATION,
    SPELLED,
    SYMBOLS,
    TITLES,
    WORDS_WITHOUT_VOWELS,
)


def _any(table: dict[str, str], after: str = "") -> re.Pattern[str]:
    keys = "|".join(re.escape(key.removesuffix(after)) for key in table)
    return re.compile(rf"(?<![\w.])({keys})", re.IGNORECASE)


_TITLE = re.compile(_any(TITLES, ".").pattern + r"\b\.?(?=\s)", re.IGNORECASE)
_ABBREVIATION = _any(ABBREVIATIONS)
_WORDS_OF = {key.lower(): value for key, value in {**TITLES, **ABBREVIATIONS}.items()}
_MONTH = re.compile(rf"\b({'|'.join(key for key in MONTHS if len(key) <= 4)})\.(?=\s|$)")
_HOST = r"[\w-]{1,63}(?:\.[\w-]{1,63}){0,9}"  # bounded, or a long odd text would take for ever
_PATH = r"(?:/[\w./-]*\w)?"
_ADDRESS = re.compile(
    rf"(?<![\w.+-])[\w.+-]{{1,64}}@{_HOST}|(?:https?://|www\.){_HOST}{_PATH}"
    rf"|(?<![\w.-]){_HOST}\.(?:com|org|net|edu|gov|io|dev|app|info)\b{_PATH}"
)
_IN_ADDRESS = {".": " dot ", "@": " at ", "/": " slash ", "-": " dash ", "_": " underscore "}
_DOTTED = re.compile(r"\b(?:[A-Za-z]\.){2,}")
_INITIAL = re.compile(r"(?<![\w'])([A-Z])\.(?=\s[A-Z])")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")
_CAPITAL = re.compile(r"\s+[A-Z]")
_PAUSE = re.compile(r"[\s.,?!;:]*[.,?!;:][\s.,?!;:]*")


def normalize(text: str) -> str:
    """The text as it will be spoken: only ALPHABET, ending in a full stop, `?` or `!`.

    Normalised text stays as it is. Emoji and other pictures are left out.

    Raises:
        InputError: nothing in it can be spoken, or it has letters of a script that is not read.
    """
    original = text
    text = _plain_letters(text)
    text = _ADDRESS.sub(lambda m: _address(m[0]), text)
    text = _expand_abbreviations(text)
    text = spell_numbers(text)
    for symbol, words in SYMBOLS.items():
        text = text.replace(symbol, words)
    text = _spell_letters(text).lower()
    foreign = next((c for c in text if c.isalnum() and c not in ALPHABET), None)
    if foreign:
        raise InputError(
            f"text '{shorten(original)}': cannot read '{foreign}' "
            f"({unicodedata.name(foreign, 'unknown').lower()}); write it in English letters"
        )
    text = _tidy_punctuation(text)
    if not re.search("[a-z]", text):
        raise InputError(
            f"text '{shorten(original)}': has nothing to say; give at least one word or number"
        )
    return text


def _plain_letters(text: str) -> str:
    """Typographic signs to ASCII ones, and accents off; foreign scripts stay, to be refused."""
    for table in (PUNCTUATION, LETTERS_OF):
        text = text.translate(str.maketrans(table))
    kept = {sign: chr(0xE000 + i) for i, sign in enumerate("\u00b2\u00b3")}  # NFKD would lose them
    text = unicodedata.normalize("NFKD", text.translate(str.maketrans(kept)))
    text = text.translate(str.maketrans({code: sign for sign, code in kept.items()}))
    text = "".join(c for c in text if not unicodedata.combining(c))
    lines = "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
    return re.sub(r"\n{2,}", ". ", lines).replace("\n", " ")


def _address(text: str) -> str:
    """An e-mail or web address, dots and all."""
    text = re.sub(r"^https?://", "", text)
    return "".join(_IN_ADDRESS.get(character, character) for character in text)


def _expand_abbreviations(text: str) -> str:
    text = re.sub(r"\bSt\.(?=\s[A-Z])", "saint", text)
    text = re.sub(r"\bSt\.", "street", text)
    text = re.sub(r"\b([Nn]o|[Nn]os)\.\s?(?=\d)|#(?=\d)", "number ", text)
    text = re.sub(r"\bp\.\s?(?=\d)", "page ", text)
    text = re.sub(r"\s'n'\s", " and ", text)
    text = _MONTH.sub(lambda m: MONTHS[m[1]].capitalize(), text)
    text = _TITLE.sub(lambda m: _WORDS_OF[f"{m[1].lower()}."], text)

    def expand(match: re.Match[str]) -> str:
        words = _WORDS_OF[match[1].lower()]
        ends = match[1] not in NEVER_LAST and _CAPITAL.match(text, match.end())
        return f"{words}." if ends else words

    return _ABBREVIATION.sub(expand, text)


def _spell_letters(text: str) -> str:
    """Initialisms and single letters as the names of the letters."""
    text = _DOTTED.sub(lambda m: _letters(m[0].replace(".", "")), text)
    text = _INITIAL.sub(r"\1", text)
    return _WORD.sub(lambda m: _spell_word(m[0]), text)


def _spell_word(word: str) -> str:
    stem, apostrophe, ending = word.partition("'")
    if stem[-1] == "s" and stem[:-1].isupper() and _is_spelled(stem[:-1], True):  # PDFs
        return f"{_letters(stem[:-1])}'s"
    if _is_spelled(stem, bool(apostrophe)):
        return _letters(stem) + apostrophe + ending
    return word


def _is_spelled(stem: str, whole: bool) -> bool:
    """Whether a word is said by its letters; a single one is unless it begins a longer word."""
    low = stem.lower()
    if len(low) == 1:
        return not whole and low not in "ai"
    return stem in SPELLED or not (re.search("[aeiouy]", low) or low in WORDS_WITHOUT_VOWELS)


def _letters(word: str) -> str:
    return " ".join(LETTER_NAMES[letter] for letter in word.lower())


def _tidy_punctuation(text: str) -> str:
    """Only the pauses that the models know, one at a time, each after a word."""
    text = re.sub(r"\.{2,}(\s*[a-z])?", lambda m: f",{m[1]}" if m[1] else ".", text)
    text = re.sub(r"(?<=[a-z])\.(?=[a-z])", " dot ", text)
    text = re.sub(r"[()\[\]{}|]|\s[\u2013\u2014-]+\s|--+|\u2013", ", ", text)
    text = re.sub(r"(?<![a-z])'|'(?![a-z])", "", text)
    text = re.sub(r"(?<![a-z])-|-(?![a-z])", " ", text)
    text = "".join(c if c in ALPHABET else " " for c in text)

    def strongest(match: re.Match[str]) -> str:
        return next(mark for mark in "?!.;:," if mark in match[0]) + " "

    text = " ".join(_PAUSE.sub(strongest, text).split()).lstrip(".,?!;: ")
    text = re.sub(r"[,;:-]$", "", text)
    return text if not text or text[-1] in ".?!" else f"{text}."
