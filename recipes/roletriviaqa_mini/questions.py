"""Questions of roles out of facts: which fact is asked in which words, of whom, in which split.

Everything is drawn by a hash of the seed and of what it is drawn for, so nothing depends on the
order of work; a text that the voices cannot read as it is written is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import yaml

from facts import Fact
from normalise import normalise
from voices import random_for

RECIPE = Path(__file__).parent
TRAIN_TIMES = 2  # questions of a fact in training
VALID = 10  # questions of a seen role
TEST_IN, TEST_OUT = 30, 12  # questions of every role

Row = dict[str, Any]


@dataclass(frozen=True)
class MiniRole:
    """A role of `roles.yaml`."""

    name: str
    voice: str
    seen: bool
    frame: str


@dataclass(frozen=True)
class Wording:
    """The wordings of a kind of fact, see `wordings.yaml`."""

    domain: str
    test: tuple[str, ...]
    train: tuple[str, ...] = ()


def load_roles() -> list[MiniRole]:
    """The roles in the order of their file."""
    table = yaml.safe_load((RECIPE / "roles.yaml").read_text("utf-8"))
    return [MiniRole(name=name, **fields) for name, fields in table.items()]


def load_wordings() -> dict[str, Wording]:
    """The wordings by kind of fact."""
    table = yaml.safe_load((RECIPE / "wordings.yaml").read_text("utf-8"))
    return {
        kind: Wording(**{key: v if key == "domain" else tuple(v) for key, v in fields.items()})
        for kind, fields in table.items()
    }


def make_questions(facts: list[Fact], seed: int) -> Iterator[Row]:
    """The rows of `questions.jsonl`: train, valid, test, without audio."""
    wordings, roles = load_wordings(), load_roles()
    seen = [role for role in roles if role.seen]
    inside = [fact for fact in facts if wordings[fact.kind].domain == "in"]
    outside = [fact for fact in facts if wordings[fact.kind].domain == "out"]

    def row(split: str, name: str, fact: Fact, wording: str, role: MiniRole) -> Row | None:
        question, answer = normalise(wording.format(fact.subject)), normalise(fact.answers[0])
        if question is None or answer is None:
            return None
        said = normalise(role.frame.format(answer.rstrip(".")))
        return {
            "id": f"{split}-{name}",
            "question": question,
            "aliases": list(dict.fromkeys([answer.rstrip("."), *fact.answers])),
            "answer": said,
            "role": role.name,
            "split": split,
            "seen": role.seen,
            "domain": wordings[fact.kind].domain,
            "kind": fact.kind,
        }

    made: list[Row | None] = []
    for index, fact in enumerate(inside):
        order = random_for(seed, f"wordings/{index}").sample(wordings[fact.kind].train, 3)
        for time in range(TRAIN_TIMES):
            role = random_for(seed, f"train/{index}/{time}").choice(seen)
            made.append(row("train", f"{index:04d}-{time}", fact, order[time], role))
    for role in seen:
        for number, (index, fact) in enumerate(_mixed(inside, seed, f"valid/{role.name}", VALID)):
            order = random_for(seed, f"wordings/{index}").sample(wordings[fact.kind].train, 3)
            made.append(row("valid", f"{role.name}-{number:02d}", fact, order[-1], role))
    for role in roles:
        for domain, pool, count in (("in", inside, TEST_IN), ("out", outside, TEST_OUT)):
            drawn = _mixed(pool, seed, f"test/{role.name}/{domain}", count)
            for number, (_, fact) in enumerate(drawn):
                name = f"{role.name}-{domain}-{number:02d}"
                wording = random_for(seed, f"test/{name}").choice(wordings[fact.kind].test)
                made.append(row("test", name, fact, wording, role))
    yield from (found for found in made if found is not None)


def _mixed(facts: list[Fact], seed: int, what: str, count: int) -> list[tuple[int, Fact]]:
    """`count` facts with their numbers, of every kind in turns; readable ones only."""
    by_kind: dict[str, list[tuple[int, Fact]]] = defaultdict(list)
    for index, fact in enumerate(facts):
        if normalise(fact.subject) and normalise(fact.answers[0]):
            by_kind[fact.kind].append((index, fact))
    for kind, own in by_kind.items():
        random_for(seed, f"{what}/{kind}").shuffle(own)
    turns: Iterable[tuple[int, Fact] | None] = chain(*zip_longest(*by_kind.values()))
    return [pair for pair in turns if pair is not None][:count]
