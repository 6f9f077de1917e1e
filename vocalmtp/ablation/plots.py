"""The plots of a grid's report, drawn from the content of its report.json."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.evaluation.report import load_pyplot, save_figure

Row = dict[str, Any]
COLORS: tuple[str, ...] = ("#c0504d", "#e0a030", "#3a6ea5", "#5a9a5a", "#7a5aa5", "#808080")
COLORS += ("#3aa5a0", "#a5703a", "#d070a0", "#90b040", "#405060", "#b0a0d0")
LINES = ("-", "--", "-.", (0, (5, 1, 1, 1)))
SERIES = ("tokenizer", "arm", "backbone")  # the keys of a line
MARKERS = {1: "o", 3: "^", 6: "s", 12: "D"}


def draw(report: Mapping[str, Any], folder: Path) -> list[str]:
    """Draw every plot that the report has metrics for; returns the names of the files."""
    plots = {
        "cost_quality.png": cost_quality,
        "tokens_per_step.png": tokens_per_step,
        "voices.png": voices,
        "curves.png": curves,
        "drafts.png": drafts,
    }
    return [name for name, plot in plots.items() if plot(report, folder / name)]


def value(row: Row, key: str) -> float | None:
    """The value of a metric, or None."""
    found: float | None = (row["metrics"].get(key) or {}).get("value")
    return found


def tokenizer_colors(report: Mapping[str, Any]) -> dict[str, str]:
    """A color for every tokenizer."""
    return assign_colors(row["name"] for row in report["references"][1:])


def assign_colors(names: Iterable[str]) -> dict[str, str]:
    """A color for every name."""
    return {name: COLORS[i % len(COLORS)] for i, name in enumerate(dict.fromkeys(names))}


def line_styles(rows: Iterable[Row]) -> dict[str, Any]:
    """A line style for every arm and backbone."""
    arms = dict.fromkeys(series_name(row) for row in rows)
    return {arm: LINES[i % len(LINES)] for i, arm in enumerate(arms)}


def series_styles(report: Mapping[str, Any]) -> dict[tuple[str, str], Row]:
    """The style of the line of every tokenizer and arm.

    Tokenizers differ in color, arms in dashes and in the fill of their markers; with one tokenizer,
    arms differ in color.
    """
    rows = {(row["tokenizer"], series_name(row)): row for row in report["groups"]}
    varied = [key for key in SERIES if len({row[key] for row in rows.values()}) > 1]
    labels = {pair: {"label": ", ".join(row[key] for key in varied)} for pair, row in rows.items()}
    dashes = line_styles(report["groups"])
    if "tokenizer" not in varied:
        paint = assign_colors(arm for _, arm in rows)
        return {pair: {"color": paint[pair[1]], **labels[pair]} for pair in rows}
    paint, first = tokenizer_colors(report), next(iter(dashes), None)
    return {
        (name, arm): {"color": paint[name], "linestyle": dashes[arm], **labels[name, arm]}
        | ({} if arm == first else {"markerfacecolor": "white"})
        for name, arm in rows
    }


def series_name(row: Row) -> str:
    """The name of a line within its tokenizer."""
    return f"{row['arm']}, {row['backbone']}"


def series(report: Mapping[str, Any], *keys: str) -> dict[tuple[str, str], list[Row]]:
    """Groups that have all metrics `keys`, by tokenizer and arm, sorted by tokens per step."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in report["groups"]:
        if all(value(row, key) is not None for key in keys):
            found.setdefault((row["tokenizer"], series_name(row)), []).append(row)
    for rows in found.values():
        rows.sort(key=lambda row: row["tokens_per_step"])
    return found


def references(axis: Any, report: Mapping[str, Any], key: str, scale: float = 1.0) -> None:
    """Draw horizontal lines for natural speech and the resynthesis of every tokenizer."""
    own = {"natural": "black", **tokenizer_colors(report)}
    for row in report["references"]:
        height = value(row, key)
        if height is not None:
            label = "natural" if row["name"] == "natural" else f"{row['name']}: resynthesis"
            axis.axhline(
                scale * height, color=own[row["name"]], linewidth=1, linestyle=":", label=label
            )


