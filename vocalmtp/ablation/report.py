"""The report of a grid: report.json first; report.md and the plots are made of nothing else."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.ablation.cell import curve_of, read_log
from vocalmtp.ablation.expand import Cell
from vocalmtp.ablation.figures import MetricSet, finite, lacking_plots
from vocalmtp.ablation.grid import Grid
from vocalmtp.ablation.judges import NATURAL
from vocalmtp.ablation.plan import table
from vocalmtp.ablation.speed import speed_folder
from vocalmtp.bench.speed import hardware
from vocalmtp.evaluation.statistics import Estimate
from vocalmtp.io.atomic import atomic_path

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A figure as it is shown: its key, heading, unit, digits and scale."""

    key: str
    title: str
    unit: str = ""
    digits: int = 2
    scale: float = 1.0


HEARD = (
    Column("wer", "WER", "%", 1),
    Column("wer_over_natural", "WER / natural"),
    Column("success", "success", "%", 0),
    Column("unended", "no end", "%", 0),
    Column("dnsmos", "DNSMOS"),
    Column("similarity", "similarity"),
    Column("similarity_other", "... to another voice"),
    Column("swapped_to_vector", "swapped: to the vector's"),
    Column("swapped_to_codes", "swapped: to the codes'"),
    Column("alignment", "STSim"),
    Column("alignment_other", "... to another text"),
)
COST = (
    Column("steps_per_second", "steps/s", "", 2),
    Column("steps_per_forward", "steps a pass"),
    *(Column(f"kept_{place}", f"draft {place} kept", "%", 0) for place in range(1, 7)),
    Column("wasted", "drafts wasted", "%", 0),
    Column("rtf", "RTF", "", 3),
    Column("first_audio", "first audio", "ms", 0),
    Column("draft_parameters", "draft head", "M", 2, 1e-6),
    Column("memory", "peak memory", "GiB"),
    Column("parameters", "parameters", "M", 1, 1e-6),
    Column("updates", "updates", "", 0),
    Column("tokens_seen", "tokens seen", "M", 2, 1e-6),
    Column("training_seconds", "training", "s", 0),
    Column("valid_loss", "nats/token, validation"),
)
NOTES = (
    "Rows of several seeds: mean [least, most]. WER: pocketsphinx, judged by the ratio to natural "
    "speech of the same sentences. Success: neither without an end, nor empty, cut off (< 0.6 of "
    "natural) or run away (> 1.6); no end: the end was never said, a failure as the paper counts.",
    "Similarity: Resemblyzer's cosine to the asked voice. Swapped: said in one voice, decoded with "
    "the timbre vector of another; what is like the vector's voice is the tokenizer's doing, what "
    "is like the codes' voice the speech LM's. Empty: a tokenizer without a timbre vector.",
    "STSim: cosine of mean hidden states of text and speech, beside that to another utterance's "
    "text. With the text track it is the track's encoder against the backbone: compare within an "
    "arm only. Nats/token: mean over codec tokens; of next-token rows with the track, over its "
    "tokens too.",
    "RTF: decode loop and tokenizer at batch 1, warm. Draft n kept: of the times that all drafts "
    "before it were. Peak memory: a whole `vocalmtp tts`.",
)


def write_ablation(grid: Grid, failures: Mapping[str, str]) -> str:
    """Write report.json, report.md and the plots to the grid's folder; returns the Markdown."""
    report = collect(grid, failures)
    with atomic_path(grid.output / "report.json") as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    hint = lacking_plots()
    if hint is None:
        from vocalmtp.ablation.plots import draw

        report["plots"] = draw(report, grid.output)
    else:
        report["notes"].append(f"No plots: {hint}.")
    text = markdown(report)
    with atomic_path(grid.output / "report.md") as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return text


def collect(grid: Grid, failures: Mapping[str, str]) -> dict[str, Any]:
    """Everything that was measured, as JSON: references, cells, and groups over seeds."""
    cells = [_cell_row(grid, cell, failures) for cell in grid.cells]
    references = [_reference(NATURAL, "", grid.output / NATURAL / grid.judged)]
    for name, spec in grid.specs.items():
        folder = grid.tokenizer_folder(name) / grid.judged
        references.append(_reference(name, spec.kind, folder))
    missing = {
        judge: hint for row in (*references, *cells) for judge, hint in row["missing"].items()
    }
    notes = [*NOTES, f"Machine of this report: {hardware()}."]
    notes += [f"n/a ({judge}): {hint}." for judge, hint in sorted(missing.items())]
    return {
        "notes": notes,
        "references": references,
        "cells": cells,
        "groups": groups(cells),
        "failures": dict(failures),
    }


def _reference(name: str, kind: str, folder: Path) -> Row:
    made = MetricSet.load(folder) or MetricSet()
    return {"name": name, "kind": kind, "figures": _plain(made.figures), "missing": made.missing}


