"""Report of the draft heads: report.md of figures.json."""

import json
from pathlib import Path
from typing import Any

from vocalmtp.evaluation.report import markdown_table

COLUMNS = (
    "arm",
    "batch",
    "drafts",
    "confidence",
    "tokens_per_pass",
    "pass_cost",
    "accepted",
    "tokens_per_second",
    "speed",
    "speed_interval",
    "identical",
)


def write_report(folder: Path) -> None:
    """Write report.md."""
    rows = json.loads((folder / "figures.json").read_text(encoding="utf-8"))["rows"]
    cells = [[shown(name, row.get(name)) for name in COLUMNS] for row in rows]
    titles = [name.replace("_", " ") for name in COLUMNS]
    (folder / "report.md").write_text(markdown_table(titles, cells) + "\n", encoding="utf-8")


def shown(name: str, value: Any) -> str:
    """Format a cell of a column."""
    if name == "speed_interval" and value is not None:
        return f"{value[0]:.2f} to {value[1]:.2f}"
    if name != "confidence" and isinstance(value, float):
        return f"{value:.2f}"
    if isinstance(value, list):
        return " / ".join(f"{share:.0%}" for share in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
