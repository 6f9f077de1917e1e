"""From a text to the sentences to speak: marks, own pronunciations, normalization, pauses."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from textwrap import wrap

from vocalmtp.audio.timestamps import Token, spoken_words, written_tokens
from vocalmtp.errors import InputError
from vocalmtp.text import normalize, shorten, split_sentences
from vocalmtp.text.letter_phones import Chunk
from vocalmtp.text.lexicon import Lexicon
from vocalmtp.text.normalizer import check_unknown_characters
from vocalmtp.text.ssml import LONGEST_PAUSE, Passage, parse_marks

PAUSES = {".": 0.25, "?": 0.25, "!": 0.25}  # seconds of silence after a sentence, by its last sign
SHORT_PAUSE = 0.1  # after a piece of a sentence that was too long to be spoken at once
LONGEST = 400  # characters of a sentence: it is cut at 200, unless it has a word that long
SENTENCE = re.compile(r".+?(?:[.!?…]+(?=\s)|[。！？]+|$)\s*")  # in any language


@dataclass(frozen=True)
class Sentence:
    """One sentence of a text.

    Attributes:
        text: normalized.
        written: the token that each of its words is written in, see `word_times`.
        pause: seconds of silence after it.
        lead: seconds of silence before it, of a pause at the start of the text.
        phones: of words that the text or the lexicon gives phones for.

    """

    text: str
    written: tuple[Token, ...]
    pause: float = 0.0
    lead: float = 0.0
    phones: Mapping[str, Chunk] = field(default_factory=dict)

    @property
    def original(self) -> str:
        """The text as it was written, with single spaces, for models that read numbers and cases."""
        return " ".join(token.text for token in dict.fromkeys(self.written))


@dataclass(frozen=True)
class TextReader:
    """Turns texts into sentences.

    Args:
        lexicon: own pronunciations.
        unknown_characters: what happens to letters that are not read, see `normalize`.
        plain: whether texts are read as they are written, in any language, by a model that does its
            own normalization; pronunciations have no effect then.

    """

    lexicon: Lexicon = field(default_factory=lambda: Lexicon({}))
    unknown_characters: str = "refuse"
    plain: bool = False

    @classmethod
    def of(
        cls,
        lexicon: Lexicon | Mapping[str, str] | Path | str | None,
        unknown_characters: str = "refuse",
    ) -> "TextReader":
        """Return a reader with the own pronunciations of a file, of a mapping, or none.

        Raises:
            InputError: the lexicon or the option is invalid.

        """
        check_unknown_characters(unknown_characters)
        if lexicon is None:
            lexicon = Lexicon({})
        elif isinstance(lexicon, Path | str):
            lexicon = Lexicon.load(lexicon)
        elif not isinstance(lexicon, Lexicon):
            lexicon = Lexicon(lexicon)
        return cls(lexicon, unknown_characters)

    def sentences(self, text: str, speed: float = 1.0) -> list[Sentence]:
        """Split a text into sentences.

        Args:
            text: English text, with marks of `parse_marks`.
            speed: divisor of the pauses, except those that the text asks for.

        Raises:
            InputError: the text cannot be read out.

        """
        if not isinstance(text, str):
            raise InputError(
                f"text '{text}': is a {type(text).__name__}; give a string", code="invalid_value"
            )
        lead, read = 0.0, list[Sentence]()
        for passage in parse_marks(text, self.lexicon):
            own = self._passage(passage, speed)
            if own:
                read += own
            elif read:
                pause = min(LONGEST_PAUSE, read[-1].pause + (passage.pause or 0.0))
                read[-1] = replace(read[-1], pause=pause)
            else:
                lead = min(LONGEST_PAUSE, lead + (passage.pause or 0.0))
        if not read:
            raise InputError(
                f"text '{shorten(text)}': has nothing to say; give at least one word or number",
                code="empty",
            )
        return [replace(read[0], lead=lead), *read[1:]]

    def _passage(self, passage: Passage, speed: float) -> list[Sentence]:
        """The sentences of a passage; none if it has nothing to say."""
        if self.plain:
            return plain_sentences(passage)
        try:
            normalized = normalize(passage.spoken, self.unknown_characters)
        except InputError as error:
            if error.code == "empty":
                return []
            raise
        texts = split_sentences(normalized)
        if passage.pause is not None and passage.spoken.rstrip()[-1:].isalnum():
            texts[-1] = f"{texts[-1][:-1]},"  # the sentence goes on after the pause
        words = [spoken_words(_check_length(each)) for each in texts]
        tokens = iter(written_tokens(passage.written, list(chain.from_iterable(words))))
        return list(_sentences(texts, words, tokens, passage, speed))


def _sentences(
    texts: list[str],
    words: list[list[str]],
    tokens: Iterator[Token],
    passage: Passage,
    speed: float,
) -> Iterator[Sentence]:
    for number, (text, own) in enumerate(zip(texts, words, strict=True)):
        pause = PAUSES.get(text[-1], SHORT_PAUSE) / speed
        if number == len(texts) - 1:
            pause = passage.pause or 0.0
        yield Sentence(text, tuple(islice(tokens, len(own))), pause, phones=passage.phones)


def plain_sentences(passage: Passage) -> list[Sentence]:
    """Split a passage as it is written: its sentences, as many together as LONGEST characters are."""
    text = " ".join(passage.written.split())
    if not any(character.isalnum() for character in text):
        return []
    pieces = [""]
    for sentence in SENTENCE.findall(text):
        for part in wrap(sentence, LONGEST, break_on_hyphens=False):
            glue = " " if pieces[-1] and pieces[-1][-1].isascii() else ""
            if len(pieces[-1]) + len(glue) + len(part) > LONGEST:
                pieces, glue = [*pieces, ""], ""
            pieces[-1] += glue + part
    pauses = [*[PAUSES["."]] * (len(pieces) - 1), passage.pause or 0.0]
    return [
        Sentence(piece, (Token(0, len(piece), piece),), pause)
        for piece, pause in zip(pieces, pauses, strict=True)
    ]


def _check_length(sentence: str) -> str:
    if len(sentence) > LONGEST:
        raise InputError(
            f"text '{sentence[:37]}...': has a word of some {len(sentence)} letters; "
            "put spaces into it",
            code="wrong_length",
        )
    return sentence
