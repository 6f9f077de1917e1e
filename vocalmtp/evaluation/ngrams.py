"""A language model of a few texts, for a recogniser that knows what is talked about.

Counts of words after others with the interpolation of Witten and Bell (1991), written in the ARPA
format.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

BEGIN, END = "<s>", "</s>"
NEVER = -99.0  # logarithm of what is never predicted

Gram = tuple[str, ...]


class NGrams:
    """Probabilities of a word after at most `order` - 1 others, from `texts` of plain words."""

    def __init__(self, texts: Iterable[str], order: int = 3):
        self.order = order
        self.counts: dict[Gram, Counter[str]] = defaultdict(Counter)  # after a history
        for text in texts:
            words = [BEGIN, *text.split(), END]
            for place in range(1, len(words)):
                for size in range(min(order - 1, place) + 1):
                    self.counts[tuple(words[place - size : place])][words[place]] += 1

    @property
    def words(self) -> list[str]:
        """All that may be predicted, the end included."""
        return sorted(self.counts[()])

    def probability(self, history: Gram, word: str) -> float:
        """How probable a word is after a history: seen so often, and as after a shorter one."""
        seen = self.counts.get(history, Counter())
        less = self.probability(history[1:], word) if history else 1 / len(self.counts[()])
        rest = self.rest(history)
        return (1 - rest) * seen[word] / max(seen.total(), 1) + rest * less

    def rest(self, history: Gram) -> float:
        """The part of the probability after a history that a shorter one distributes."""
        seen = self.counts.get(history, Counter())
        return len(seen) / (seen.total() + len(seen)) if seen else 1.0

    def write(self, path: Path) -> None:
        """Write the model as an ARPA file."""
        sizes = [list(self._grams(size)) for size in range(1, self.order + 1)]
        lines = ["\\data\\", *(f"ngram {n}={len(grams)}" for n, grams in enumerate(sizes, 1))]
        for size, grams in enumerate(sizes, 1):
            lines += ["", f"\\{size}-grams:"]
            for gram in grams:
                never = gram == (BEGIN,)
                found = NEVER if never else math.log10(self.probability(gram[:-1], gram[-1]))
                rest = f" {math.log10(self.rest(gram)):.5f}" if size < self.order else ""
                lines.append(f"{found:.5f} {' '.join(gram)}{rest}")
        path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")

    def _grams(self, size: int) -> Iterator[Gram]:
        """All grams of a size, sorted; the beginning is one of those of one word."""
        found = (
            (*history, word)
            for history, words in self.counts.items()
            if len(history) == size - 1
            for word in words
        )
        yield from sorted([*found, (BEGIN,)] if size == 1 else found)
