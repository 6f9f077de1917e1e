"""Accuracy, tokens and decisions of a model on the test problems, level by level."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from agents import RATIONALES
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.text.thinking import Mode, judge_contradicts, opening, parse_reply

MAX_TOKENS = 128
FREE = "free"  # the model decides


def evaluate(folder: Path, problems: Path, modes: tuple[str, ...]) -> dict[str, Any]:
    """Measure greedy replies to all problems in each mode.

    Returns:
        For every mode the accuracy, tokens of a reply and share of thinking, in all and by level.

    """
    generator = TextGenerator.load(folder)
    rows = [json.loads(line) for line in problems.read_text(encoding="utf-8").splitlines()]
    return {mode: summary(list(replies(generator, rows, mode))) for mode in modes}


def replies(generator: TextGenerator, rows: list[dict], mode: str) -> Iterator[dict[str, Any]]:
    """Yield for every problem whether the reply is right, its tokens, and whether it thinks."""
    forced: Mode | None = None if mode == FREE else "on" if mode == "on" else "off"
    head = "" if forced is None else opening(RATIONALES[forced], forced)
    extra = len(generator.encode(GenerationRequest(text=head))) if head else 0
    requests = [GenerationRequest(text=f"{row['prompt']} {head}") for row in rows]
    made = generator.generate(requests, Sampler(greedy=True), max_tokens=MAX_TOKENS, batch_size=64)
    for number, completion in made:
        reply = parse_reply(head + completion.text)
        broken = bool(reply.problem) or judge_contradicts(reply, RATIONALES)
        yield {
            "level": rows[number]["level"],
            "right": not broken and reply.answer == rows[number]["answer"],
            "tokens": len(completion.ids) + extra,
            "thinks": reply.mode == "on",
            "broken": broken,
        }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean of every figure, over all rows and by level."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups["all"].append(row)
        groups[str(row["level"])].append(row)
    keys = ("right", "tokens", "thinks", "broken")
    return {
        name: {key: round(fmean(row[key] for row in group), 4) for key in keys}
        for name, group in sorted(groups.items())
    }
