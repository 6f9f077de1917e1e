"""Evaluation reports: metrics as JSON, as Markdown tables, and as plots."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.audio.io import read_audio
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.optional import require

SPECTROGRAM_RATE = 16_000


@dataclass(frozen=True)
class Metric:
    """One value of a report: what was measured, of which system, in which unit."""

    name: str
    system: str
    estimate: Estimate
    unit: str = ""
    digits: int = 2

    def format(self) -> str:
        """The estimate as a cell of a table."""
        return self.estimate.format(self.unit, self.digits)


Sections = Mapping[str, Sequence[Metric]]  # a heading, or "", and the metrics below it


def write_report(
    folder: Path, title: str, metrics: Sequence[Metric], notes: Sequence[str] = ()
) -> str:
    """Write `title`.json and `title`.md to `folder`; returns the Markdown."""
    return write_sections(folder, title, {"": metrics}, notes)


def write_sections(folder: Path, title: str, sections: Sections, notes: Sequence[str] = ()) -> str:
    """Write a report with a table under every heading; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{title}.json").write_text(as_json(sections, notes), encoding="utf-8")
    text = as_markdown(sections, notes)
    (folder / f"{title}.md").write_text(text + "\n", encoding="utf-8")
    return text


def as_json(sections: Sections, notes: Sequence[str] = ()) -> str:
    """The content of a JSON file: every metric with its section, and the notes."""
    metrics = [
        {"section": heading, **asdict(metric), "estimate": finite(asdict(metric.estimate))}
        for heading, own in sections.items()
        for metric in own
    ]
    return json.dumps({"notes": list(notes), "metrics": metrics}, indent=2) + "\n"


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Replace NaN and infinity, which JSON does not have, by None."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def as_markdown(sections: Sections, notes: Sequence[str] = ()) -> str:
    """Tables under their headings, then the notes."""
    parts = [
        (f"### {heading}\n\n" if heading else "") + metrics_table(metrics)
        for heading, metrics in sections.items()
    ]
    return "\n\n".join([*parts, "\n".join(notes)]).rstrip()


def metrics_table(metrics: Sequence[Metric]) -> str:
    """A Markdown table with a row for every metric and a column for every system."""
    systems = list(dict.fromkeys(metric.system for metric in metrics))
    cells = {(metric.name, metric.system): metric.format() for metric in metrics}
    rows = [
        [name, *(cells.get((name, system), "") for system in systems)]
        for name in dict.fromkeys(metric.name for metric in metrics)
    ]
    return markdown_table(["", *systems], rows)


def markdown_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], drop_empty: bool = False
) -> str:
    """A Markdown table.

    Args:
        head: titles of the columns.
        rows: cells of every row, as many as columns.
        drop_empty: leave out columns, except the first, in which no row has anything.
    """
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    if drop_empty:
        kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
        lines = [[line[i] for i in kept] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# -- plots -------------------------------------------------------------------------------------


def load_pyplot() -> Any:
    """Import matplotlib.pyplot for drawing to files; raises InputError if it is missing."""
    require("matplotlib").use("Agg")
    return require("matplotlib.pyplot")


def save_figure(figure: Any, path: Path, dpi: int = 90) -> None:
    """Write a figure to `path` and close it."""
    figure.tight_layout()
    figure.savefig(path, dpi=dpi)
    load_pyplot().close(figure)


def plot_bars(metrics: Sequence[Metric], names: Sequence[str], path: Path) -> None:
    """Draw one panel for each of `names`: a bar with its interval for every system."""
    figure, axes = load_pyplot().subplots(
        1, len(names), figsize=(3.2 * len(names), 3), squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        shown = [m for m in metrics if m.name == name and math.isfinite(m.estimate.value)]
        scale = 100 if any(metric.unit == "%" for metric in shown) else 1
        values = np.array([metric.estimate.value for metric in shown]) * scale
        ends = np.array([(m.estimate.low, m.estimate.high) for m in shown]).reshape(-1, 2)
        errors = np.abs(ends.T * scale - values)  # [2, systems]
        labels = [metric.system.replace(" ", "\n").replace("-", "-\n") for metric in shown]
        axis.bar(labels, values, yerr=errors, capsize=4, color="#7a9cc6")
        axis.set_title(name + (" (%)" if scale == 100 else ""), fontsize=9)
        axis.set_ylim(bottom=None if (values < 0).any() else 0.0)
        axis.tick_params(labelsize=8)
    save_figure(figure, path)


def plot_spectrograms(pairs: Sequence[tuple[str, Path, Path]], system: str, path: Path) -> None:
    """Draw the spectrograms of natural and system audio, one (title, natural, system) a row."""
    figure, axes = load_pyplot().subplots(
        len(pairs), 2, figsize=(13, 2.4 * len(pairs)), squeeze=False, sharey=True
    )
    rate = SPECTROGRAM_RATE
    for row, (title, natural, ours) in zip(axes, pairs, strict=True):
        for axis, name, file in ((row[0], "natural", natural), (row[1], system, ours)):
            samples = read_audio(file, rate) + 1e-6
            axis.specgram(samples, NFFT=512, noverlap=384, Fs=rate, vmin=-140, vmax=-30)
            axis.set_title(f"{name}: {title}"[:70], fontsize=8)
    figure.supxlabel("seconds")
    figure.supylabel("Hz")
    save_figure(figure, path)


def plot_confusion(names: Sequence[str], matrix: np.ndarray, path: Path) -> None:
    """Draw a matrix [R, R] of mean cosines: target voice by reference voice."""
    side = 2.5 + 0.55 * len(names)
    figure, axis = load_pyplot().subplots(figsize=(side + 1, side))
    image = axis.imshow(matrix, cmap="Blues", vmin=min(0.0, float(matrix.min())), vmax=1.0)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row):
            color = "white" if value > 0.75 else "black"
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_xlabel("reference voice")
    axis.set_ylabel("target voice")
    figure.colorbar(image, label="mean cosine")
    save_figure(figure, path)
