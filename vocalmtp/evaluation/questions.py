"""Question sets: who is asked what, and which answers are right; from the layouts they come in.

A folder with `questions.jsonl` is ours (recipes/roletriviaqa_mini writes one), a folder of parquet
files is RoleTriviaQA as published (published.py), a `.json` file TriviaQA's text or WebQuestions'.
A row that will not do is left out and told; it never stops the others.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from vocalmtp.config import StrictModel
from vocalmtp.errors import InputError
from vocalmtp.io.read import digest, problem_of, read_lines, reason

MINI = Path("roletriviaqa_mini")  # where the recipe of that name writes to
QUESTIONS, REFERENCES = "questions.jsonl", "references"
DESCRIPTION = re.compile(r'\(description (?:"((?:[^"\\]|\\.)*)"|([^\s()]+))\)')

Domain = Literal["in", "out"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question of a role. `answer` is the sentence to be said, `audio` a recording of it."""

    id: str
    question: str
    aliases: tuple[str, ...]
    answer: str = ""
    role: str = ""  # "": nobody in particular
    seen: bool | None = None  # whether the role's voice was trained; None: not known
    domain: Domain = "in"  # of the training questions' kind, or of another
    audio: Path | None = None
    asked: Path | None = None  # a recording of the question
    asker: str = ""  # the voice in it


@dataclass
class QuestionSet:
    """The questions of a split, recordings of every role, and what was wrong with other rows."""

    name: str
    questions: list[Question]
    mark: str = ""  # tells its content
    references: dict[str, list[Path]] = field(default_factory=dict)
    embeddings: dict[str, np.ndarray] = field(default_factory=dict)  # role -> vector, as published
    broken: list[str] = field(default_factory=list)


class QuestionRow(StrictModel):
    """A line of `questions.jsonl`; `audio` is a path from there."""

    id: str = Field(min_length=1)
    question: str = Field(min_length=1)
    aliases: tuple[str, ...] = Field(min_length=1)
    answer: str = Field(min_length=1)
    role: str = Field(pattern=r"^[\w-]+$")
    split: Literal["train", "valid", "test"]
    seen: bool
    domain: Domain = "in"
    kind: str = ""  # of fact, for people
    audio: str | None = None  # the answer, as speech
    asked: str | None = None  # the question, as speech
    asker: str = ""  # the voice that asks it


def load_questions(
    data: Path | str, folder: Path, split: str = "test", limit: int | None = None
) -> QuestionSet:
    """The questions of `data`: "mini", a folder or a file, see the top of this module.

    Args:
        folder: where audio goes that lies inside of other files.
        limit: only the first questions, so many of each role.

    Raises:
        InputError: nothing is there, it is in no layout that is known, or no row will do.
    """
    path = MINI if str(data) == "mini" else Path(data)
    if str(data) == "mini" and not (path / QUESTIONS).is_file():
        raise InputError(
            f"data 'mini': there is no folder '{MINI}'; make it with: "
            f"python recipes/roletriviaqa_mini/make.py --output {MINI}",
            code="not_found",
        )
    if (path / QUESTIONS).is_file():
        found = _ours(path, split)
    elif path.is_dir() and any(path.rglob("*.parquet")):
        from vocalmtp.evaluation.published_questions import load_published

        found = load_published(path, split, folder, limit)
    elif path.is_file() and path.suffix == ".json":
        found = _text(path)
    else:
        raise InputError(
            f"data '{data}': no question set is there; give a folder with {QUESTIONS} or with "
            "RoleTriviaQA's parquet files, or a .json file of TriviaQA or WebQuestions",
            code="invalid_value",
        )
    found.questions = list(first_of_each(found.questions, limit))
    if not found.questions:
        told = f" ({found.broken[0]})" if found.broken else ""
        raise InputError(
            f"data '{data}': no question of the split '{split}' will do{told}", code="invalid_value"
        )
    return found


