"""Which phones the letters of a word stand for, learned from pairs of spelling and phones.

Every letter stands for 0 to 3 phones. A Viterbi EM over word types finds the best split of each
word under the current table of probabilities, and counts the table anew from the splits.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

Chunk = tuple[str, ...]  # the phones of one letter
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
    """Return the likeliest split of `phones` over `letters`; None if there are too many phones."""
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
    """Return the table with phones joined by spaces, for a file."""
    return {
        letter: {" ".join(c): round(p, 4) for c, p in sorted(chunks.items())}
        for letter, chunks in sorted(table.items())
    }


def from_json(data: dict[str, dict[str, float]]) -> Table:
    """Return the table of what `to_json` returned."""
    return {
        letter: {tuple(c.split()): p for c, p in chunks.items()} for letter, chunks in data.items()
    }
