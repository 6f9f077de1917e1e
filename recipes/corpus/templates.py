"""Sentences made from patterns: numbers, dates, questions, dialogues, names, words in sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import yaml

from normalise import clock, money, number, ordinal, year

_DATA = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
_LISTS: dict[str, list[str]] = _DATA["lists"]
KINDS = ("patterns", "dialogues", "named", "carriers")

_NUMBERS: dict[str, Callable[[Random], str]] = {
    "date": lambda r: f"{r.choice(_LISTS['month'])} {ordinal(str(r.randint(1, 31)))}",
    "year": lambda r: year(str(r.randint(1700, 2035))),
    "time": lambda r: clock(r.randint(1, 12), r.choice((0, r.randint(1, 59)))),
    "small": lambda r: number(r.randint(2, 99)),
    "big": lambda r: number(r.randint(100, 10 ** r.randint(3, 6))),
    "decimal": lambda r: number(r.randint(1, 999) / 10),
    "nth": lambda r: ordinal(str(r.randint(1, 60))),
    "money": lambda r: money(r.randint(1, 300), r.choice((0, 0, r.randint(1, 99)))),
    "digits": lambda r: " ".join(number(r.randint(0, 9)) for _ in range(r.randint(3, 7))),
}


def sentence(random: Random, kind: str = "patterns", **words: list[str]) -> str:
    """One sentence of a random pattern, or a few; the result is already in normal form.

    Args:
        random: What every choice is drawn from.
        kind: A list of patterns in ``templates.yaml``, one of ``KINDS``.
        words: Further lists that fill the slots of the same name.
    """

    def fill(match: re.Match) -> str:
        slot = match[1]
        if slot in _NUMBERS:
            return _NUMBERS[slot](random)
        return random.choice(words.get(slot) or _LISTS[slot])

    text = re.sub(r"\{(\w+)\}", fill, random.choice(_DATA[kind]))
    return re.sub(r"\ba(?= [aeio])", "an", text)
