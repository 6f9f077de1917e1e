"""The layouts of question sets: ours, TriviaQA's, WebQuestions' and RoleTriviaQA's.

- A folder with questions.jsonl is ours.
- A `.json` file is TriviaQA's (arXiv 1705.03551) or WebQuestions' (Berant et al. 2013).
- A folder of parquet files is RoleTriviaQA as published (arXiv 2506.12537): a row has a question and
  its answer as text, the answer as speech, and a speaker vector. Columns are found by name (COLUMNS),
  splits by the names of files.

Unusable rows are left out and reported.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from vocalmtp.errors import InputError, nearest
from vocalmtp.evaluation.questions import (
    QUESTIONS,
    REFERENCES,
    Question,
    QuestionRow,
    QuestionSet,
    check_question,
    drop_duplicates,
    first_of_each_group,
)
from vocalmtp.evaluation.scoring import final_answer
from vocalmtp.evaluation.sentences import REFERENCES as ROLE_REFERENCES
from vocalmtp.io.read import digest, problem_of, read_lines, reason
from vocalmtp.optional import require

MINI = Path("roletriviaqa_mini")  # the output of the recipe of that name
DESCRIPTION = re.compile(r'\(description (?:"((?:[^"\\]|\\.)*)"|([^\s()]+))\)')


def load_questions(
    data: Path | str, folder: Path, split: str = "test", limit: int | None = None
) -> QuestionSet:
    """Load the questions of a split.

    Args:
        data: "mini", a folder or a file, see the layouts above.
        folder: where audio is written that is stored inside other files.
        split: train, valid or test.
        limit: only the first questions of each role and domain.

    Raises:
        InputError: nothing is there, the layout is unknown, or no row is usable.
    """
    path = MINI if str(data) == "mini" else Path(data)
    if str(data) == "mini" and not (path / QUESTIONS).is_file():
        raise InputError(
            f"data 'mini': there is no folder '{MINI}'; make it with: "
            f"python recipes/roletriviaqa_mini/make.py --output {MINI}",
            code="not_found",
        )
    if (path / QUESTIONS).is_file():
        found = _load_own(path, split)
    elif path.is_dir() and any(path.rglob("*.parquet")):
        found = _load_parquet(path, split, folder, limit)
    elif path.is_file() and path.suffix == ".json":
        found = _load_json(path)
    else:
        raise InputError(
            f"data '{data}': not a question set; give a folder with {QUESTIONS} or with "
            "RoleTriviaQA's parquet files, or a .json file of TriviaQA or WebQuestions",
            code="not_found",
        )
    found.questions = list(first_of_each_group(found.questions, limit))
    if not found.questions:
        first = f" ({found.broken[0]})" if found.broken else ""
        raise InputError(
            f"data '{data}': no question of the split '{split}' is usable{first}", code="empty"
        )
    return found


# -- our own layout ----------------------------------------------------------------------------


def _load_own(path: Path, split: str) -> QuestionSet:
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
        files = {
            name: path / file
            for name in ("audio", "question_audio")
            if (file := getattr(row, name))
        }
        missing = [file.relative_to(path) for file in files.values() if not file.is_file()]
        if row.id in seen:
            found.broken.append(f"{where}: id '{row.id}' is a duplicate")
        elif missing:
            found.broken.append(f"{where}: audio '{missing[0]}' is missing")
        else:
            fields = row.model_dump(exclude={"split", "kind", "audio", "question_audio"})
            found.questions.append(Question(**files, **fields))
        seen.add(row.id)
    for folder in sorted((path / REFERENCES).glob("*/")):
        recordings = (path for path in folder.iterdir() if path.suffix in (".wav", ".flac"))
        found.references[folder.name] = sorted(recordings)
    return found


# -- TriviaQA and WebQuestions -----------------------------------------------------------------


def _load_json(path: Path) -> QuestionSet:
    """TriviaQA's `{"Data": [...]}` or WebQuestions' list."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"data '{path}': not valid JSON ({reason(error)})", code="damaged"
        ) from error
    read: Callable[[dict[str, Any], int], Question]
    if isinstance(content, dict) and isinstance(content.get("Data"), list):
        rows, read = content["Data"], _trivia_question
    elif isinstance(content, list):
        rows, read = content, _web_question
    else:
        raise InputError(
            f"data '{path}': neither TriviaQA's {{\"Data\": [...]}} nor WebQuestions' list",
            code="invalid_value",
        )
    found = QuestionSet(path.stem, [], digest(path))
    for number, row in enumerate(rows, start=1):
        try:
            found.questions.append(check_question(read(row, number)))
        except KeyError as error:
            found.broken.append(f"{path.name} row {number}: has no {error}")
        except (TypeError, ValueError, AttributeError) as error:
            found.broken.append(f"{path.name} row {number}: {reason(error)}")
    drop_duplicates(found)
    return found


