"""The judges of all systems: the same sentences, the same references, the same rows kept.

Natural speech and every tokenizer's resynthesis are judged as the cells are.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vocalmtp.ablation.figures import MetricSet
from vocalmtp.ablation.grid import Grid
from vocalmtp.data.manifest import Utterance
from vocalmtp.evaluation import quality, similarity
from vocalmtp.evaluation.intelligibility import WordErrors, corpus_rate, relative_rate
from vocalmtp.evaluation.items import pick_items, pick_references
from vocalmtp.evaluation.judges import kept_scores, vector_of
from vocalmtp.evaluation.measure import word_scores
from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean
from vocalmtp.evaluation.systems import CodecOnly, SpokenItem, speak
from vocalmtp.voices import SHORTEST

NATURAL = "natural"
REFERENCES = 8  # recordings that stand for a voice


class Evaluators:
    """The sentences that every system of a grid says, and who judges them."""

    def __init__(self, grid: Grid):
        """Raises InputError if the corpus is not there, or has no such sentences."""
        self.grid = grid
        asked = grid.eval
        self.items = pick_items(grid.corpus, asked.split, asked.voices, asked.sentences)
        counts: dict[str, int] = {}
        self.few: list[Utterance] = []
        for item in self.items:
            counts[item.voice] = counts.get(item.voice, 0) + 1
            if counts[item.voice] <= asked.few:
                self.few.append(item)
        self.folder = grid.output / NATURAL / grid.judged

    @cached_property
    def references(self) -> list[Utterance]:
        """Recordings that stand for the voices."""
        names = sorted({item.voice for item in self.items})
        rows = pick_references(self.grid.corpus, names, self.items, 2 * REFERENCES)
        long = [row for row in rows if row.seconds > 2 * SHORTEST]  # shorter ones make no voice
        chosen = ((_of(v, long) or _of(v, rows))[:REFERENCES] for v in names)
        return [row for own in chosen for row in own]

    @cached_property
    def targets(self) -> dict[str, np.ndarray]:
        """The speaker embedding [256] of every voice."""
        path = self.folder / "rows" / "speaker-references.jsonl"
        vectors = embeddings({row.id: row.audio for row in self.references}, path)
        return {
            voice: similarity.centroid([vectors[row.id] for row in _of(voice, self.references)])
            for voice in {row.voice for row in self.references}
        }

    @cached_property
    def natural(self) -> list[SpokenItem]:
        """The recordings of the sentences."""
        return speak(NATURAL, self.items, CodecOnly(), self.folder)

    @cached_property
    def natural_words(self) -> list[WordErrors]:
        """Word errors of natural speech."""
        return word_scores(self.natural, self.folder / "rows" / "heard-natural.jsonl", 1)

    def measure(self, system: str, spoken: Sequence[SpokenItem], folder: Path) -> MetricSet:
        """What all judges say of `spoken`, one of every item in their order."""
        made = MetricSet(success(spoken))
        made.judge("words", lambda: self._words(system, spoken, folder))
        made.judge("voices", lambda: self._voices(system, spoken, folder))
        made.judge("sound", lambda: self._sound(system, spoken, folder))
        return made

    def _words(
        self, system: str, spoken: Sequence[SpokenItem], folder: Path
    ) -> dict[str, Estimate]:
        scores = word_scores(spoken, folder / "rows" / f"heard-{system}.jsonl", 1)
        figures = {"wer": corpus_rate(scores)}
        if system != NATURAL:
            figures["wer_over_natural"] = relative_rate(scores, self.natural_words)
        return figures

    def _voices(
        self, system: str, spoken: Sequence[SpokenItem], folder: Path
    ) -> dict[str, Estimate]:
        path = folder / "rows" / f"speaker-{system}.jsonl"
        made = embeddings({s.id: s.audio for s in spoken if not s.silent}, path)
        vectors = [made.get(s.id) for s in spoken]
        own, other = similarity.compare(vectors, [s.voice for s in spoken], self.targets)
        return {"similarity": own, "similarity_other": other}

    def _sound(
        self, system: str, spoken: Sequence[SpokenItem], folder: Path
    ) -> dict[str, Estimate]:
        wanted = {item.id for item in self.few}
        files = {s.id: s.audio for s in spoken if s.id in wanted and not s.silent}
        path = folder / "rows" / f"dnsmos-{system}.jsonl"
        scores = kept_scores(path, files, quality.dnsmos)
        return {"dnsmos": bootstrap_mean([row["ovrl"] for row in scores.values()])}


def _of(voice: str, rows: Iterable[Utterance]) -> list[Utterance]:
    return [row for row in rows if row.voice == voice]


def success(spoken: Sequence[SpokenItem]) -> dict[str, Estimate]:
    """Shares that came out whole, and that never said the end (a failure as the paper has it)."""
    return {
        "success": bootstrap_mean([float(not s.failure) for s in spoken]),
        "unended": bootstrap_mean([float(s.failure == "truncated") for s in spoken]),
    }


def embeddings(files: dict[str, Path], path: Path) -> dict[str, np.ndarray]:
    """Speaker embeddings [256] of audio `files` by id, made now or found in the rows at `path`."""
    rows = kept_scores(path, files, vector_of(similarity.embed))
    return {name: np.array(row["vector"]) for name, row in rows.items()}