def _cell_row(grid: Grid, cell: Cell, failures: Mapping[str, str]) -> Row:
    made = MetricSet.load(cell.folder / grid.judged)
    state = "done" if made is not None else "not run"
    if cell.name in failures:
        state = "failed"
    made = made or MetricSet()
    speed = MetricSet.load(speed_folder(grid, cell)) or MetricSet()
    log = read_log(Path(cell.recipe.output) / "log.jsonl")
    return {
        "name": cell.name,
        "tokenizer": cell.tokenizer,
        "kind": grid.specs[cell.tokenizer].kind,
        "tokens_per_step": cell.tokens_per_step,
        "backbone": cell.backbone,
        "arm": cell.arm,
        "seed": cell.seed,
        "state": state,
        "figures": _plain(made.figures | speed.figures),
        "missing": made.missing,
        "curve": [list(point) for point in sorted(curve_of(log).items())],
    }


def _plain(figures: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: finite(asdict(figure)) for name, figure in figures.items()}


GROUP = ("tokenizer", "kind", "tokens_per_step", "backbone", "arm")


def groups(cells: Iterable[Row]) -> list[Row]:
    """Cells that differ in their seeds alone, as one: mean of the values [least, most]."""
    members: dict[tuple[Any, ...], list[Row]] = {}
    for cell in cells:
        if cell["figures"]:
            members.setdefault(tuple(cell[key] for key in GROUP), []).append(cell)
    rows = []
    for key, own in members.items():
        names = dict.fromkeys(name for cell in own for name in cell["figures"])
        figures = {name: _over_seeds([cell["figures"].get(name) for cell in own]) for name in names}
        row = dict(zip(GROUP, key, strict=True))
        rows.append({**row, "seeds": [cell["seed"] for cell in own], "figures": figures})
    return rows


def _over_seeds(figures: list[dict[str, float | None] | None]) -> dict[str, float | None]:
    found = [figure["value"] for figure in figures if figure is not None]
    values = [value for value in found if value is not None]
    if not values:
        return finite(asdict(Estimate(math.nan, math.nan, math.nan, 0)))
    mean = float(np.mean(values))
    return asdict(Estimate(mean, min(values), max(values), len(values)))


def markdown(report: Mapping[str, Any]) -> str:
    """The report as people read it."""
    natural, *tokenizers = report["references"]
    heard = [["natural speech", *_shown(natural, HEARD)]]
    heard += [[f"{row['name']}: resynthesis", *_shown(row, HEARD)] for row in tokenizers]
    heard += [[title(row), *_shown(row, HEARD)] for row in report["groups"]]
    cost = [[title(row), *_shown(row, COST)] for row in report["groups"]]
    cells = [
        [row["name"], row["state"], *_shown(row, HEARD[:4])]
        for row in report["cells"]
        if row["state"] != "not run"
    ]
    parts = ["### What is heard", _table("", HEARD, heard), "### What it costs"]
    parts += [_table("", COST, cost), "### Every cell, with 95 % intervals over sentences"]
    parts.append(table([["", "", *(c.title for c in HEARD[:4])], *cells]))
    waiting = sum(row["state"] == "not run" for row in report["cells"])
    if waiting:
        parts.append(f"{waiting} of {len(report['cells'])} cells have not been run.")
    if report["failures"]:
        told = (f"- failed: {name}: {problem}" for name, problem in report["failures"].items())
        parts.append("\n".join(told))
    parts += [f"![{name}]({name})" for name in report.get("plots", ())]
    parts.append("\n".join(f"- {note}" for note in report["notes"]))
    return "\n\n".join(parts)


def title(row: Row) -> str:
    """A group in a few words."""
    step = "next-token" if row["tokens_per_step"] == 1 else f"{row['tokens_per_step']} a step"
    return f"{row['tokenizer']}, {step}, {row['arm']}, {row['backbone']}"


def _table(corner: str, columns: tuple[Column, ...], rows: list[list[str]]) -> str:
    """A table without the columns that no row has anything in."""
    whole = [[corner, *(column.title for column in columns)], *rows]
    kept = [place for place, own in enumerate(zip(*rows, strict=True)) if place == 0 or any(own)]
    return table([[row[place] for place in kept] for row in whole])


def _shown(row: Row, columns: tuple[Column, ...]) -> list[str]:
    return [_cell(row, column) for column in columns]


def _cell(row: Row, column: Column) -> str:
    values = row["figures"].get(column.key)
    if values is None:
        return ""
    if values["value"] is None:
        return "n/a"
    whole = (values["value"], values["low"], values["high"])
    value, low, high = (math.nan if x is None else x * column.scale for x in whole)
    count = 1 if low == high == value else values["count"]
    return Estimate(value, low, high, count).show(column.unit, column.digits)
