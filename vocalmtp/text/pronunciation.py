"""The pronunciation of words: a lexicon, and a small network for what is not in it.

The text track of a model may read phones beside letters: every letter of a word stands for 0 to 3
phones, so that pointers and word times remain those of letters. recipes/pronunciation makes the
lexicon and trains the network, which predicts the phones of every letter from the letters around it.

Letters: L characters of a word with its borders, W width, C classes of phones.
"""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.hub import PRETRAINED
from vocalmtp.io.read import read_object
from vocalmtp.text.ipa import PHONES, write_ipa
from vocalmtp.text.letter_phones import LONGEST, Chunk, Table, from_json, split, to_json
from vocalmtp.text.normalizer import ALPHABET, char_ids
from vocalmtp.text.segmentation import word_spans

_PHONE_IDS = {phone: number for number, phone in enumerate(PHONES, start=1)}  # 0: no phone
LETTERS = "abcdefghijklmnopqrstuvwxyz'"  # of the network; the border of a word has the next id
KERNEL = 5  # of the network's convolutions
NOTHING: Mapping[str, Chunk] = MappingProxyType({})
_PIECE = re.compile("[a-z']+")


class Pronouncer:
    """The phones of every letter of a word.

    Args:
        lexicon: phones of words.
        table: which phones letters stand for, to split the phones of the lexicon.
        classes: the phones that the network's outputs stand for.
        weights: of the network: embedding [29, W], weightN [W, W, KERNEL] and biasN [W] of its
            convolutions, output [C, W] and output_bias [C].

    """

    def __init__(
        self,
        lexicon: dict[str, Chunk],
        table: Table,
        classes: Sequence[Chunk],
        weights: dict[str, np.ndarray],
    ):
        self.lexicon, self.table, self.classes = lexicon, table, tuple(classes)
        self._weights = {name: value.astype(np.float32) for name, value in weights.items()}
        self.pronounce = lru_cache(maxsize=100_000)(self._pronounce)

    @classmethod
    def load(cls, folder: Path) -> "Pronouncer":
        """Read what recipes/pronunciation wrote. Raises InputError if it is missing or damaged."""
        from safetensors.numpy import load_file

        data = read_object(folder / "letters.json", f"pronunciation '{folder}'")
        with gzip.open(folder / "lexicon.txt.gz", "rt", encoding="ascii") as lines:
            lexicon = {word: tuple(phones) for word, *phones in map(str.split, lines)}
        classes = [tuple(phones.split()) for phones in data["classes"]]
        return cls(
            lexicon, from_json(data["table"]), classes, load_file(folder / "network.safetensors")
        )

    def save(self, folder: Path) -> None:
        """Write the files that `load` reads."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{word} {' '.join(p)}\n" for word, p in sorted(self.lexicon.items()))
        (folder / "lexicon.txt.gz").write_bytes(gzip.compress(lines.encode("ascii"), 9, mtime=0))
        data = {"classes": [" ".join(c) for c in self.classes], "table": to_json(self.table)}
        (folder / "letters.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
        half = {name: value.astype(np.float16) for name, value in self._weights.items()}
        save_file(half, folder / "network.safetensors")

    def _pronounce(self, word: str) -> tuple[Chunk, ...]:
        """Return the phones of every character of `word`, letters and apostrophes."""
        if (phones := self.lexicon.get(word)) is not None:
            return self.spread(word, phones)
        if word.endswith("'s") and len(word) > 2:
            stem = self.pronounce(word[:-2])
            return (*stem, (), possessive(stem))
        return self.predict(word)

    def spread(self, word: str, phones: Chunk) -> tuple[Chunk, ...]:
        """Split phones over the characters of `word`.

        Raises:
            InputError: there are more than three a letter.

        """
        bare = word.replace("'", "")
        found = split(bare, tuple(plain(phone) for phone in phones), self.table)
        if found is None:
            raise InputError(
                f"pronunciation '{write_ipa(phones)}': has {len(phones)} phones for the "
                f"{len(bare)} letters of '{word}'; give at most {LONGEST} for each letter",
                code="wrong_length",
            )
        chunks, used = [], 0
        parts = iter(found)
        for character in word:
            size = 0 if character == "'" else len(next(parts))
            chunks.append(phones[used : used + size])
            used += size
        return tuple(chunks)

    def predict(self, word: str) -> tuple[Chunk, ...]:
        """Return the phones of every character of `word` by the network."""
        border = len(LETTERS)
        ids = [border, *(LETTERS.index(character) for character in word), border]
        w = self._weights
        x = w["embedding"][ids]  # [L, W]
        for layer in range(sum(name.startswith("weight") for name in w)):
            padded = np.pad(x, ((KERNEL // 2, KERNEL // 2), (0, 0)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, KERNEL, axis=0)  # [L, W, 5]
            weight = w[f"weight{layer}"].reshape(x.shape[1], -1)  # [W, W * 5]
            y = windows.reshape(len(x), -1) @ weight.T + w[f"bias{layer}"]
            x = x + np.maximum(y, 0)
        logits = x @ w["output"].T + w["output_bias"]  # [L, C]
        return tuple(self.classes[index] for index in logits[1:-1].argmax(-1))


@cache
def load_pronouncer() -> Pronouncer:
    """The pronouncer that comes with the package."""
    return Pronouncer.load(PRETRAINED / "pronunciation")


def plain(phone: str) -> str:
    """Return a phone without its stress."""
    return phone.rstrip("012")


def possessive(chunks: Sequence[Chunk]) -> Chunk:
    """The phones of 's after a word with these phones."""
    last = next((chunk[-1] for chunk in reversed(chunks) if chunk), "")
    if last in ("s", "z", "sh", "zh", "ch", "jh"):
        return ("ax", "z")
    return ("s",) if last in ("p", "t", "k", "f", "th") else ("z",)