def _trivia_question(row: dict[str, Any], number: int) -> Question:
    answer = row["Answer"]
    others = [*answer.get("Aliases", ()), *answer.get("NormalizedAliases", ())]
    aliases = dict.fromkeys([answer["Value"], *others, *answer.get("HumanAnswers", ())])
    return Question(
        id=str(row.get("QuestionId", number)),
        question=row["Question"],
        aliases=tuple(aliases),
        answer=f"The answer is {answer['Value']}.",
    )


def _web_question(row: dict[str, Any], number: int) -> Question:
    pairs = DESCRIPTION.findall(row["targetValue"])
    aliases = [re.sub(r"\\(.)", r"\1", quoted) or bare for quoted, bare in pairs]
    return Question(
        id=f"webquestions-{number:05d}",
        question=row["utterance"],
        aliases=tuple(aliases),
        answer=f"The answer is {' and '.join(aliases)}.",
        domain="out",
    )


# -- RoleTriviaQA ------------------------------------------------------------------------------

BATCH = 64  # rows that are read at once: audio is large
COLUMNS = {
    "question": ("text_question", "question"),
    "answer": ("text_answer", "answer"),
    "speech": ("speech_answer", "answer_audio", "audio", "speech"),
    "role": ("role", "speaker", "character", "speaker_name"),
    "id": ("id", "question_id"),
    "aliases": ("aliases", "answer_aliases", "normalized_aliases"),
    "embedding": ("speaker_embedding", "speaker_embed", "spk_embed", "spk_emb"),
    "source": ("source", "domain", "dataset"),
}
NO_SPEECH = object()  # in place of a cell: there is no column of speech
REQUIRED = ("question", "answer", "role")
SPLITS = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}
OUTSIDE = re.compile(r"web|ood|out.?of.?domain|^out$", re.IGNORECASE)  # not TriviaQA's questions


def _load_parquet(path: Path, split: str, folder: Path, limit: int | None) -> QuestionSet:
    """The questions of a split, and recordings of every role from the other splits."""
    if split not in SPLITS:
        raise InputError(f"split '{split}': unknown; {nearest(split, SPLITS)}", code="unknown_name")
    files = {name: list(_files(path, words)) for name, words in SPLITS.items()}
    if not files[split]:
        raise InputError(
            f"data '{path}': no parquet file is named after the split '{split}'", code="empty"
        )
    trained = {row["role"] for file in files["train"] for row in _rows(file, ("role",))}
    sizes = [(file.name, file.stat().st_size) for file in files[split]]
    found = QuestionSet(path.name, [], hashlib.sha256(repr(sizes).encode()).hexdigest()[:16])
    counts: Counter[tuple[str, str]] = Counter()  # audio beyond the limit is not unpacked
    for question, speech in _questions(files[split], trained if files["train"] else None, found):
        group = question.role, question.domain
        if limit is not None and counts[group] >= limit:
            continue
        place = folder / "recordings" / f"{_file_name(question.id)}.wav"
        audio = _audio_file(speech, path, place)
        if audio is None and speech is not NO_SPEECH:
            found.broken.append(f"question '{question.id}': has no audio")
            continue
        counts[group] += 1
        found.questions.append(replace(question, audio=audio))
    drop_duplicates(found)
    roles = {question.role for question in found.questions}
    _add_references(found, roles, [*files["valid"], *files["train"]], path, folder)
    return found


def _files(path: Path, words: tuple[str, ...]) -> Iterator[Path]:
    for file in sorted(path.rglob("*.parquet")):
        parts = re.split(r"[^a-z0-9]+", file.relative_to(path).as_posix().lower())
        if set(parts) & set(words):
            yield file