def first_of_each(questions: Iterable[Question], limit: int | None) -> Iterator[Question]:
    """The first `limit` questions of every role and domain; all of them if None."""
    taken: dict[tuple[str, str], int] = {}
    for question in questions:
        key = question.role, question.domain
        taken[key] = taken.get(key, 0) + 1
        if limit is None or taken[key] <= limit:
            yield question


def _ours(path: Path, split: str) -> QuestionSet:
    found = QuestionSet(path.name, [], digest(path / QUESTIONS))
    seen: set[str] = set()
    for number, line in read_lines(path / QUESTIONS, f"data '{path}'"):
        where = f"{QUESTIONS} line {number}"
        try:
            row = QuestionRow.model_validate_json(line)
        except ValidationError as error:
            found.broken.append(f"{where}: {problem_of(error)}")
            continue
        if row.split != split:
            continue
        audio, asked = (path / name if name else None for name in (row.audio, row.asked))
        if row.id in seen:
            found.broken.append(f"{where}: id '{row.id}' is there twice")
        elif any(file is not None and not file.is_file() for file in (audio, asked)):
            missing = row.asked if audio is None or audio.is_file() else row.audio
            found.broken.append(f"{where}: audio '{missing}' is not there")
        else:
            fields = row.model_dump(exclude={"split", "kind", "audio", "asked"})
            found.questions.append(Question(audio=audio, asked=asked, **fields))
        seen.add(row.id)
    for folder in sorted((path / REFERENCES).glob("*/")):
        found.references[folder.name] = sorted(folder.glob("*.wav"))
    return found


def _text(path: Path) -> QuestionSet:
    """TriviaQA's `{"Data": [...]}` or WebQuestions' list, told apart by that."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"data '{path}': not valid JSON ({reason(error)})", code="damaged"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("Data"), list):
        rows, read = content["Data"], _trivia
    elif isinstance(content, list):
        rows, read = content, _web
    else:
        raise InputError(
            f"data '{path}': neither TriviaQA's {{\"Data\": [...]}} nor WebQuestions' list",
            code="invalid_value",
        )
    found = QuestionSet(path.stem, [], digest(path))
    for number, row in enumerate(rows, start=1):
        try:
            found.questions.append(checked(read(row, number)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            found.broken.append(f"{path.name} row {number}: {_lack(error)}")
    keep_first(found)
    return found


def keep_first(found: QuestionSet) -> None:
    """Leave out questions whose id another one has; rows and recordings go by it."""
    first: dict[str, Question] = {}
    for question in found.questions:
        if question.id in first:
            found.broken.append(f"id '{question.id}' is there twice")
        first.setdefault(question.id, question)
    found.questions = list(first.values())


def checked(question: Question) -> Question:
    """A question that has all it needs; raises ValueError."""
    if not (isinstance(question.question, str) and question.question.strip()):
        raise ValueError("has no question")
    if not question.aliases or not all(isinstance(a, str) and a for a in question.aliases):
        raise ValueError("has no answer")
    return question


def _lack(error: Exception) -> str:
    return f"has no {error}" if isinstance(error, KeyError) else reason(error)


def _trivia(row: dict[str, Any], number: int) -> Question:
    """A question of TriviaQA (Joshi et al. 2017): the value, its aliases, what people answered."""
    answer = row["Answer"]
    others = [*answer.get("Aliases", ()), *answer.get("NormalizedAliases", ())]
    aliases = dict.fromkeys([answer["Value"], *others, *answer.get("HumanAnswers", ())])
    return Question(
        id=str(row.get("QuestionId", number)),
        question=row["Question"],
        aliases=tuple(aliases),
        answer=f"The answer is {answer['Value']}.",
    )


def _web(row: dict[str, Any], number: int) -> Question:
    """A question of WebQuestions (Berant et al. 2013): `utterance`, and a list of descriptions."""
    pairs = DESCRIPTION.findall(row["targetValue"])
    aliases = [re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in pairs]
    return Question(
        id=f"webquestions-{number:05d}",
        question=row["utterance"],
        aliases=tuple(aliases),
        answer=f"The answer is {' and '.join(aliases)}.",
        domain="out",
    )
