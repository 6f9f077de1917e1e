"""The stage `dual`: agents answer questions, and votes make the data of the cold start of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

import agents
import chat_agent  # noqa: F401  (registers its agent)
import endpoint  # noqa: F401  (registers its agents)
from agents import AGENTS, CRITICS, Attempt, Tagged
from vocalmtp.config import StrictModel
from vocalmtp.io.run_folder import JsonlStore

CHUNK = 100  # questions whose attempts are stored together


class RoleRecipe(StrictModel):
    """Who plays a role."""

    agent: str  # NAME or NAME=ARGUMENT
    model: str | None = None  # at an endpoint


class DualRecipe(StrictModel):
    """Settings of dual.yaml, which explains them."""

    solver: RoleRecipe
    thinker: RoleRecipe
    critic: RoleRecipe
    questions: int = Field(ge=1)
    takes: int = Field(ge=1)
    margin: float = Field(ge=0, lt=1)
    thinking: float = Field(gt=0, lt=1)
    intents: float = Field(ge=0, le=1)
    others: float = Field(ge=0, le=1)


def tag_questions(
    recipe: DualRecipe, rows: Sequence[dict[str, Any]], store: JsonlStore
) -> list[Tagged]:
    """Let solver and thinker answer questions, and tag those whose thoughts a critic keeps.

    Args:
        recipe: the settings.
        rows: questions as a prompt, and an answer or None.
        store: keeps the attempts, so that an interrupted run goes on after them.

    """
    prompts = [row["prompt"] for row in rows]
    off = answer(recipe.solver, False, prompts, recipe.takes, store)
    on = answer(recipe.thinker, True, prompts, recipe.takes, store)
    critic = CRITICS.create(recipe.critic.agent, model=recipe.critic.model)
    tagged = [
        agents.tag(row["prompt"], row["answer"], short, long, critic, recipe.margin)
        for row, short, long in zip(rows, off, on, strict=True)
    ]
    return [question for question in tagged if question]


def answer(
    role: RoleRecipe, thinks: bool, prompts: list[str], takes: int, store: JsonlStore
) -> list[list[Attempt]]:
    """Return the attempts of an agent at all questions, those in `store` as they are."""
    agent = AGENTS.create(role.agent, thinks=thinks, model=role.model)
    attempts: list[list[Attempt]] = []
    for start in range(0, len(prompts), CHUNK):
        key = f"{'thinker' if thinks else 'solver'} {start}"
        if store.get(key) is None:
            part = prompts[start : start + CHUNK]
            made = agent.attempt(part, takes, seed=int(thinks) + 1000 * start)
            pairs = [
                [[each.thoughts, each.answer] for each in each_question] for each_question in made
            ]
            store.append({"id": key, "attempts": pairs})
        row = store.rows[key]
        attempts += [[Attempt(*pair) for pair in pairs] for pairs in row["attempts"]]
    return attempts


def balance(questions: list[Tagged], thinking: float) -> list[Tagged]:
    """Drop questions of the mode that is too frequent, so that a share `thinking` of them think."""
    on = [question for question in questions if question.mode == "on"]
    off = [question for question in questions if question.mode == "off"]
    on = on[: round(len(off) * thinking / (1 - thinking))] if off else on
    off = off[: round(len(on) * (1 - thinking) / thinking)] if on else off
    chosen = {id(question) for question in (*on, *off)}
    return [question for question in questions if id(question) in chosen]


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Read the rows of a file of JSON lines."""
    return list(map(json.loads, file.read_text(encoding="utf-8").splitlines()))


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as JSON lines."""
    file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
