"""The tables of RoleTriviaQA-mini's arms, from the results that exist: `report.md`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vocalmtp.evaluation.report import Metric, markdown_table
from vocalmtp.evaluation.role_report import (
    AGREEMENT,
    EM_SPEECH,
    EM_TEXT,
    GROUPS,
    IDENTIFIED,
    MARGIN,
    OWN,
    SWAPPED,
    group_metrics,
)
from vocalmtp.evaluation.roletriviaqa import RESULTS
from vocalmtp.evaluation.statistics import bootstrap_mean
from vocalmtp.models.config import SpeechLMConfig

F1_TEXT = "F1, text"
VOICES = (
    ("similarity, seen", OWN, "seen roles"),
    ("... unseen", OWN, "unseen roles"),
    ("identified, seen", IDENTIFIED, "seen roles"),
    ("... unseen", IDENTIFIED, "unseen roles"),
)
KNOWLEDGE = (  # columns: a title, and a metric of a group
    ("EM", EM_TEXT, "in-domain"),
    ("F1", F1_TEXT, "in-domain"),
    ("EM, out of domain", EM_TEXT, "out-of-domain"),
    ("EM, speech", EM_SPEECH, "in-domain"),
    ("agreement WER", AGREEMENT, "in-domain"),
    ("... unseen roles", AGREEMENT, "unseen roles"),
    *VOICES,
    ("success", "success", "all"),
)
CONDITIONING = (
    *VOICES[:2],
    ("margin", MARGIN, "all"),
    *VOICES[2:],
    ("similarity to the decoder's role", SWAPPED, "all"),
)

Row = dict[str, Any]


def write_tables(work: Path) -> str:
    """Write report.md with the results in `work`; returns it."""
    arms = {}
    for file in sorted(work.glob("*/arm.json")):
        arm = json.loads(file.read_text())
        arms[arm["name"]] = arm | {"folder": file.parent}
    head = ["arm", "tokens per step", "tokenizer", "voice", *(title for title, *_ in KNOWLEDGE)]
    parts = ["## Knowledge and voice", markdown_table(head, knowledge_rows(arms))]
    rows = conditioning_rows(arms)
    if rows:
        head = ["arm", "speaker conditioning", *(title for title, *_ in CONDITIONING)]
        parts += ["## Speaker conditioning", markdown_table(head, rows)]
    text = "\n\n".join(parts) + "\n"
    (work / "report.md").write_text(text, encoding="utf-8")
    return text


def knowledge_rows(arms: dict[str, Row]) -> list[list[str]]:
    """A row for every arm that has results."""
    rows = []
    for name, arm in arms.items():
        switch = "text" if arm["text_only"] else arm["switches"][0]
        cells = cells_of(read_results(arm, switch))
        if cells:
            facts = [name, str(tokens(arm)), arm["tokenizer"], "yes" if arm["voice"] else "no"]
            if arm["text_only"]:
                facts = [name, "-", "-", "-"]
            rows.append([*facts, *(cells.get((what, group), "-") for _, what, group in KNOWLEDGE)])
    return rows


def conditioning_rows(arms: dict[str, Row]) -> list[list[str]]:
    """A row for every speaker conditioning of an arm, of the questions that all of them have."""
    rows = []
    for name, arm in arms.items():
        results = {switch: read_results(arm, switch) for switch in arm["switches"]}
        results = {switch: found for switch, found in results.items() if found}
        if len(results) < 2:
            continue
        shared = set.intersection(*({row["id"] for row in found} for found in results.values()))
        for switch, found in results.items():
            cells = cells_of([row for row in found if row["id"] in shared])
            shown = (cells.get((what, group), "-") for _, what, group in CONDITIONING)
            rows.append([name, switch, *shown])
    return rows


def tokens(arm: Row) -> int:
    """Codec tokens per step."""
    config = SpeechLMConfig.load(arm["folder"] / "model")
    return 1 if config.flat else config.layout.codec_tokens


def read_results(arm: Row, switch: str) -> list[Row]:
    """The rows of an evaluation of an arm; none if there is none."""
    path = arm["folder"] / f"eval-{switch}" / RESULTS
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
    return [json.loads(line) for line in lines]


def cells_of(rows: list[Row]) -> dict[tuple[str, str], str]:
    """The formatted metrics of `rows`, by name and group."""
    cells: dict[tuple[str, str], str] = {}
    for group, belongs in GROUPS.items():
        some = [row for row in rows if belongs(row)]
        for metric in metrics_of(group, some) if some else ():
            cells[metric.name, group] = metric.format()
    return cells


def metrics_of(group: str, rows: list[Row]) -> list[Metric]:
    """The metrics of rows; of the text alone if nothing was synthesized."""
    if "transcript" in rows[0]:
        return group_metrics(group, rows)
    return [
        Metric(name, group, bootstrap_mean([row[key] for row in rows]), "%", 1)
        for name, key in ((EM_TEXT, "em"), (F1_TEXT, "f1"))
    ]