def _rows(file: Path, wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Rows of a file by the keys of COLUMNS: those of `wanted` that the file has."""
    parquet = require("pyarrow.parquet")
    try:
        source = parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise InputError(
            f"data '{file}': not a parquet file ({reason(error)})", code="damaged"
        ) from error
    names = {re.sub(r"\W+", "_", name).lower(): name for name in source.schema_arrow.names}
    columns = {}
    for key in wanted:
        known = [names[name] for name in COLUMNS[key] if name in names]
        if known:
            columns[key] = known[0]
        elif key in REQUIRED:
            raise InputError(
                f"data '{file.name}': no column for the {key} ({' or '.join(COLUMNS[key])}); "
                f"it has: {', '.join(source.schema_arrow.names)}",
                code="missing",
            )
    for batch in source.iter_batches(BATCH, columns=list(columns.values())):
        for row in batch.to_pylist():
            yield {key: row[name] for key, name in columns.items()}


def _questions(
    files: list[Path], trained: set[str] | None, found: QuestionSet
) -> Iterator[tuple[Question, Any]]:
    """Every complete question, and the cell of its answer's speech."""
    for file in files:
        for number, row in enumerate(_rows(file, tuple(COLUMNS))):
            where = f"{file.name} row {number}"
            lacks = [
                key for key in REQUIRED if not (isinstance(row[key], str) and row[key].strip())
            ]
            if lacks:
                found.broken.append(f"{where}: has no {lacks[0]}")
                continue
            cell, name = row.get("aliases"), row.get("id")
            aliases = [cell] if isinstance(cell, str) else [each for each in cell or () if each]
            question = Question(
                # Several roles may share the id of a question.
                id=f"{row['role']}-{name}" if name else f"{file.stem}-{number:06d}",
                question=row["question"],
                answer=row["answer"],
                aliases=tuple(aliases or [final_answer(row["answer"]).rstrip(". ")]),
                role=row["role"],
                seen=None if trained is None else row["role"] in trained,
                domain="out" if OUTSIDE.search(str(row.get("source") or file.stem)) else "in",
            )
            try:
                yield check_question(question), row.get("speech", NO_SPEECH)
            except ValueError as error:
                found.broken.append(f"{where}: {error}")


def _add_references(
    found: QuestionSet, roles: set[str], files: list[Path], data: Path, folder: Path
) -> None:
    """Add recordings of every role from other splits, and its mean vector."""
    vectors: dict[str, list[np.ndarray]] = {}
    wanted = set(roles)
    for file in files:
        for number, row in enumerate(_rows(file, ("role", "speech", "embedding"))):
            if not wanted:
                return _add_embeddings(vectors, found)
            role = row["role"]
            if role not in wanted:
                continue
            own = found.references.setdefault(role, [])
            place = folder / "references" / f"{_file_name(role)}-{len(own):02d}.wav"
            audio = _audio_file(row.get("speech"), data, place)
            if audio is not None:
                own.append(audio)
            vector = _vector(row.get("embedding"))
            if vector is not None:
                vectors.setdefault(role, []).append(vector)
            elif row.get("embedding") is not None:
                found.broken.append(f"{file.name} row {number}: its speaker vector is not a vector")
            if len(own) >= ROLE_REFERENCES:
                wanted.discard(role)
    return _add_embeddings(vectors, found)


def _vector(cell: Any) -> np.ndarray | None:
    """The speaker vector [D] in a cell, or None."""
    try:
        vector = np.ravel(np.asarray(cell, np.float32))
    except (TypeError, ValueError):
        return None
    return vector if vector.size and np.isfinite(vector).all() else None


def _add_embeddings(vectors: dict[str, list[np.ndarray]], found: QuestionSet) -> None:
    """Add the mean unit vector of every role; vectors of another size than the first are ignored."""
    for role, own in vectors.items():
        mean = np.mean([vector for vector in own if vector.shape == own[0].shape], 0)
        found.embeddings[role] = mean / max(float(np.linalg.norm(mean)), 1e-6)


def _audio_file(speech: Any, data: Path, place: Path) -> Path | None:
    """The audio of a cell (bytes, or a path) as a file; None if there is none."""
    content = speech.get("bytes") if isinstance(speech, dict) else speech
    if isinstance(content, bytes) and content:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_file() or place.stat().st_size != len(content):
            place.write_bytes(content)
        return place
    name = speech.get("path") if isinstance(speech, dict) else speech
    if not isinstance(name, str):
        return None
    return next((path for path in (Path(name), data / name) if path.is_file()), None)


def _file_name(name: str) -> str:
    """`name` as a file name."""
    return re.sub(r"[^\w.-]", "_", name)
