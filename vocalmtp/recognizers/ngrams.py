"""N-gram language models of a few texts, for recognizers that expect these texts.

Word counts are smoothed by Witten-Bell interpolation (1991) and written in the ARPA format.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

BEGIN, END = "<s>", "</s>"
NEVER = -99.0  # log10 probability of a word that is never predicted

Gram = tuple[str, ...]


class NGrams:
    """Probabilities of a word after at most `order` - 1 others.

    Args:
        texts: words in lower case, separated by spaces.
        order: words of the longest n-grams.

    """

    def __init__(self, texts: Iterable[str], order: int = 3):
        self.order = order
        self.counts: dict[Gram, Counter[str]] = defaultdict(Counter)  # history -> next words
        for text in texts:
            words = [BEGIN, *text.split(), END]
            for place in range(1, len(words)):
                for size in range(min(order - 1, place) + 1):
                    self.counts[tuple(words[place - size : place])][words[place]] += 1

    @property
    def words(self) -> list[str]:
        """The vocabulary, including the end of a text."""
        return sorted(self.counts[()])

    def probability(self, history: Gram, word: str) -> float:
        """Return the probability of `word` after `history`, interpolated with shorter histories."""
        seen = self.counts.get(history, Counter())
        shorter = self.probability(history[1:], word) if history else 1 / len(self.counts[()])
        weight = self.backoff_weight(history)
        return (1 - weight) * seen[word] / max(seen.total(), 1) + weight * shorter

    def backoff_weight(self, history: Gram) -> float:
        """Return the share of the probability after `history` that shorter histories distribute."""
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
                value = NEVER if never else math.log10(self.probability(gram[:-1], gram[-1]))
                weight = (
                    f" {math.log10(self.backoff_weight(gram)):.5f}" if size < self.order else ""
                )
                lines.append(f"{value:.5f} {' '.join(gram)}{weight}")
        path.write_text("\n".join([*lines, "", "\\end\\", ""]), encoding="utf-8")

    def _grams(self, size: int) -> Iterator[Gram]:
        """Yield the n-grams of a size, sorted; the beginning of a text is a unigram."""
        found = (
            (*history, word)
            for history, words in self.counts.items()
            if len(history) == size - 1
            for word in words
        )
        yield from sorted([*found, (BEGIN,)] if size == 1 else found)
