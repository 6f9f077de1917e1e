"""Own pronunciations: words and the spellings that they are read by."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from vocalmtp.errors import InputError
from vocalmtp.io.read import read_lines
from vocalmtp.text.letter_phones import Chunk
from vocalmtp.text.phones import parse_phones, respell

_SPELLING = re.compile(r"[a-zA-Z][a-zA-Z' -]*")


class Lexicon:
    """Words with a pronunciation of their own.

    A word in lower case matches in any case, other words match as they are. Only whole words match.

    Args:
        entries: by word, the spelling in English letters that it is read by, such as "see-quel",
            or its phones in the IPA between slashes.

    Attributes:
        phones: by spelling, the phones of words that have them.

    Raises:
        InputError: a spelling has other characters, or its phones are unknown.

    """

    def __init__(self, entries: Mapping[str, str]):
        if not isinstance(entries, Mapping):
            raise InputError(
                f"lexicon '{entries}': is a {type(entries).__name__}; give a file, or words with "
                "their spellings",
                code="invalid_value",
            )
        self.phones: dict[str, Chunk] = {}
        self.entries: dict[str, str] = {}
        for word, read in entries.items():
            spelling = _check_spelling(word, read)
            self.entries[word.strip()] = spelling.letters
            self.phones |= spelling.phones

    @classmethod
    def load(cls, path: Path | str) -> "Lexicon":
        """Read a file of lines `word = spelling`; `#` begins a comment.

        Raises:
            InputError: there is no such file, or a line is invalid.

        """
        what = f"lexicon '{path}'"
        if not Path(path).is_file():
            raise InputError(
                f"{what}: no such file; give lines 'word = spelling'", code="not_found"
            )
        entries: dict[str, str] = {}
        for number, line in read_lines(Path(path), what):
            try:
                text = line.decode("utf-8-sig").split("#")[0].strip()
                if not text:
                    continue
                word, separator, read = text.partition("=")
                if not (separator and word.strip()):
                    raise InputError(
                        f"line '{text}': write 'word = spelling'", code="invalid_value"
                    )
                _check_spelling(word.strip(), read)
                entries[word.strip()] = read
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{what} line {number}: is not UTF-8; convert the file", code="invalid_value"
                ) from error
            except InputError as error:
                raise InputError(f"{what} line {number}: {error}", code=error.code) from error
        return cls(entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lexicon) and other.entries == self.entries

    def __hash__(self) -> int:
        return hash(tuple(sorted(self.entries.items())))

    def digest(self) -> str:
        """Return a hash of the entries."""
        content = repr(sorted(self.entries.items())).encode()
        return hashlib.sha256(content).hexdigest()[:16]

    def apply(self, text: str) -> str:
        """Return `text` with the words of the lexicon as they are spelled there."""
        lowered = text.lower()
        found = sorted((word for word in self.entries if word.lower() in lowered), key=len)
        if not found:
            return text
        words = "|".join(re.escape(word) for word in reversed(found))
        pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
        return pattern.sub(lambda m: self._read(m[0]), text)

    def _read(self, word: str) -> str:
        return self.entries.get(word) or self.entries.get(word.lower()) or word


class Spelling(NamedTuple):
    """How words are read: letters, and by word of these, the phones if they were given."""

    letters: str
    phones: dict[str, Chunk]


def spelling_of(phones: str, alphabet: str) -> Spelling | None:
    """Return the spelling of phones; None if the alphabet or a phone is unknown."""
    words = parse_phones(phones, alphabet)
    if words is None:
        return None
    letters = respell(words)
    return Spelling(letters, dict(zip(letters.split(), words, strict=True)))


def read_spelling(text: str) -> Spelling | None:
    """Return a spelling in lower case, or that of phones between slashes; None if it is invalid."""
    text = text.strip()
    if len(text) > 2 and text[0] == text[-1] == "/":
        return spelling_of(text[1:-1], "ipa")
    return Spelling(text.lower(), {}) if _SPELLING.fullmatch(text) else None


def _check_spelling(word: str, text: object) -> Spelling:
    found = read_spelling(text) if isinstance(text, str) else None
    if found is None:
        raise InputError(
            f"spelling '{text}': of '{word}', must have English letters only, or phones of the IPA "
            "between slashes",
            code="invalid_value",
        )
    return found
