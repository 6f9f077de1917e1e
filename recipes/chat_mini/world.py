"""The facts of the closed world: world.yaml, small arithmetic and the calendar."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import yaml

from facts import Fact, months, words

RECIPE = Path(__file__).parent
LARGEST = 10  # operand


def world() -> list[Fact]:
    """Every fact, in a fixed order."""
    table = yaml.safe_load((RECIPE / "world.yaml").read_text("utf-8"))
    found = [*arithmetic(), *days(), *months()]
    for kind, pairs in table.items():
        for subject, answers in pairs.items():
            answers = answers if isinstance(answers, list) else [answers]
            found.append(Fact(kind, subject, tuple(answers)))
    return found


def arithmetic() -> Iterator[Fact]:
    """Sums, products and differences of small numbers."""
    for a, b in product(range(1, LARGEST + 1), repeat=2):
        yield Fact("sum", f"{words(a)} plus {words(b)}", (words(a + b), str(a + b)))
        if a > 1 and b > 1:
            yield Fact("product", f"{words(a)} times {words(b)}", (words(a * b), str(a * b)))
        if a > b:
            yield Fact("difference", f"{words(a)} minus {words(b)}", (words(a - b), str(a - b)))


def days() -> Iterator[Fact]:
    """The order of the days of the week."""
    names = list(calendar.day_name)
    for index, name in enumerate(names):
        yield Fact("day_after", name, (names[(index + 1) % 7],))
        yield Fact("day_before", name, (names[index - 1],))
