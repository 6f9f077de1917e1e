"""RoleTriviaQA as its authors publish it (arXiv 2506.12537): parquet files of one row a question.

A record holds the question and the answer as text, the answer as speech, and a speaker vector. The
names of the columns tell which is which (COLUMNS), those of the files their split. Rows are read in
batches, and their audio is kept as files.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.errors import InputError, nearest
from vocalmtp.evaluation.answers import final_answer
from vocalmtp.evaluation.questions import Question, QuestionSet, checked, keep_first
from vocalmtp.io.read import reason
from vocalmtp.optional import require

ROWS = 64  # read at once: audio is large
REFERENCES = 8  # recordings that stand for a role
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
UNSPOKEN = object()  # in place of a cell: there is no column of speech
NEEDED = ("question", "answer", "role")
SPLITS = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}
OUTSIDE = re.compile(r"web|ood|out.?of.?domain|^out$", re.IGNORECASE)  # not of TriviaQA's questions


def load_published(path: Path, split: str, folder: Path, limit: int | None) -> QuestionSet:
    """The questions of a split, and recordings of every role from the others.

    Raises InputError without pyarrow, without such a split, or if a needed column is missing.
    """
    if split not in SPLITS:
        raise InputError(f"split '{split}': unknown; {nearest(split, SPLITS)}", code="unknown_name")
    files = {name: list(_files(path, words)) for name, words in SPLITS.items()}
    if not files[split]:
        raise InputError(
            f"data '{path}': no parquet file of the split '{split}' by its name",
            code="invalid_value",
        )
    trained = {row["role"] for file in files["train"] for row in _rows(file, ("role",))}
    sizes = [(file.name, file.stat().st_size) for file in files[split]]
    found = QuestionSet(path.name, [], hashlib.sha256(repr(sizes).encode()).hexdigest()[:16])
    taken: Counter[tuple[str, str]] = Counter()  # audio that nobody asks for is not unpacked
    for question, speech in _questions(files[split], trained if files["train"] else None, found):
        key = question.role, question.domain
        if limit is not None and taken[key] >= limit:
            continue
        audio = _keep(speech, path, folder / "recordings" / f"{_plain(question.id)}.wav")
        if audio is None and speech is not UNSPOKEN:
            found.broken.append(f"question '{question.id}': has no audio")
            continue
        taken[key] += 1
        found.questions.append(replace(question, audio=audio))
    keep_first(found)
    roles = {question.role for question in found.questions}
    _add_references(found, roles, [*files["valid"], *files["train"]], path, folder)
    return found


def _files(path: Path, words: tuple[str, ...]) -> Iterator[Path]:
    for file in sorted(path.rglob("*.parquet")):
        parts = re.split(r"[^a-z0-9]+", file.relative_to(path).as_posix().lower())
        if set(parts) & set(words):
            yield file


def _rows(file: Path, wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Rows of a file with our names for the columns; only those that are wanted and there."""
    parquet = require("pyarrow.parquet")
    try:
        source = parquet.ParquetFile(file)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise InputError(
            f"data '{file}': no parquet file ({reason(error)})", code="invalid_value"
        ) from error
    names = {re.sub(r"\W+", "_", name).lower(): name for name in source.schema_arrow.names}
    columns = {}
    for key in wanted:
        there = [names[name] for name in COLUMNS[key] if name in names]
        if there:
            columns[key] = there[0]
        elif key in NEEDED:
            raise InputError(
                f"data '{file.name}': no column for the {key} ({' or '.join(COLUMNS[key])}); "
                f"it has: {', '.join(source.schema_arrow.names)}",
                code="invalid_value",
            )
    for batch in source.iter_batches(ROWS, columns=list(columns.values())):
        for row in batch.to_pylist():
            yield {key: row[name] for key, name in columns.items()}


def _questions(
    files: list[Path], trained: set[str] | None, found: QuestionSet
) -> Iterator[tuple[Question, Any]]:
    """Every question that is whole, and the cell of its answer's speech."""
    for file in files:
        for number, row in enumerate(_rows(file, tuple(COLUMNS))):
            where = f"{file.name} row {number}"
            lacks = [key for key in NEEDED if not (isinstance(row[key], str) and row[key].strip())]
            if lacks:
                found.broken.append(f"{where}: has no {lacks[0]}")
                continue
            own, named = row.get("aliases"), row.get("id")
            aliases = [own] if isinstance(own, str) else [each for each in own or () if each]
            question = Question(
                # The id may be that of a question which several roles are asked.
                id=f"{row['role']}-{named}" if named else f"{file.stem}-{number:06d}",
                question=row["question"],
                answer=row["answer"],
                aliases=tuple(aliases or [final_answer(row["answer"]).rstrip(". ")]),
                role=row["role"],
                seen=None if trained is None else row["role"] in trained,
                domain="out" if OUTSIDE.search(str(row.get("source") or file.stem)) else "in",
            )
            try:
                yield checked(question), row.get("speech", UNSPOKEN)
            except ValueError as error:
                found.broken.append(f"{where}: {error}")


def _add_references(
    found: QuestionSet, roles: set[str], files: list[Path], data: Path, folder: Path
) -> None:
    """Recordings of every role from other splits than the questions', and its mean vector."""
    vectors: dict[str, list[np.ndarray]] = {}
    wanted = set(roles)
    for file in files:
        for number, row in enumerate(_rows(file, ("role", "speech", "embedding"))):
            if not wanted:
                return _mean(vectors, found)
            role = row["role"]
            if role not in wanted:
                continue
            own = found.references.setdefault(role, [])
            place = folder / "references" / f"{_plain(role)}-{len(own):02d}.wav"
            audio = _keep(row.get("speech"), data, place)
            if audio is not None:
                own.append(audio)
            vector = _vector(row.get("embedding"))
            if vector is not None:
                vectors.setdefault(role, []).append(vector)
            elif row.get("embedding") is not None:
                found.broken.append(f"{file.name} row {number}: its speaker vector is no vector")
            if len(own) >= REFERENCES:
                wanted.discard(role)
    return _mean(vectors, found)


def _vector(cell: Any) -> np.ndarray | None:
    """A speaker vector [D], or None if the cell is none."""
    try:
        vector = np.ravel(np.asarray(cell, np.float32))
    except (TypeError, ValueError):
        return None
    return vector if vector.size and np.isfinite(vector).all() else None


def _mean(vectors: dict[str, list[np.ndarray]], found: QuestionSet) -> None:
    """Keep the mean unit vector of every role; of vectors of several lengths, the first's."""
    for role, own in vectors.items():
        mean = np.mean([vector for vector in own if vector.shape == own[0].shape], 0)
        found.embeddings[role] = mean / max(float(np.linalg.norm(mean)), 1e-6)


def _keep(speech: Any, data: Path, place: Path) -> Path | None:
    """The audio of a cell (bytes, or a path), as a file; None if there is none."""
    content = speech.get("bytes") if isinstance(speech, dict) else speech
    if isinstance(content, bytes) and content:
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.is_file() or place.stat().st_size != len(content):
            place.write_bytes(content)
        return place
    named = speech.get("path") if isinstance(speech, dict) else speech
    if not isinstance(named, str):
        return None
    return next((path for path in (Path(named), data / named) if path.is_file()), None)


def _plain(name: str) -> str:
    """`name` as the name of a file."""
    return re.sub(r"[^\w.-]", "_", name)
