"""Questions that are put to roles, and sets of them.

A set in our own layout is a folder with questions.jsonl, whose rows are `QuestionRow`
(recipes/roletriviaqa_mini writes one); question_formats.py also reads published layouts.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import AliasChoices, ConfigDict, Field

from vocalmtp.config import StrictModel

QUESTIONS, REFERENCES = "questions.jsonl", "references"  # a file and a folder of a set

Domain = Literal["in", "out"]
Split = Literal["train", "valid", "test"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question, put to a role."""

    id: str
    question: str
    aliases: tuple[str, ...]  # correct answers
    answer: str = ""  # a sentence with the answer
    role: str = ""  # "": none
    seen: bool | None = None  # whether the role's voice was trained; None: unknown
    domain: Domain = "in"  # whether it is of the training questions' kind
    audio: Path | None = None  # a recording of `answer`
    question_audio: Path | None = None
    question_voice: str = ""  # the voice in `question_audio`


@dataclass
class QuestionSet:
    """The questions of a split, recordings of the roles, and the problems of other rows."""

    name: str
    questions: list[Question]
    digest: str = ""  # of the content
    references: dict[str, list[Path]] = field(default_factory=dict)  # role -> recordings
    embeddings: dict[str, np.ndarray] = field(default_factory=dict)  # role -> published vector
    broken: list[str] = field(default_factory=list)


class QuestionRow(StrictModel):
    """A row of questions.jsonl; audio files are relative to its folder."""

    model_config = ConfigDict(populate_by_name=True)

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    aliases: tuple[str, ...] = Field(min_length=1)
    answer: str = Field(min_length=1)
    role: str = Field(pattern=r"^[\w-]+$")
    split: Split
    seen: bool
    domain: Domain = "in"
    kind: str = ""  # of fact, for readers
    audio: str | None = None  # the answer as speech
    # The second names are those of sets that were made before these.
    question_audio: str | None = Field(
        default=None, validation_alias=AliasChoices("question_audio", "asked")
    )
    question_voice: str = Field(
        default="", validation_alias=AliasChoices("question_voice", "asker")
    )


def check_question(question: Question) -> Question:
    """The question itself; raises ValueError if it has no text or no answer."""
    if not (isinstance(question.question, str) and question.question.strip()):
        raise ValueError("has no question")
    if not question.aliases or not all(isinstance(a, str) and a for a in question.aliases):
        raise ValueError("has no answer")
    return question


def drop_duplicates(found: QuestionSet) -> None:
    """Leave out questions whose id another one has: rows and recordings are named by it."""
    first: dict[str, Question] = {}
    for question in found.questions:
        if question.id in first:
            found.broken.append(f"id '{question.id}' is a duplicate")
        first.setdefault(question.id, question)
    found.questions = list(first.values())


def first_of_each_group(questions: Iterable[Question], limit: int | None) -> Iterator[Question]:
    """The first `limit` questions of every role and domain; all of them if None."""
    counts: dict[tuple[str, str], int] = {}
    for question in questions:
        group = question.role, question.domain
        counts[group] = counts.get(group, 0) + 1
        if limit is None or counts[group] <= limit:
            yield question
