"""Letters to times: when each character of a text has been spoken.

A teacher gives the phones of every word and their end times. Which letter a phone belongs to is
learned from pairs of spelling and phones, by a Viterbi EM over word types: every letter emits 0 to
3 phones, the best split of each word is found under the current table, and the table is counted
anew from the splits.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache

from teachers import Misread, Speech

Chunk = tuple[str, ...]
Table = dict[str, dict[Chunk, float]]  # letter -> phones -> log probability

ROUNDS = 5
LONGEST = 3  # phones of one letter: "x" in "exact" has g z, "u" in "cure" has y uh r
UNSEEN = -12.0  # log probability, per phone, of a phone that the table lacks for the letter
UNSEEN_TOGETHER = -4.0  # added for phones that the letter has singly but never had in this group
SILENT = 0.05  # the first guess of how often a letter has no phone


def learn(pairs: Iterable[tuple[str, Chunk]]) -> Table:
    """Learn the table from (spelling, phones) pairs; each distinct pair counts once."""
    types = sorted(set(pairs))
    table = _first_guess(types)
    for _ in range(ROUNDS):
        counts: dict[str, Counter[Chunk]] = defaultdict(Counter)
        for letters, phones in types:
            for letter, chunk in zip(letters, split(letters, phones, table) or (), strict=False):
                counts[letter][chunk] += 1
        table = {
            letter: {c: math.log(n / chunks.total()) for c, n in chunks.items()}
            for letter, chunks in counts.items()
        }
    return table


def _first_guess(types: list[tuple[str, Chunk]]) -> Table:
    """Letters and phones that stand at like places of their words, as the EM's start.

    Hard EM follows its start: from a flat one it settles on splits shifted by a letter.
    """
    near: dict[str, dict[Chunk, float]] = defaultdict(lambda: defaultdict(float))
    for letters, phones in types:
        for i, letter in enumerate(letters):
            place = (i + 0.5) / len(letters) * len(phones) - 0.5
            for j, phone in enumerate(phones):
                near[letter][(phone,)] += math.exp(-2 * abs(j - place))
    return {
        letter: {(): math.log(SILENT), **{c: math.log(n / sum(v.values())) for c, n in v.items()}}
        for letter, v in near.items()
    }


def split(letters: str, phones: Chunk, table: Table) -> list[Chunk] | None:
    """The likeliest split of ``phones`` over ``letters``, or None when there are too many."""
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]  # phones used -> score, last chunk
    for letter in letters:
        scores = table.get(letter, {})
        row: dict[int, tuple[float, int]] = {}
        for used, (score, _) in best[-1].items():
            for size in range(min(LONGEST, len(phones) - used) + 1):
                chunk = phones[used : used + size]
                total = score + _log_probability(scores, chunk)
                if used + size not in row or total > row[used + size][0]:
                    row[used + size] = (total, size)
        best.append(row)
    if len(phones) not in best[-1]:
        return None
    chunks, used = [], len(phones)
    for row in reversed(best[1:]):
        size = row[used][1]
        chunks.append(phones[used - size : used])
        used -= size
    return chunks[::-1]


def _log_probability(scores: dict[Chunk, float], chunk: Chunk) -> float:
    """The table's value, or for phones new to the letter that of its parts with a penalty."""
    if chunk in scores:
        return scores[chunk]
    if not chunk:
        return UNSEEN
    return sum(scores.get((phone,), UNSEEN) for phone in chunk) + UNSEEN_TOGETHER


def to_json(table: Table) -> dict[str, dict[str, float]]:
    """The table with phones joined by spaces, for a file."""
    return {
        letter: {" ".join(c): round(p, 4) for c, p in sorted(chunks.items())}
        for letter, chunks in sorted(table.items())
    }


def from_json(data: dict[str, dict[str, float]]) -> Table:
    """The inverse of :func:`to_json`."""
    return {
        letter: {tuple(c.split()): p for c, p in chunks.items()} for letter, chunks in data.items()
    }


class Aligner:
    """Times of characters under one learned table."""

    def __init__(self, table: Table) -> None:
        self._split = lru_cache(maxsize=100_000)(
            lambda letters, phones: split(letters, phones, table)
        )

    def characters(self, text: str, speech: Speech) -> list[float]:
        """End time in seconds of every character of ``text``, on the clock of ``speech.ends``.

        A letter without phones ends with the character before it. A pause belongs to the first
        separator before it; other separators take no time. The last separator ends with the
        last phone: the caller knows how much silence follows.
        """
        ends = [0.0] * len(text)
        last, after = 0.0, 0  # the end of the word before, and the first character after it
        for word in speech.words:
            places = word.places
            start = speech.ends[word.first - 1] if word.first else 0.0
            ends[after : places[0]] = [start] * (places[0] - after)
            letters = "".join(text[place] for place in places)
            chunks = self._split(letters, tuple(speech.phones[word.first : word.last]))
            if chunks is None:
                raise Misread(f"no alignment for {letters!r} in {text!r}")
            last, used, after = start, word.first, places[0]
            for place, chunk in zip(places, chunks, strict=True):
                ends[after:place] = [last] * (place - after)  # an apostrophe inside the word
                used += len(chunk)
                last = speech.ends[used - 1] if chunk else last
                ends[place] = last
                after = place + 1
        ends[after:] = [last] * (len(text) - after)
        return ends
