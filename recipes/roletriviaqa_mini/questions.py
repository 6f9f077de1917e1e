"""Questions from facts: the wording, the role and the split of each.

Every random choice is seeded by a hash of the seed and of its own name, so that no choice depends on
others. Texts that the corpus's normalization cannot read are left out.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import yaml

from facts import Fact
from normalise import normalise
from teachers import random_for

RECIPE = Path(__file__).parent
Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """Numbers of questions."""

    train: int = 4  # per fact, in different wordings as far as there are enough
    valid: int = 10  # per seen role
    test_in: int = 30  # per role
    test_out: int = 12  # per role
    least: int = 0  # per kind in training: facts of small kinds get more questions


@dataclass(frozen=True)
class MiniRole:
    """A role of `roles.yaml`."""

    name: str
    voice: str
    seen: bool
    frame: str


@dataclass(frozen=True)
class Wording:
    """The wordings of a kind of fact, see `wordings.yaml`, and the format of its answer."""

    domain: str
    test: tuple[str, ...]
    train: tuple[str, ...] = ()
    answer: str = "{}"


def load_roles(recipe: Path = RECIPE) -> list[MiniRole]:
    """The roles in the order of their file."""
    table = yaml.safe_load((recipe / "roles.yaml").read_text("utf-8"))
    return [MiniRole(name=name, **fields) for name, fields in table.items()]


def load_wordings(recipe: Path = RECIPE) -> dict[str, Wording]:
    """The wordings by kind of fact."""
    table = yaml.safe_load((recipe / "wordings.yaml").read_text("utf-8"))
    return {
        kind: Wording(**{key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()})
        for kind, fields in table.items()
    }


def make_questions(
    facts: list[Fact], seed: int, recipe: Path = RECIPE, sizes: Sizes | None = None
) -> Iterator[Row]:
    """The rows of `questions.jsonl`: train, valid, test, without audio.

    `recipe` is the folder of roles.yaml and wordings.yaml.
    """
    wordings, roles, sizes = load_wordings(recipe), load_roles(recipe), sizes or Sizes()
    seen = [role for role in roles if role.seen]
    inside = [fact for fact in facts if wordings[fact.kind].domain == "in"]
    outside = [fact for fact in facts if wordings[fact.kind].domain == "out"]

    def row(split: str, name: str, fact: Fact, wording: str, role: MiniRole) -> Row | None:
        question, answer = normalise(wording.format(fact.subject)), normalise(fact.answers[0])
        if question is None or answer is None:
            return None
        answered = wordings[fact.kind].answer.format(answer.rstrip("."))
        spoken = normalise(role.frame.format(answered))
        return {
            "id": f"{split}-{name}",
            "question": question,
            "aliases": list(dict.fromkeys([answer.rstrip("."), *fact.answers])),
            "answer": spoken,
            "role": role.name,
            "split": split,
            "seen": role.seen,
            "domain": wordings[fact.kind].domain,
            "kind": fact.kind,
        }

    def order_of(index: int, fact: Fact) -> list[str]:
        """The training wordings of a fact in random order; the last one is for validation."""
        train = wordings[fact.kind].train
        return random_for(seed, f"wordings/{index}").sample(train, len(train))

    made: list[Row | None] = []
    kinds = Counter(fact.kind for fact in inside)
    for index, fact in enumerate(inside):
        *learned, _ = order_of(index, fact)
        for time in range(max(sizes.train, -(-sizes.least // kinds[fact.kind]))):
            role = random_for(seed, f"train/{index}/{time}").choice(seen)
            wording = learned[time % len(learned)]
            made.append(row("train", f"{index:04d}-{time}", fact, wording, role))
    for role in seen:
        drawn = _mixed(inside, seed, f"valid/{role.name}", sizes.valid)
        for number, (index, fact) in enumerate(drawn):
            wording = order_of(index, fact)[-1]
            made.append(row("valid", f"{role.name}-{number:02d}", fact, wording, role))
    for role in roles:
        for domain, pool, count in (
            ("in", inside, sizes.test_in),
            ("out", outside, sizes.test_out),
        ):
            drawn = _mixed(pool, seed, f"test/{role.name}/{domain}", count)
            for number, (_, fact) in enumerate(drawn):
                name = f"{role.name}-{domain}-{number:02d}"
                wording = random_for(seed, f"test/{name}").choice(wordings[fact.kind].test)
                made.append(row("test", name, fact, wording, role))
    yield from (found for found in made if found is not None)


def _mixed(facts: list[Fact], seed: int, what: str, count: int) -> list[tuple[int, Fact]]:
    """`count` readable facts with their indices, alternating between kinds."""
    by_kind: dict[str, list[tuple[int, Fact]]] = defaultdict(list)
    for index, fact in enumerate(facts):
        subject = not fact.subject or normalise(fact.subject)  # some kinds have none
        if subject and normalise(fact.answers[0]):
            by_kind[fact.kind].append((index, fact))
    for kind, own in by_kind.items():
        random_for(seed, f"{what}/{kind}").shuffle(own)
    turns: Iterable[tuple[int, Fact] | None] = chain(*zip_longest(*by_kind.values()))
    return [pair for pair in turns if pair is not None][:count]


def write_questions(folder: Path, rows: list[Row]) -> None:
    """Write `questions.jsonl` and all answers, `answers.txt`, to `folder`; print the counts."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "answers.txt": sorted({row["answer"] for row in rows}),
        "questions.jsonl": [json.dumps(row) for row in rows],
    }
    for name, lines in files.items():
        partial = folder / f"{name}.partial"
        partial.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        os.replace(partial, folder / name)
    for (split, domain), count in Counter((r["split"], r["domain"]) for r in rows).items():
        print(f"{split}, {domain}-domain: {count} questions")
