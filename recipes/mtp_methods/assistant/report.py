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
    "identical",
)


def write_report(folder: Path) -> None:
    """Write report.md."""
    rows = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    cells = [[shown(row.get(name)) for name in COLUMNS] for row in rows]
    titles = [name.replace("_", " ") for name in COLUMNS]
    (folder / "report.md").write_text(markdown_table(titles, cells) + "\n", encoding="utf-8")


def shown(value: Any) -> str:
    """Format a cell."""
    if isinstance(value, list):
        return " / ".join(f"{share:.0%}" for share in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
