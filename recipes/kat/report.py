"""Report of recipes/kat: report.md with tables, and plots of decisions, Pareto fronts and learning."""

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from vocalmtp.evaluation.report import load_pyplot, markdown_table, save_figure

Figures = dict[str, Any]
MARGIN = 0.1  # of accuracy
SMOOTHED = 5  # rows of a training log
LEVELS = [str(level) for level in range(1, 7)]
COLOURS = ("#3a6ea5", "#c8553d", "#5a8f5a", "#8a6bbf", "#b8860b")


def write_report(folder: Path) -> None:
    """Write the report of all figures in `folder`; nothing if there are none."""
    stages: dict[str, list[Figures]] = defaultdict(list)
    for file in sorted((folder / "figures").glob("*.json")):
        figures = json.loads(file.read_text(encoding="utf-8"))
        stages[figures["stage"]].append(figures)
    decided = {name: runs for name, runs in stages.items() if "modes" in runs[0]}
    taught = {n: stages[n] for n in ("student", "distilled") if n in stages}
    read = {n: stages[n] for n in ("teacher", "student", "distilled") if n in stages}
    parts = []
    if read:
        parts.append(f"## Models of the textbook, right by level\n\n{textbook_table(read)}")
    if taught:
        parts.append(f"## Distillation, equal steps\n\n{distillation_table(taught)}")
    if decided:
        parts.append(f"## Deciding whether to think\n\n{decision_table(decided)}")
        parts.append(f"## Claims\n\n{claims_table(decided)}")
        parts.append(f"## Share of replies that think, by level\n\n{rate_table(decided)}")
        draw_decisions(decided, folder / "decisions.png")
        draw_pareto(decided, folder / "pareto.png")
        draw_learning(folder, list(decided), folder / "learning.png")
    if parts:
        (folder / "report.md").write_text("\n".join(parts), encoding="utf-8")


def mean(runs: list[Figures], *keys: str | int) -> float:
    """Mean over seeds of the figure that `keys` lead to."""
    values = []
    for run in runs:
        value: Any = run
        for key in keys:
            value = value[key]
        values.append(float(value))
    return fmean(values)


def textbook_table(stages: dict[str, list[Figures]]) -> str:
    """Accuracy of the models of the textbook, at once and with steps."""
    rows = [
        [name, how, *(f"{mean(runs, 'levels', how, level):.0%}" for level in LEVELS)]
        for name, runs in stages.items()
        for how in runs[0]["levels"]
    ]
    return markdown_table(["model", "", *LEVELS], rows) + "\n"


def distillation_table(stages: dict[str, list[Figures]]) -> str:
    """Validation loss and tokens of a forward pass of every student: of all seeds, and their mean."""
    rows = []
    for name, runs in stages.items():
        cells = []
        for keys in (("loss",), ("drafting", "tokens_per_forward")):
            values = ", ".join(f"{mean([run], *keys):.4f}" for run in runs)
            cells.append(f"{mean(runs, *keys):.4f} ({values})" if len(runs) > 1 else values)
        drafts = range(len(runs[0]["drafting"]["acceptance"]))
        shares = (f"{mean(runs, 'drafting', 'acceptance', draft):.0%}" for draft in drafts)
        rows.append([name, *cells, ", ".join(shares)])
    header = ["student", "validation loss", "tokens per pass", "drafts accepted"]
    return markdown_table(header, rows) + "\n"


def decision_table(stages: dict[str, list[Figures]]) -> str:
    """Accuracy and tokens of every model when it decides, and when it may not."""
    header = ["model", "seeds", "mode", "right", "tokens", "think", "broken"]
    rows = [
        [
            name,
            str(len(runs)),
            mode,
            f"{mean(runs, 'modes', mode, 'all', 'right'):.1%}",
            f"{mean(runs, 'modes', mode, 'all', 'tokens'):.1f}",
            f"{mean(runs, 'modes', mode, 'all', 'thinks'):.1%}",
            f"{mean(runs, 'modes', mode, 'all', 'broken'):.1%}",
        ]
        for name, runs in stages.items()
        for mode in runs[0]["modes"]
    ]
    return markdown_table(header, rows) + "\n"


