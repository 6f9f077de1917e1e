"""The measurements behind `vocalmtp eval`: each takes spoken utterances and gives report lines.

Rows of single utterances are kept in the output folder, so that an interrupted run goes on.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vocalmtp.data.manifest import Utterance
from vocalmtp.eval import intelligibility, quality, similarity
from vocalmtp.eval.report import Line
from vocalmtp.eval.rows import Row, RowFile, progress
from vocalmtp.eval.statistics import Figure, bootstrap_mean
from vocalmtp.eval.systems import Spoken

Spoke = dict[str, list[Spoken]]  # system -> its utterances, in the same order for all


def measure_intelligibility(spoke: Spoke, folder: Path, processes: int = 2) -> list[Line]:
    """Word error rates by pocketsphinx, the ratio to natural, and failures (which score 100 %)."""
    lines, scores = [], {}
    for system, items in spoke.items():
        rows = RowFile(folder / "rows" / f"heard-{system}.jsonl")
        todo = [item for item in items if rows.get(item.id) is None]
        heard = intelligibility.recognise_all([item.audio for item in todo], processes=processes)
        for index, text in heard:
            rows.append({"id": todo[index].id, "heard": text})
        scores[system] = [
            intelligibility.word_errors(
                item.text, "" if item.failure else rows.get(item.id)["heard"]
            )
            for item in items
        ]
        failed = [float(bool(item.failure)) for item in items]
        lines.append(Line("WER", system, intelligibility.corpus_rate(scores[system]), "%", 1))
        lines.append(Line("failed", system, bootstrap_mean(failed), "%", 1))
    for system in scores.keys() - {"natural"}:
        if "natural" in scores:
            ratio = intelligibility.relative_rate(scores[system], scores["natural"])
            lines.append(Line("WER / natural", system, ratio))
    return lines


def measure_similarity(spoke: Spoke, references: Sequence[Utterance], folder: Path) -> list[Line]:
    """Cosine to the asked voice, and to the nearest other one, by recordings `references`."""
    by_voice: dict[str, list[Path]] = {}
    for row in references:
        by_voice.setdefault(row.voice, []).append(row.audio)
    targets = similarity.centroids(by_voice)
    lines = []
    for system, items in spoke.items():
        vectors = _vectors(items, folder / "rows" / f"speaker-{system}.npz")
        own, other = similarity.compare(vectors, [item.voice for item in items], targets)
        lines.append(Line("similarity to the asked voice", system, own))
        lines.append(Line("similarity to the nearest other voice", system, other))
    return lines


def _vectors(items: Sequence[Spoken], cache: Path) -> list[np.ndarray]:
    """Speaker embeddings of `items`, kept in `cache`."""
    known = dict(np.load(cache)) if cache.is_file() else {}
    for item in progress(items, len(items), "speaker"):
        if item.id not in known:
            known[item.id] = similarity.embed(item.audio)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.savez(cache, **known)
    return [known[item.id] for item in items]


def measure_quality(spoke: Spoke, folder: Path) -> list[Line]:
    """STOI and PESQ-WB of the resynthesis, and DNSMOS of every system."""
    lines = []
    if "resynthesis" in spoke:
        rows = _rows(
            spoke["resynthesis"],
            folder / "rows" / "against-resynthesis.jsonl",
            lambda item: quality.against(item.natural, item.audio),
        )
        for name in ("stoi", "pesq"):
            lines.append(Line(_NAMES[name], "resynthesis", _mean(rows, name), digits=3))
    for system, items in spoke.items():
        path = folder / "rows" / f"dnsmos-{system}.jsonl"
        rows = _rows(items, path, lambda item: quality.dnsmos(item.audio))
        for name in ("ovrl", "sig", "bak"):
            lines.append(Line(_NAMES[name], system, _mean(rows, name)))
    return lines


_NAMES = {
    "stoi": "STOI",
    "pesq": "PESQ-WB",
    "ovrl": "DNSMOS OVRL",
    "sig": "DNSMOS SIG",
    "bak": "DNSMOS BAK",
}


def _rows(
    items: Sequence[Spoken], path: Path, score: Callable[[Spoken], dict[str, float]]
) -> list[Row]:
    rows = RowFile(path)
    for item in progress(items, len(items), path.stem):
        if rows.get(item.id) is None:
            rows.append({"id": item.id, **score(item)})
    return [rows.get(item.id) for item in items]


def _mean(rows: Sequence[Row], name: str) -> Figure:
    return bootstrap_mean([float("nan") if row[name] is None else row[name] for row in rows])
