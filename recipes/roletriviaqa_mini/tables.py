"""The tables of RoleTriviaQA-mini's arms, from the results that there are: `report.md`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vocalmtp.evaluation.report import Line
from vocalmtp.evaluation.role_report import GROUPS, figures
from vocalmtp.evaluation.roletriviaqa import RESULTS
from vocalmtp.evaluation.statistics import bootstrap_mean
from vocalmtp.models.config import SpeechLMConfig

ASKED = (  # what a table has of an arm: a title, and which figure of which group
    ("EM", "EM, text", "in-domain"),
    ("F1", "F1, text", "in-domain"),
    ("EM, out of domain", "EM, text", "out-of-domain"),
    ("EM by ear", "EM, speech", "in-domain"),
    ("agreement WER", "agreement WER", "in-domain"),
    ("... unseen roles", "agreement WER", "unseen roles"),
    ("similarity, seen", "similarity to the own role", "seen roles"),
    ("... unseen", "similarity to the own role", "unseen roles"),
    ("told as its role, seen", "taken for the own role", "seen roles"),
    ("... unseen", "taken for the own role", "unseen roles"),
    ("success", "success", "all"),
)
VOICE = (
    ("similarity, seen", "similarity to the own role", "seen roles"),
    ("... unseen", "similarity to the own role", "unseen roles"),
    ("margin", "margin", "all"),
    ("told as its role, seen", "taken for the own role", "seen roles"),
    ("... unseen", "taken for the own role", "unseen roles"),
    ("similarity to the decoder's role", "similarity to the decoder's role", "all"),
)

Row = dict[str, Any]


def write_tables(work: Path) -> str:
    """Write report.md with what has been measured in `work`; returns it."""
    arms = {}
    for file in sorted(work.glob("*/arm.json")):
        arm = json.loads(file.read_text())
        arms[arm["name"]] = arm | {"folder": file.parent}
    told = [["arm", "tokens a step", "tokenizer", "voice", *(title for title, *_ in ASKED)]]
    for name, arm in arms.items():
        switch = "text" if arm["text_only"] else arm["switches"][0]
        lines = figures_of(read_results(arm, switch))
        if lines:
            facts = [name, str(tokens(arm)), arm["tokenizer"], "yes" if arm["voice"] else "no"]
            if arm["text_only"]:
                facts = [name, "-", "-", "-"]
            told.append([*facts, *(lines.get((what, group), "-") for _, what, group in ASKED)])
    who = [["arm", "who is told the voice", *(title for title, *_ in VOICE)]]
    for name, arm in arms.items():
        read = {switch: read_results(arm, switch) for switch in arm["switches"]}
        read = {switch: rows for switch, rows in read.items() if rows}
        if len(read) < 2:
            continue
        same = set.intersection(*({row["id"] for row in rows} for rows in read.values()))
        for switch, rows in read.items():  # the same questions to all
            lines = figures_of([row for row in rows if row["id"] in same])
            who.append([name, switch, *(lines.get((what, group), "-") for _, what, group in VOICE)])
    parts = ["## Knowledge and voice", table(told)]
    parts += ["## Who keeps the voice", table(who)] if len(who) > 1 else []
    text = "\n\n".join(parts) + "\n"
    (work / "report.md").write_text(text, encoding="utf-8")
    return text


def tokens(arm: Row) -> int:
    """Codec tokens of a step."""
    config = SpeechLMConfig.load(arm["folder"] / "model")
    return 1 if config.flat else config.layout.codec_tokens


def read_results(arm: Row, switch: str) -> list[Row]:
    """The rows of an arm's evaluation; none if it was not made."""
    path = arm["folder"] / f"eval-{switch}" / RESULTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    return [json.loads(line) for line in lines]


def figures_of(rows: list[Row]) -> dict[tuple[str, str], str]:
    """Every figure of `rows` by what it is and its group, as it is shown."""
    found: dict[tuple[str, str], str] = {}
    for group, belongs in GROUPS.items():
        some = [row for row in rows if belongs(row)]
        for line in lines_of(group, some) if some else ():
            found[line.what, group] = line.figure.show(line.unit, line.digits)
    return found


def lines_of(group: str, rows: list[Row]) -> list[Line]:
    """The figures of rows, of text alone where nothing was said."""
    if "transcript" in rows[0]:
        return figures(group, rows)
    return [
        Line(f"{name}, text", group, bootstrap_mean([row[name.lower()] for row in rows]), "%", 1)
        for name in ("EM", "F1")
    ]


def table(rows: list[list[str]]) -> str:
    """Rows as Markdown, the first as its head."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