def claims_table(stages: dict[str, list[Figures]]) -> str:
    """Whether models think where it helps, and what that saves against always thinking.

    A level needs thinking if answers without it are right less often, by more than MARGIN.
    """
    header = ["model", "needs thinking", "thinks there", "thinks elsewhere", "right", "tokens"]
    rows = []
    for name, runs in stages.items():
        figure = partial(mean, runs, "modes")  # of a mode, a level and a key
        needing = [
            level
            for level in LEVELS
            if figure("off", level, "right") < figure("on", level, "right") - MARGIN
        ]
        rates = {level: figure("free", level, "thinks") for level in LEVELS}
        least = min((rates[level] for level in needing), default=float("nan"))
        most = max((rates[level] for level in LEVELS if level not in needing), default=0.0)
        gain = figure("free", "all", "right") - figure("on", "all", "right")
        saved = figure("free", "all", "tokens") / figure("on", "all", "tokens")
        cells = [
            f"at least {least:.0%}",
            f"at most {most:.0%}",
            f"{100 * gain:+.1f}",
            f"{saved:.2f} x",
        ]
        rows.append([name, "levels " + ", ".join(needing) if needing else "none", *cells])
    note = "Right and tokens: points and ratio to always thinking.\n"
    return f"{markdown_table(header, rows)}\n\n{note}"


def rate_table(stages: dict[str, list[Figures]]) -> str:
    """Share of thinking by level, and the accuracy of answering at once."""
    rows = []
    for name, runs in stages.items():
        for key, mode in (("thinks", "free"), ("right", "free"), ("right", "off")):
            cells = [f"{mean(runs, 'modes', mode, level, key):.0%}" for level in LEVELS]
            what = "thinks" if key == "thinks" else f"right, {mode}"
            rows.append([name, what, *cells])
    return markdown_table(["model", "", *LEVELS], rows) + "\n"


def draw_decisions(stages: dict[str, list[Figures]], file: Path) -> None:
    """Plot the share of thinking by level, a bar a model."""
    figure, axes = load_pyplot().subplots(figsize=(8, 3.5))
    width = 0.8 / len(stages)
    for number, ((name, runs), colour) in enumerate(zip(stages.items(), COLOURS, strict=False)):
        rates = [100 * mean(runs, "modes", "free", level, "thinks") for level in LEVELS]
        places = [n + (number - (len(stages) - 1) / 2) * width for n in range(len(LEVELS))]
        axes.bar(places, rates, width * 0.9, color=colour, label=name)
    axes.set_xticks(range(len(LEVELS)), LEVELS)
    axes.set(xlabel="level", ylabel="replies that think, %", ylim=(0, 105))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncol=5, frameon=False, fontsize=8)
    save_figure(figure, file, dpi=120)


def draw_pareto(stages: dict[str, list[Figures]], file: Path) -> None:
    """Plot accuracy over tokens, with the forced modes as the ends of a line."""
    figure, axes = load_pyplot().subplots(figsize=(6, 4))
    for (name, runs), colour in zip(stages.items(), COLOURS, strict=False):
        points = [
            (mean(runs, "modes", mode, "all", "tokens"), mean(runs, "modes", mode, "all", "right"))
            for mode in ("off", "on", "free")
        ]
        axes.plot(*zip(*points[:2], strict=True), color=colour, linestyle=":", marker=".")
        axes.plot(*points[2], color=colour, marker="*", markersize=12, linestyle="", label=name)
    axes.set(xlabel="tokens of a reply (dots: never and always thinking)", ylabel="right")
    axes.legend()
    save_figure(figure, file, dpi=120)


def draw_learning(folder: Path, stages: list[str], file: Path) -> None:
    """Plot the reward and the share of thinking over the steps of reinforcement, first seed.

    Both count forced replies too, and are means over SMOOTHED logged rows.
    """
    figure, panels = load_pyplot().subplots(1, 2, figsize=(10, 4))
    for name, colour in zip(stages, COLOURS, strict=False):
        log = folder / "runs" / name / "log.jsonl"
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        rows = [row for row in rows if "think_rate" in row]
        for axes, key in zip(panels, ("reward", "think_rate"), strict=True):
            if rows:
                ends = range(SMOOTHED, len(rows) + 1) or [len(rows)]
                means = [fmean(row[key] for row in rows[max(0, n - SMOOTHED) : n]) for n in ends]
                steps = [rows[n - 1]["step"] for n in ends]
                axes.plot(
                    steps, means, marker="." if len(steps) < 2 else "", color=colour, label=name
                )
            axes.set(xlabel="step", ylabel=key.replace("_", " "), ylim=(0, 1))
    panels[0].legend(fontsize=8)
    save_figure(figure, file, dpi=120)
