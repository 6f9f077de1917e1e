"""The report of RoleTriviaQA: figures by group of questions, and who is taken for whom."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from vocalmtp.evaluation.report import Line, load_pyplot, plot_bars, write_report
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
OWN, OTHER = "similarity to the own role", "similarity to the nearest other role"
MARGIN, TOLD = "margin", "taken for the own role"


def write_role_report(
    folder: Path, rows: Sequence[Row], speed: Sequence[Line], notes: Sequence[str]
) -> str:
    """Write roletriviaqa.json and .md, confusion.json and pictures; returns the Markdown."""
    lines: list[Line] = []
    for group, belongs in GROUPS.items():
        some = [row for row in rows if belongs(row)]
        if some:
            lines += figures(group, some)
    heard = [row for row in rows if "asr_errors" in row]
    for asker in sorted({row["asker"] for row in heard} - {""}):
        lines += figures(f"asked by {asker}", [row for row in heard if row["asker"] == asker])
    text = write_report(folder, "roletriviaqa", [*lines, *speed], notes)
    names, matrix = confusion(rows)
    if names:
        with atomic_path(folder / "confusion.json") as partial:
            content = {"roles": names, "mean cosine, asked role by reference": matrix.tolist()}
            partial.write_text(json.dumps(content, indent=2) + "\n")
        plot_confusion(names, matrix, folder / "confusion.png")
        plot_bars(lines, [OWN, OTHER, MARGIN, TOLD], folder / "similarity.png")
    plot_bars(lines, ["EM, text", "EM, speech", "agreement WER"], folder / "knowledge.png")
    return text


def figures(group: str, rows: Sequence[Row]) -> list[Line]:
    """Every figure of some rows, with 95 % intervals by bootstrap over the questions."""

    def mean(key: str) -> Estimate:
        return bootstrap_mean([float(row[key]) for row in rows if row[key] is not None])

    lines = [
        Line("EM, text", group, mean("em"), "%", 1),
        Line("F1, text", group, mean("f1"), "%", 1),
        Line("EM, speech", group, mean("em_speech"), "%", 1),
        Line("F1, speech", group, mean("f1_speech"), "%", 1),
    ]
    errors = [row["agreement_errors"] for row in rows]
    words = [row["agreement_words"] for row in rows]
    lines.append(Line("agreement WER", group, bootstrap_ratio(errors, words), "%", 1))
    asked = [row for row in rows if "asr_errors" in row]
    if asked:
        errors, words = ([row[key] for row in asked] for key in ("asr_errors", "asr_words"))
        lines.append(
            Line("WER of the questions heard", group, bootstrap_ratio(errors, words), "%", 1)
        )
    swapped = [row["similarity"][row["decoder_role"]] for row in rows if "decoder_role" in row]
    if swapped:
        lines.append(Line("similarity to the decoder's role", group, bootstrap_mean(swapped)))
    known = [voice_scores(row) for row in rows if row["role"] in row["similarity"]]
    if known:
        own, other, told = (np.array(column) for column in zip(*known, strict=True))
        lines.append(Line(OWN, group, bootstrap_mean(own)))
        if not np.isnan(other).all():
            lines.append(Line(OTHER, group, bootstrap_mean(other)))
            lines.append(Line(MARGIN, group, bootstrap_mean(own - other)))
            lines.append(Line(TOLD, group, bootstrap_mean(told), "%", 1))
    right = bootstrap_mean([float(not row["failure"]) for row in rows])
    lines.append(Line("success", group, right, "%", 1))
    for kind in sorted({_kind(row) for row in rows} - {""}):
        share = bootstrap_mean([float(_kind(row) == kind) for row in rows])
        lines.append(Line(f"... {kind}", group, share, "%", 1))
    lines.append(Line("DNSMOS OVRL", group, mean("dnsmos")))
    return lines


def _kind(row: Row) -> str:
    """A failure without its details."""
    return row["failure"].partition(":")[0]


def voice_scores(row: Row) -> tuple[float, float, float]:
    """Cosine to the own role, to the nearest other one (NaN if there is none), who is nearest."""
    others = dict(row["similarity"])
    own = others.pop(row["role"])
    other = max(others.values(), default=float("nan"))
    return own, other, float(own > other)


def confusion(rows: Sequence[Row]) -> tuple[list[str], np.ndarray]:
    """The roles, and the mean cosine [R, R] of what the role of a row said to each role's."""
    names = sorted({row["role"] for row in rows} & {r for row in rows for r in row["similarity"]})
    matrix = np.zeros((len(names), len(names)))
    for i, asked in enumerate(names):
        own = [row["similarity"] for row in rows if row["role"] == asked]
        matrix[i] = [np.mean([cosines[name] for cosines in own]) for name in names]
    return names, matrix


def plot_confusion(names: Sequence[str], matrix: np.ndarray, path: Path) -> None:
    """A picture of `confusion`'s matrix [R, R], drawn to `path`."""
    pyplot = load_pyplot()
    side = 2.5 + 0.55 * len(names)
    figure, axis = pyplot.subplots(figsize=(side + 1, side))
    image = axis.imshow(matrix, cmap="Blues", vmin=min(0.0, float(matrix.min())), vmax=1.0)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            colour = "white" if value > 0.75 else "black"
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_xlabel("recordings of")
    axis.set_ylabel("asked to speak as")
    figure.colorbar(image, label="mean cosine")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
