"""Accuracy, tokens and decisions of a model on the test problems, level by level."""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from agents import INTENTS, RATIONALES, LocalAgent
from vocalmtp.decoding.sampling import Sampler
from vocalmtp.decoding.text_generation import GenerationRequest, TextGenerator
from vocalmtp.text.thinking import Mode, judge_contradicts, opening, parse_reply

MAX_TOKENS = 128
FREE = "free"  # the model decides


def evaluate(folder: Path, problems: Path, modes: tuple[str, ...]) -> dict[str, Any]:
    """Measure sampled replies to all problems in each mode, as a decision is a probability.

    Args:
        folder: the model.
        problems: a file of problems.
        modes: FREE; "on" or "off" to force that mode; "asked on" or "asked off" to ask for it.

    Returns:
        For every mode the accuracy, tokens of a reply and share of thinking, in all and by level.

    """
    generator = TextGenerator.load(folder)
    rows = [json.loads(line) for line in problems.read_text(encoding="utf-8").splitlines()]
    return {mode: summary(list(replies(generator, rows, mode))) for mode in modes}


def evaluate_textbook(folder: Path, problems: Path) -> dict[str, dict[str, float]]:
    """Accuracy of a model of the textbook, by level: greedy answers at once and with steps."""
    rows = [json.loads(line) for line in problems.read_text(encoding="utf-8").splitlines()]
    found: dict[str, dict[str, float]] = {}
    for name, thinks in (("at once", False), ("with steps", True)):
        agent = LocalAgent(TextGenerator.load(folder), thinks, greedy=True)
        attempts = agent.attempt([row["prompt"] for row in rows], 1, seed=0)
        right: dict[int, list[bool]] = defaultdict(list)
        for row, (attempt,) in zip(rows, attempts, strict=True):
            right[row["level"]].append(attempt.answer == row["answer"])
        found[name] = {str(level): round(fmean(right[level]), 4) for level in sorted(right)}
    return found


def replies(generator: TextGenerator, rows: list[dict], mode: str) -> Iterator[dict[str, Any]]:
    """Yield for every problem whether the reply is right, its tokens, and whether it thinks."""
    forced: Mode | None = next((name for name in RATIONALES if name == mode), None)
    asked = next((f"{text} " for name, text in INTENTS.items() if mode == f"asked {name}"), "")
    head = "" if forced is None else opening(RATIONALES[forced], forced)
    extra = len(generator.encode(GenerationRequest(text=head))) if head else 0
    requests = [
        GenerationRequest(text=f"{asked}{row['prompt']} {head}", seed=number)
        for number, row in enumerate(rows)
    ]
    sampler = Sampler(temperature=1.0)
    made = generator.generate(requests, sampler, max_tokens=MAX_TOKENS, batch_size=64)
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
