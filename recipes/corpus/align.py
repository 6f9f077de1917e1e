"""Letters to times: when each character of a text has been spoken.

A teacher gives the phones of every word and their end times. Which letter a phone belongs to is
learned from pairs of spelling and phones, see ``vocalmtp.text.letter_phones``.
"""

from __future__ import annotations

from functools import lru_cache

from teachers import Misread, Speech
from vocalmtp.text.letter_phones import Table, split


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
