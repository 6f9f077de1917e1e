"""The measurements behind `vocalmtp eval`: each takes spoken utterances and gives report lines.

Rows of single utterances are kept in the output folder, so that an interrupted run goes on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vocalmtp.data.manifest import Utterance
from vocalmtp.evaluation import quality, similarity
from vocalmtp.evaluation.intelligibility import (
    WordErrors,
    corpus_rate,
    mean_rate,
    recognise_all,
    relative_rate,
    word_errors,
)
from vocalmtp.evaluation.judges import vector_of
from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.rows import progress
from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean
from vocalmtp.evaluation.systems import SpokenItem
from vocalmtp.io.run_folder import JsonlStore, Row

Spoke = dict[str, list[SpokenItem]]  # system -> its utterances, in the same order for all


def measure_intelligibility(spoke: Spoke, folder: Path, processes: int = 2) -> list[Line]:
    """Word error rates by pocketsphinx, the ratio to natural, and failures (which score 100 %)."""
    lines, scores = [], {}
    for system, items in spoke.items():
        scores[system] = word_scores(items, folder / "rows" / f"heard-{system}.jsonl", processes)
        failed = [float(bool(item.failure)) for item in items]
        rate, mean = corpus_rate(scores[system]), mean_rate(scores[system])
        lines.append(Line("WER", system, rate, "%", 1))
        lines.append(Line("WER, mean of sentences", system, mean, "%", 1))
        if "natural" in scores and system != "natural":
            ratio = relative_rate(scores[system], scores["natural"])
            lines.append(Line("WER / natural", system, ratio))
        lines.append(Line("failed", system, bootstrap_mean(failed), "%", 1))
        for kind in sorted({item.failure for item in items} - {""}):
            share = [float(item.failure == kind) for item in items]
            lines.append(Line(f"... {kind}", system, bootstrap_mean(share), "%", 1))
    return lines


def word_scores(items: Sequence[SpokenItem], path: Path, processes: int = 2) -> list[WordErrors]:
    """Word errors of `items`, heard now or found in the rows at `path`; a failure loses all."""
    rows = JsonlStore(path)
    todo = [item for item in items if rows.get(item.id) is None and not item.failure]
    heard = recognise_all([item.audio for item in todo], processes=processes)
    for index, text in heard:
        rows.append({"id": todo[index].id, "heard": text})
    return [
        word_errors(item.text, "" if item.failure else rows.get(item.id)["heard"]) for item in items
    ]


def measure_similarity(spoke: Spoke, references: Sequence[Utterance], folder: Path) -> list[Line]:
    """Cosine to the asked voice, and to the nearest other one, by recordings `references`."""
    by_voice: dict[str, list[Path]] = {}
    for row in references:
        by_voice.setdefault(row.voice, []).append(row.audio)
    targets = similarity.centroids(by_voice)
    lines = []
    for system, items in spoke.items():
        vectors = _vectors(items, folder / "rows" / f"speaker-{system}.jsonl")
        own, other = similarity.compare(vectors, [item.voice for item in items], targets)
        lines.append(Line("similarity to the asked voice", system, own))
        lines.append(Line("similarity to the nearest other voice", system, other))
    return lines


def _vectors(items: Sequence[SpokenItem], path: Path) -> list[np.ndarray | None]:
    """Speaker embeddings of `items`, made now or found at `path`; None for silence."""

    score = vector_of(similarity.embed)
    rows = _rows(items, path, lambda item: score(item.audio))
    return [np.array(row["vector"]) if "vector" in row else None for row in rows]


def measure_quality(spoke: Spoke, folder: Path) -> list[Line]:
    """STOI, PESQ-WB, mel distance of the resynthesis; DNSMOS of all; without what is silent."""
    lines = []
    if "resynthesis" in spoke:
        rows = _rows(
            spoke["resynthesis"],
            folder / "rows" / "against-resynthesis.jsonl",
            lambda item: quality.against(item.natural, item.audio),
        )
        for name in ("stoi", "pesq"):
            lines.append(Line(_NAMES[name], "resynthesis", _mean(rows, name), digits=3))
        lines.append(Line(_NAMES["mel"], "resynthesis", _mean(rows, "mel"), "dB"))
    for system, items in spoke.items():
        path = folder / "rows" / f"dnsmos-{system}.jsonl"
        rows = _rows(items, path, lambda item: quality.dnsmos(item.audio))
        for name in ("ovrl", "sig", "bak"):
            lines.append(Line(_NAMES[name], system, _mean(rows, name)))
    return lines


_NAMES = {
    "stoi": "STOI",
    "pesq": "PESQ-WB",
    "mel": "mel distance",
    "ovrl": "DNSMOS OVRL",
    "sig": "DNSMOS SIG",
    "bak": "DNSMOS BAK",
}


def _rows(items: Sequence[SpokenItem], path: Path, score: Callable[[SpokenItem], Row]) -> list[Row]:
    """Scores of `items`, made now or found in the rows at `path`; of silence only the id."""
    rows = JsonlStore(path)
    for item in progress(items, len(items), path.stem):
        if rows.get(item.id) is None and not item.silent:
            rows.append({"id": item.id, **score(item)})
    return [rows.get(item.id) or {"id": item.id} for item in items]


def _mean(rows: Sequence[Row], name: str) -> Estimate:
    values = [row.get(name) for row in rows]
    return bootstrap_mean([value for value in values if value is not None])