def phones_of(
    text: str, given: Mapping[str, Chunk] = NOTHING, pronouncer: Pronouncer | None = None
) -> list[Chunk]:
    """Return the phones of every character of a normalized text.

    Args:
        text: the text.
        given: the phones of words that have others than usual.
        pronouncer: None: that of the package.

    """
    pronouncer = pronouncer or load_pronouncer()
    chunks: list[Chunk] = [()] * len(text)
    for start, end in word_spans(text):
        word = text[start:end]
        if word in given:
            chunks[start:end] = pronouncer.spread(word.replace("-", "'"), given[word])
            continue
        for piece in _PIECE.finditer(word):
            chunks[start + piece.start() : start + piece.end()] = pronouncer.pronounce(piece[0])
    return chunks


def phonetic(text: str, given: Mapping[str, Chunk] = NOTHING) -> str:
    """Return a normalized text with its words in IPA; for `given` see `phones_of`."""
    chunks, parts, position = phones_of(text, given), [], 0
    for start, end in word_spans(text):
        phones = [phone for chunk in chunks[start:end] for phone in chunk]
        parts += [text[position:start], write_ipa(phones)]
        position = end
    return "".join([*parts, text[position:]])


def track_ids(text: str, phones: bool = False, given: Mapping[str, Chunk] = NOTHING) -> list[int]:
    """Ids of the characters of a normalized text for a text track.

    The id of a character is its place in ALPHABET; with `phones`, the ids of the phones that it
    stands for are the further digits of the number, as `TextTrack` takes it apart.

    Args:
        text: the text.
        phones: whether the track reads phones.
        given: see `phones_of`.

    Raises:
        InputError: a character is not in the alphabet, or given phones do not fit their word.

    """
    ids = char_ids(text)
    if not phones:
        return ids
    base = len(PHONES) + 1
    numbers = []
    for letter, chunk in zip(ids, phones_of(text, given), strict=True):
        sound = sum(_PHONE_IDS[phone] * base**place for place, phone in enumerate(chunk))
        numbers.append(letter + len(ALPHABET) * sound)
    return numbers
