"""Report of the text checks: report.json, report.md and a plot of the available figures."""

import json
from pathlib import Path
from typing import Any

from vocalmtp.evaluation.report import load_pyplot, markdown_table, save_figure

Row = dict[str, Any]
TITLES = {
    "fastmtp": "FastMTP: one recursive block (lossless drafting)",
    "leap": "L-MTP: strides at equal heads (lossless drafting)",
    "curriculum": "Curricula over heads (training-only, and drafting)",
    "star": "TOP: star graphs (training-only)",
}


def write_report(folder: Path) -> None:
    """Write the report of all `figures_*.json` in `folder`."""
    found = {
        name: json.loads(file.read_text(encoding="utf-8"))
        for name in TITLES
        if (file := folder / f"figures_{name}.json").is_file()
    }
    (folder / "report.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    parts = [f"## {TITLES[name]}\n\n{table(rows)}" for name, rows in found.items()]
    for name, rows in found.items():
        if "seed" in rows[0]:
            parts.append(f"## {TITLES[name]}: means over seeds\n\n{table(means(rows))}")
    (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")
    draw(found, folder / "report.png")


def table(rows: list[Row]) -> str:
    """Format rows as a Markdown table with the columns of all rows."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[shown(row.get(key)) for key in columns] for row in rows]
    return markdown_table(columns, cells) + "\n"


def shown(value: Any) -> str:
    """Format a cell."""
    if isinstance(value, list):
        return " / ".join(f"{share:.0%}" for share in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def draw(found: dict[str, list[Row]], file: Path) -> None:
    """Plot the tokens per forward pass of every arm that drafts."""
    rows = [
        (f"{name}: {row['arm']}", row["tau"])
        for name, own in found.items()
        for row in means(own)
        if "tau" in row
    ]
    if not rows:
        return
    figure, axes = load_pyplot().subplots(figsize=(8, 0.6 + 0.35 * len(rows)))
    names, values = zip(*reversed(rows), strict=True)
    axes.barh(range(len(names)), values, color="#3a6ea5")
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.axvline(1, color="#808080", linewidth=1)
    axes.set_xlabel("tokens per forward pass, greedy (1 = next-token decoding)")
    save_figure(figure, file, dpi=120)


def means(rows: list[Row]) -> list[Row]:
    """Mean over seeds of every arm, with its largest number of drafts."""
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(row["arm"], []).append(row)
    made = []
    for arm, own in arms.items():
        most = max(row.get("drafts", 0) for row in own)
        own = [row for row in own if row.get("drafts", 0) == most]
        numbers = [key for key in own[0] if isinstance(own[0][key], float)]
        mean = {key: round(sum(row[key] for row in own) / len(own), 4) for key in numbers}
        made.append({"arm": arm, "seeds": len(own), **mean})
    return made
