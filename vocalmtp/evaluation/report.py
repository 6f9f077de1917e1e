"""Figures as JSON, as a Markdown table, and as plots."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.audio.io import read_audio
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.optional import require


@dataclass(frozen=True)
class Line:
    """One figure of a report: what was measured, of which system, in which unit."""

    what: str
    system: str
    figure: Estimate
    unit: str = ""
    digits: int = 2


def write_report(folder: Path, title: str, lines: Sequence[Line], notes: Sequence[str] = ()) -> str:
    """Write `title`.json and `title`.md to `folder`; returns the Markdown."""
    return write_sections(folder, title, {"": lines}, notes)


def write_sections(
    folder: Path, title: str, sections: dict[str, Sequence[Line]], notes: Sequence[str] = ()
) -> str:
    """As `write_report`, with a table under every heading; an empty heading is not shown."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{title}.json").write_text(as_json(sections, notes))
    parts = [
        (f"### {heading}\n\n" if heading else "") + markdown(lines)
        for heading, lines in sections.items()
    ]
    text = "\n\n".join([*parts, "\n".join(notes)]).rstrip()
    (folder / f"{title}.md").write_text(text + "\n")
    return text


def as_json(sections: dict[str, Sequence[Line]], notes: Sequence[str] = ()) -> str:
    """The figures with what they depend on, as the content of a JSON file."""
    figures = [
        {"section": heading, **asdict(line), "figure": finite(asdict(line.figure))}
        for heading, lines in sections.items()
        for line in lines
    ]
    return json.dumps({"notes": list(notes), "figures": figures}, indent=2) + "\n"


def finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN and no infinity: null."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def markdown(lines: Sequence[Line]) -> str:
    """A table with a row for every measured thing and a column for every system."""
    systems = list(dict.fromkeys(line.system for line in lines))
    table = [["", *systems], ["---"] * (len(systems) + 1)]
    for what in dict.fromkeys(line.what for line in lines):
        cells = {
            line.system: line.figure.show(line.unit, line.digits)
            for line in lines
            if line.what == what
        }
        table.append([what, *(cells.get(system, "") for system in systems)])
    return "\n".join("| " + " | ".join(row) + " |" for row in table)


def plot_bars(lines: Sequence[Line], what: Sequence[str], path: Path) -> None:
    """A picture for each of `what`: a bar for every system with its interval, drawn to `path`."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(1, len(what), figsize=(3.2 * len(what), 3), squeeze=False)
    for axis, name in zip(axes[0], what, strict=True):
        shown = [line for line in lines if line.what == name and math.isfinite(line.figure.value)]
        scale = 100 if any(line.unit == "%" for line in shown) else 1
        values = np.array([line.figure.value for line in shown]) * scale
        ends = np.array([(line.figure.low, line.figure.high) for line in shown]).reshape(-1, 2)
        errors = np.abs(ends.T * scale - values)  # [2, systems]
        names = [line.system.replace(" ", "\n").replace("-", "-\n") for line in shown]
        axis.bar(names, values, yerr=errors, capsize=4, color="#7a9cc6")
        axis.set_title(name + (" (%)" if scale == 100 else ""), fontsize=9)
        axis.set_ylim(bottom=None if (values < 0).any() else 0.0)
        axis.tick_params(labelsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def plot_spectrograms(pairs: Sequence[tuple[str, Path, Path]], path: Path) -> None:
    """Spectrograms of (title, natural, ours), one pair a row, drawn to `path`."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(
        len(pairs), 2, figsize=(13, 2.4 * len(pairs)), squeeze=False, sharey=True
    )
    for row, (title, natural, ours) in zip(axes, pairs, strict=True):
        for axis, name, file in ((row[0], "natural", natural), (row[1], "ours", ours)):
            samples = read_audio(file, 16_000)
            axis.specgram(samples + 1e-6, NFFT=512, noverlap=384, Fs=16_000, vmin=-140, vmax=-30)
            axis.set_title(f"{name}: {title}"[:70], fontsize=8)
    figure.supxlabel("seconds")
    figure.supylabel("Hz")
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def load_pyplot() -> Any:
    """matplotlib.pyplot, drawing to files alone."""
    require("matplotlib").use("Agg")
    return require("matplotlib.pyplot")
