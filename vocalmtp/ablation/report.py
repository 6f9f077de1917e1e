"""The report of a grid: report.json, and report.md and plots that are made of it alone."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.ablation.cells import Cell
from vocalmtp.ablation.evaluate import loss_curve, speed_folder
from vocalmtp.ablation.grid import Grid
from vocalmtp.bench.speed import hardware
from vocalmtp.errors import InputError
from vocalmtp.evaluation.judges import DEFAULTS, Judges
from vocalmtp.evaluation.metrics import MetricSet, Quantity
from vocalmtp.evaluation.report import finite, markdown_table
from vocalmtp.evaluation.statistics import NOT_MEASURED, Estimate
from vocalmtp.evaluation.systems import NATURAL
from vocalmtp.io.atomic import atomic_path
from vocalmtp.optional import require
from vocalmtp.training.run_files import read_log

Row = dict[str, Any]


QUALITY = {
    "wer": Quantity("WER", "%", 1),
    "wer_over_natural": Quantity("WER / natural"),
    "success": Quantity("success", "%", 0),
    "truncated": Quantity("no end token", "%", 0),
    "mos": Quantity("opinion score"),
    "similarity": Quantity("similarity"),
    "similarity_other": Quantity("... to another voice"),
    "swapped_to_vector": Quantity("swapped: to the vector's voice"),
    "swapped_to_codes": Quantity("swapped: to the codes' voice"),
    "alignment": Quantity("STSim"),
    "alignment_other": Quantity("... to another text"),
}
COST = {
    "steps_per_second": Quantity("steps/s", "", 2),
    "steps_per_forward": Quantity("steps per pass"),
    **{f"accepted_{n}": Quantity(f"draft {n} accepted", "%", 0) for n in range(1, 7)},
    "wasted": Quantity("drafts wasted", "%", 0),
    "rtf": Quantity("RTF", "", 3),
    "first_audio": Quantity("first audio", "ms", 0),
    "draft_parameters": Quantity("draft head", "M", 2, 1e-6),
    "memory": Quantity("peak memory", "GiB"),
    "parameters": Quantity("parameters", "M", 1, 1e-6),
    "updates": Quantity("updates", "", 0),
    "tokens_seen": Quantity("tokens seen", "M", 2, 1e-6),
    "training_seconds": Quantity("training", "s", 0),
    "valid_loss": Quantity("nats/token, validation"),
}
CELL_QUALITY = dict(list(QUALITY.items())[:4])  # in the table of every cell
NOTES = (
    "Rows of several seeds: mean [smallest, largest]. WER: compare the ratio to natural speech of "
    "the same sentences, since the recognizer errs on that too. Success: with an end token, not "
    "empty, not cut off (< 0.6 of the natural duration), not run away (> 1.6); the published "
    "failures are those without an end token.",
    "Similarity: cosine to the target voice. Swapped: codes of one voice, decoded with the speaker "
    "vector of another; similarity to the vector's voice is due to the tokenizer, similarity to "
    "the codes' voice to the speech LM. Empty: a tokenizer without a speaker vector.",
    "STSim: cosine of mean hidden states of text and speech, beside that to another utterance's "
    "text. With the text track it compares the track's encoder with the backbone, so compare within "
    "an arm only. Nats/token: mean over codec tokens; of next-token rows with the track, over its "
    "tokens too.",
    "RTF: decode loop and tokenizer at batch 1, warm. Draft n accepted: of those after accepted "
    "ones. Peak memory: a complete `vocalmtp tts`.",
)


def write_ablation(grid: Grid, failures: Mapping[str, str]) -> str:
    """Write report.json, report.md and plots to the folder of the grid; returns the Markdown."""
    report = collect(grid, failures)
    with atomic_path(grid.output / "report.json") as partial:
        partial.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    try:
        require("matplotlib")
    except InputError as error:
        report["notes"].append(f"No plots: {error}.")
    else:
        from vocalmtp.ablation.plots import draw

        report["plots"] = draw(report, grid.output)
    text = markdown(report)
    with atomic_path(grid.output / "report.md") as partial:
        partial.write_text(text + "\n", encoding="utf-8")
    return text


def collect(grid: Grid, failures: Mapping[str, str]) -> dict[str, Any]:
    """All results, for JSON: references, cells, and groups over seeds."""
    cells = [_cell_row(grid, cell, failures) for cell in grid.cells]
    references = [_reference(NATURAL, "", grid.output / NATURAL / grid.eval_folder)]
    for name, spec in grid.specs.items():
        folder = grid.tokenizer_folder(name) / grid.eval_folder
        references.append(_reference(name, spec.kind, folder))
    missing = {
        judge: hint for row in (*references, *cells) for judge, hint in row["missing"].items()
    }
    judges = Judges(grid.eval.judges)
    notes = [*NOTES, f"Judges: {', '.join(judges.spec(kind) for kind in DEFAULTS)}."]
    notes += [f"Machine of this report: {hardware(grid.device)}."]
    notes += [f"n/a ({judge}): {hint}." for judge, hint in sorted(missing.items())]
    return {
        "notes": notes,
        "references": references,
        "cells": cells,
        "groups": groups(cells),
        "failures": dict(failures),
    }


def _reference(name: str, kind: str, folder: Path) -> Row:
    found = MetricSet.load(folder) or MetricSet()
    return {
        "name": name,
        "kind": kind,
        "metrics": _plain(found.estimates),
        "missing": found.missing,
    }


def _cell_row(grid: Grid, cell: Cell, failures: Mapping[str, str]) -> Row:
    found = MetricSet.load(cell.folder / grid.eval_folder)
    state = "done" if found is not None else "not run"
    if cell.name in failures:
        state = "failed"
    found = found or MetricSet()
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
        "metrics": _plain(found.estimates | speed.estimates),
        "missing": found.missing,
        "curve": [list(point) for point in sorted(loss_curve(log).items())],
    }


def _plain(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float | None]]:
    return {name: finite(asdict(estimate)) for name, estimate in estimates.items()}


GROUP = ("tokenizer", "kind", "tokens_per_step", "backbone", "arm")


def groups(cells: Iterable[Row]) -> list[Row]:
    """Cells that differ only in their seeds, as one: mean of the values [smallest, largest]."""
    members: dict[tuple[Any, ...], list[Row]] = {}
    for cell in cells:
        if cell["metrics"]:
            members.setdefault(tuple(cell[key] for key in GROUP), []).append(cell)
    rows = []
    for key, own in members.items():
        names = dict.fromkeys(name for cell in own for name in cell["metrics"])
        metrics = {name: _over_seeds([cell["metrics"].get(name) for cell in own]) for name in names}
        row = dict(zip(GROUP, key, strict=True))
        rows.append({**row, "seeds": [cell["seed"] for cell in own], "metrics": metrics})
    return rows


def _over_seeds(estimates: list[dict[str, float | None] | None]) -> dict[str, float | None]:
    found = [estimate["value"] for estimate in estimates if estimate is not None]
    values = [value for value in found if value is not None]
    if not values:
        return finite(asdict(NOT_MEASURED))
    mean = float(np.mean(values))
    return asdict(Estimate(mean, min(values), max(values), len(values)))


def markdown(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    natural, *tokenizers = report["references"]
    quality = [["natural speech", *_shown(natural, QUALITY)]]
    quality += [[f"{row['name']}: resynthesis", *_shown(row, QUALITY)] for row in tokenizers]
    quality += [[title(row), *_shown(row, QUALITY)] for row in report["groups"]]
    cost = [[title(row), *_shown(row, COST)] for row in report["groups"]]
    cells = [
        [row["name"], row["state"], *_shown(row, CELL_QUALITY)]
        for row in report["cells"]
        if row["state"] != "not run"
    ]
    parts = ["### Quality", _table(QUALITY, quality), "### Cost", _table(COST, cost)]
    parts.append("### Cells, with 95 % intervals over sentences")
    head = ["cell", "state", *(quantity.title for quantity in CELL_QUALITY.values())]
    parts.append(markdown_table(head, cells))
    waiting = sum(row["state"] == "not run" for row in report["cells"])
    if waiting:
        parts.append(f"{waiting} of {len(report['cells'])} cells have not been run.")
    if report["failures"]:
        failed = (f"- failed: {name}: {problem}" for name, problem in report["failures"].items())
        parts.append("\n".join(failed))
    parts += [f"![{name}]({name})" for name in report.get("plots", ())]
    parts.append("\n".join(f"- {note}" for note in report["notes"]))
    return "\n\n".join(parts)


def title(row: Row) -> str:
    """The title of a group."""
    step = "next-token" if row["tokens_per_step"] == 1 else f"{row['tokens_per_step']} per step"
    return f"{row['tokenizer']}, {step}, {row['arm']}, {row['backbone']}"


def _table(quantities: Mapping[str, Quantity], rows: list[list[str]]) -> str:
    head = ["", *(quantity.title for quantity in quantities.values())]
    return markdown_table(head, rows, drop_empty=True)


def _shown(row: Row, quantities: Mapping[str, Quantity]) -> list[str]:
    """The metrics of a row as cells; "" for those that it does not have."""
    return [_cell(row["metrics"].get(key), quantity) for key, quantity in quantities.items()]


def _cell(values: Mapping[str, Any] | None, quantity: Quantity) -> str:
    if values is None:
        return ""
    value, low, high = (
        math.nan if values[end] is None else values[end] * quantity.scale
        for end in ("value", "low", "high")
    )
    count = 1 if low == high == value else values["count"]
    return Estimate(value, low, high, count).format(quantity.unit, quantity.digits)
