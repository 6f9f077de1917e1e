"""The report of RoleTriviaQA: metrics by group of questions, and the confusion of voices."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vocalmtp.evaluation.report import Metric, plot_bars, plot_confusion, write_report
from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean, bootstrap_ratio
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.run_folder import Row

GROUPS: dict[str, Callable[[Row], bool]] = {
    "all": lambda row: True,
    "seen roles": lambda row: row["seen"] is True,
    "unseen roles": lambda row: row["seen"] is False,
    "in-domain": lambda row: row["domain"] == "in",
    "out-of-domain": lambda row: row["domain"] == "out",
}
OWN, OTHER = "similarity to the target role", "similarity to the nearest other role"
MARGIN, IDENTIFIED = "margin", "identified as the target role"
EM_TEXT, EM_SPEECH, AGREEMENT = "EM, text", "EM, speech", "agreement WER"
SWAPPED = "similarity to the decoder's role"
MOS = "opinion score"


def write_role_report(
    folder: Path, rows: Sequence[Row], speed: Sequence[Metric], notes: Sequence[str]
) -> str:
    """Write roletriviaqa.json and .md, confusion.json and plots; returns the Markdown."""
    metrics: list[Metric] = []
    for group, belongs in GROUPS.items():
        some = [row for row in rows if belongs(row)]
        if some:
            metrics += group_metrics(group, some)
    spoken = [row for row in rows if "asr_errors" in row]
    for voice in sorted({row["question_voice"] for row in spoken} - {""}):
        some = [row for row in spoken if row["question_voice"] == voice]
        metrics += group_metrics(f"questions in the voice {voice}", some)
    text = write_report(folder, "roletriviaqa", [*metrics, *speed], notes)
    names, matrix = confusion(rows)
    if names:
        with atomic_path(folder / "confusion.json") as partial:
            content = {"roles": names, "mean cosine, target by reference": matrix.tolist()}
            partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        plot_confusion(names, matrix, folder / "confusion.png")
        plot_bars(metrics, [OWN, OTHER, MARGIN, IDENTIFIED], folder / "similarity.png")
    plot_bars(metrics, [EM_TEXT, EM_SPEECH, AGREEMENT], folder / "knowledge.png")
    return text


def group_metrics(group: str, rows: Sequence[Row]) -> list[Metric]:
    """The metrics of a group of questions, with 95 % bootstrap intervals over questions."""

    def mean(key: str) -> Estimate:
        return bootstrap_mean([float(row[key]) for row in rows if row[key] is not None])

    errors = [row["agreement_errors"] for row in rows]
    words = [row["agreement_words"] for row in rows]
    metrics = [
        Metric(EM_TEXT, group, mean("em"), "%", 1),
        Metric("F1, text", group, mean("f1"), "%", 1),
        Metric(EM_SPEECH, group, mean("em_speech"), "%", 1),
        Metric("F1, speech", group, mean("f1_speech"), "%", 1),
        Metric(AGREEMENT, group, bootstrap_ratio(errors, words), "%", 1),
    ]
    spoken = [row for row in rows if "asr_errors" in row]
    if spoken:
        errors, words = ([row[key] for row in spoken] for key in ("asr_errors", "asr_words"))
        rate = bootstrap_ratio(errors, words)
        metrics.append(Metric("WER of the questions", group, rate, "%", 1))
    metrics += _voice_metrics(group, rows)
    success = bootstrap_mean([float(not row["failure"]) for row in rows])
    metrics.append(Metric("success", group, success, "%", 1))
    for kind in sorted({_kind(row) for row in rows} - {""}):
        share = bootstrap_mean([float(_kind(row) == kind) for row in rows])
        metrics.append(Metric(f"... {kind}", group, share, "%", 1))
    return [*metrics, Metric(MOS, group, mean("mos"))]


def _voice_metrics(group: str, rows: Sequence[Row]) -> list[Metric]:
    metrics = []
    swapped = [row["similarity"][row["decoder_role"]] for row in rows if "decoder_role" in row]
    if swapped:
        metrics.append(Metric(SWAPPED, group, bootstrap_mean(swapped)))
    known = [voice_scores(row) for row in rows if row["role"] in row["similarity"]]
    if known:
        own, other, identified = (np.array(column) for column in zip(*known, strict=True))
        metrics.append(Metric(OWN, group, bootstrap_mean(own.tolist())))
        if not np.isnan(other).all():
            margin = bootstrap_mean((own - other).tolist())
            metrics.append(Metric(OTHER, group, bootstrap_mean(other.tolist())))
            metrics.append(Metric(MARGIN, group, margin))
            share = bootstrap_mean(identified.tolist())
            metrics.append(Metric(IDENTIFIED, group, share, "%", 1))
    return metrics


def _kind(row: Row) -> str:
    """A failure without its details."""
    kind: str = row["failure"].partition(":")[0]
    return kind


def voice_scores(row: Row) -> tuple[float, float, float]:
    """Cosine to the target role and to the nearest other one (NaN if none), and 1 if it is lower."""
    others = dict(row["similarity"])
    own = others.pop(row["role"])
    other = max(others.values(), default=float("nan"))
    return own, other, float(own > other)


def confusion(rows: Sequence[Row]) -> tuple[list[str], np.ndarray]:
    """The roles, and the mean cosine [R, R] of each target role's speech to each role."""
    names = sorted({row["role"] for row in rows} & {r for row in rows for r in row["similarity"]})
    matrix = np.zeros((len(names), len(names)))
    for i, target in enumerate(names):
        own = [row["similarity"] for row in rows if row["role"] == target]
        matrix[i] = [np.mean([cosines[name] for cosines in own]) for name in names]
    return names, matrix