def error_bars(rows: Sequence[Row], key: str, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Values [n] of `rows`, and the distances [2, n] of the smallest and largest seed."""
    found = [row["metrics"][key] for row in rows]
    values = scale * np.array([metric["value"] for metric in found], float)
    low, high = (scale * np.array([m[end] for m in found], float) for end in ("low", "high"))
    return values, np.abs(np.stack([values - low, high - values]))


def cost_quality(report: Mapping[str, Any], path: Path) -> bool:
    """Draw word error rate over real-time factor, with a marker for each number of tokens."""
    found = series(report, "wer", "rtf")
    if not found:
        return False
    figure, axis = load_pyplot().subplots(figsize=(8, 5))
    styles = series_styles(report)
    for pair, rows in found.items():
        style = styles[pair]
        cost, (wer, spread) = [value(row, "rtf") for row in rows], error_bars(rows, "wer", 100)
        axis.errorbar(cost, wer, spread, capsize=3, marker="o", **style)
        for x, y, row in zip(cost, wer, rows, strict=True):
            count = row["tokens_per_step"]
            axis.plot(x, y, MARKERS.get(count, "*"), **style | {"label": None})
            axis.annotate(str(count), (x, y), (5, 5), textcoords="offset points", fontsize=8)
    references(axis, report, "wer", 100)
    axis.set_xscale("log")
    axis.set_xlabel("real-time factor at batch 1 (log)")
    axis.set_ylabel("WER (%)")
    axis.set_title("Cost and quality (numbers: tokens per step)", fontsize=10)
    return finish(figure, axis, path)


def tokens_per_step(report: Mapping[str, Any], path: Path) -> bool:
    """Draw word error rate and success over tokens per step, with the range over seeds."""
    shown = [
        (key, title, scale)
        for key, title, scale in (("wer", "WER (%)", 100), ("success", "success (%)", 100))
        if series(report, key)
    ]
    if not shown:
        return False
    figure, axes = load_pyplot().subplots(
        1, len(shown), figsize=(5.5 * len(shown), 4), squeeze=False
    )
    styles = series_styles(report)
    for axis, (key, name, scale) in zip(axes[0], shown, strict=True):
        counts = sorted({row["tokens_per_step"] for row in report["groups"]})
        for pair, rows in series(report, key).items():
            values, spread = error_bars(rows, key, scale)
            places = [counts.index(row["tokens_per_step"]) for row in rows]
            style = {"marker": "o", "markersize": 5, "capsize": 3, **styles[pair]}
            axis.errorbar(places, values, spread, **style)
        references(axis, report, key, scale)
        axis.set_xticks(
            range(len(counts)), ["1 (next-token)" if c == 1 else str(c) for c in counts]
        )
        axis.set_xlabel("tokens per step")
        axis.set_ylabel(name)
    return finish(figure, axes[0][-1], path)


def voices(report: Mapping[str, Any], path: Path) -> bool:
    """Draw speaker similarities, also of speech that is decoded with another speaker vector."""
    keys = ("similarity", "similarity_other", "swapped_to_vector", "swapped_to_codes")
    rows = [row for row in report["groups"] if value(row, "similarity") is not None]
    rows = [row for row in report["references"] if value(row, "similarity") is not None] + rows
    if not rows:
        return False
    figure, axis = load_pyplot().subplots(figsize=(9, 0.28 * len(rows) + 1.5))
    names = ("to the target voice", "to the nearest other voice", "swapped: to the vector's voice")
    for number, (key, name) in enumerate(
        zip(keys, (*names, "swapped: to the codes' voice"), strict=True)
    ):
        points = [(value(row, key), y) for y, row in enumerate(rows) if value(row, key) is not None]
        if points:
            axis.scatter(*zip(*points, strict=True), color=COLORS[number], s=28, label=name)
    axis.set_yticks(range(len(rows)), [voice_label(row) for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel("speaker similarity (cosine)")
    return finish(figure, axis, path)


def voice_label(row: Row) -> str:
    """The label of a reference or a group."""
    if "arm" in row:
        return f"{row['tokenizer']} {row['tokens_per_step']} {series_name(row)}"
    return row["name"] if row["name"] == "natural" else f"{row['name']}: resynthesis"


def curves(report: Mapping[str, Any], path: Path) -> bool:
    """Draw validation loss over updates: a panel for every tokenizer, a band over seeds.

    Tokens per step differ in color, arms in dashes; with one number of tokens, arms in both.
    """
    learned = [cell for cell in report["cells"] if len(cell["curve"]) > 1]
    if not learned:
        return False
    names = [
        name for name in tokenizer_colors(report) if any(c["tokenizer"] == name for c in learned)
    ]
    figure, axes = load_pyplot().subplots(
        1, len(names), figsize=(4.5 * len(names) + 2, 4), squeeze=False, sharey=True
    )
    counts = sorted({cell["tokens_per_step"] for cell in learned})
    style, paint = line_styles(learned), assign_colors(series_name(cell) for cell in learned)
    for axis, name in zip(axes[0], names, strict=True):
        members: dict[tuple[int, str], list[Row]] = {}
        for cell in learned:
            if cell["tokenizer"] == name:
                members.setdefault((cell["tokens_per_step"], series_name(cell)), []).append(cell)
        for (count, arm), cells in members.items():
            steps, losses = common(cells)
            own = COLORS[counts.index(count) % len(COLORS)] if len(counts) > 1 else paint[arm]
            options = {"color": own}
            mean, label = losses.mean(0), f"{count} per step, {arm}"
            axis.plot(steps, mean, linestyle=style[arm], label=label, **options)
            axis.fill_between(steps, losses.min(0), losses.max(0), alpha=0.2, **options)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("updates")
    axes[0][0].set_ylabel(
        "validation cross-entropy, nats per codec token\n(1 per step with a text track: its tokens too)",
        fontsize=8,
    )
    return finish(figure, axes[0][-1], path)


def drafts(report: Mapping[str, Any], path: Path) -> bool:
    """Draw the steps per forward pass with drafts, and the acceptance of each draft."""
    rows = [row for row in report["groups"] if value(row, "steps_per_forward") is not None]
    if not rows:
        return False
    figure, (left, right) = load_pyplot().subplots(
        1, 2, figsize=(11, 0.3 * len(rows) + 2), sharey=True, width_ratios=(2, 3)
    )
    names, places = [voice_label(row) for row in rows], np.arange(len(rows))
    left.barh(places, [value(row, "steps_per_forward") for row in rows], color=COLORS[2])
    left.axvline(1, color=COLORS[5], linewidth=1)
    left.set_yticks(places, names, fontsize=8)
    left.invert_yaxis()
    left.set_xlabel("steps per forward pass (1: without drafts)")
    for number, color in enumerate(COLORS, start=1):
        shares = [
            (value(row, f"accepted_{number}"), y) for row, y in zip(rows, places, strict=True)
        ]
        points = [(100 * share, y) for share, y in shares if share is not None]
        if points:
            right.scatter(*zip(*points, strict=True), s=28, color=color, label=f"draft {number}")
    right.set_xlim(0, 105)
    right.grid(axis="x", alpha=0.3)
    right.set_xlabel("accepted, of those after accepted ones (%)")
    return finish(figure, right, path)


def common(cells: Sequence[Row]) -> tuple[list[int], np.ndarray]:
    """The updates at which all of `cells` were validated, and their losses [cells, updates]."""
    logs = [dict(cell["curve"]) for cell in cells]
    steps = sorted(set.intersection(*(set(log) for log in logs)))
    return steps, np.array([[log[step] for step in steps] for log in logs])


def finish(figure: Any, axis: Any, path: Path) -> bool:
    """Write a plot with its legend beside it; returns True, for "drawn"."""
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    save_figure(figure, path, dpi=100)
    return True
