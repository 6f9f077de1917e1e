"""Report of the rows: report.md and figures.json of what was measured so far."""

import json
from pathlib import Path
from typing import Any

from vocalmtp.evaluation.report import markdown_table

Row = dict[str, Any]
SPEECH = (
    "row",
    "training, s",
    "updates",
    "speech seen, h",
    "loss, nats per frame",
    "... of the codec",
    "WER",
    "complete",
    "similarity",
    "RTF",
)
READING = ("row", "loss, nats per frame", "... after the prompt of another utterance")
TEXT = ("text LM", "perplexity", "questions", "capitals", "colors", "opposites", "counts", "sums")


def write_report(folder: Path) -> None:
    """Write both files."""
    found = {kind: rows(folder / "figures" / kind) for kind in ("speech", "reading", "text")}
    (folder / "figures.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    speech = markdown_table(SPEECH, [speech_cells(row) for row in found["speech"]])
    text = markdown_table(TEXT, [text_cells(row) for row in found["text"]])
    cells = [
        [r["name"], *(f"{r[key]['loss']:.2f}" for key in ("own", "other"))]
        for r in found["reading"]
    ]
    tables = [speech, markdown_table(READING, cells), text]
    (folder / "report.md").write_text("\n\n".join(tables) + "\n", encoding="utf-8")


def rows(folder: Path) -> list[Row]:
    """The figures of a folder, in the order in which they were made."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(f.read_text(encoding="utf-8")) | {"name": f.stem} for f in files]


def speech_cells(row: Row) -> list[str]:
    """Cells of a row of the first table."""
    return [
        row["name"],
        f"{row['training_seconds']:.0f}" if "training_seconds" in row else "",
        str(row.get("updates", "")),
        f"{row['hours']:.1f}" if "hours" in row else "",
        f"{row['loss']:.2f}",
        f"{row['loss_codec']:.2f}" if "loss_codec" in row else "",
        interval(row.get("wer"), 100, " %", 1),
        f"{row['success'][0]:.0%}",
        interval(row.get("similarity"), 1, "", 2),
        f"{row['rtf'][len(row['rtf']) // 2]:.3f}",
    ]


def text_cells(row: Row) -> list[str]:
    """Cells of a row of the second table."""
    kinds = [str(count) for count in row["by_kind"].values()]
    return [
        row["name"],
        f"{row['perplexity']:.1f}",
        f"{row['right']} of {row['questions']}",
        *kinds,
    ]


def interval(values: list[float] | None, scale: float, unit: str, digits: int) -> str:
    """Format a value with its interval."""
    if values is None:
        return ""
    value, low, high = (f"{scale * x:.{digits}f}" for x in values)
    return f"{value}{unit} [{low}, {high}]"
