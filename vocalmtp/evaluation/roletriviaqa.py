"""RoleTriviaQA: what a model knows and whether it keeps the voice of a role, in one run.

Questions are answered (answerers.py), the speech is heard (judges.py), both scored (answers.py).
Every step keeps rows of its own, so that a run goes on where it stopped; at the end there is a row
of every question in results.jsonl, and a report. After SLM-Decoupled-MTP, arXiv 2506.12537.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vocalmtp.bench.speed import hardware
from vocalmtp.errors import InputError
from vocalmtp.evaluation import quality
from vocalmtp.evaluation.answers import agreement, speech_scores, text_scores
from vocalmtp.evaluation.judges import (
    Recogniser,
    SpeakerJudge,
    find_recogniser,
    find_speaker_judge,
    heard_words,
    kept_scores,
    vector_of,
)
from vocalmtp.evaluation.questions import Question, QuestionSet, load_questions
from vocalmtp.evaluation.responders import (
    AnswerSource,
    Cascade,
    Own,
    Recordings,
    read_texts,
    role_voices,
)
from vocalmtp.evaluation.role_report import write_role_report
from vocalmtp.evaluation.rows import check_settings, progress
from vocalmtp.evaluation.similarity import centroid
from vocalmtp.evaluation.swapped import SwappedTTS, next_names
from vocalmtp.hub import DEFAULT_MODEL, model_folder
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import digest
from vocalmtp.io.run_folder import JsonlStore, Row, only_writer
from vocalmtp.optional import require
from vocalmtp.tts import TTS, SpeakerConditioning, load

GOLD, NATURAL, OWN = "gold", "natural", "own"
SWAPPED = "swapped"  # of speaker_conditioning: the decoder is told the voice of the next role
RESULTS = "results.jsonl"


@dataclass(frozen=True, kw_only=True)
class RoleRun:
    """What is asked of the benchmark; the command line makes its options of these fields."""

    data: str
    output: Path
    model: str = DEFAULT_MODEL
    answers: str = GOLD  # gold, natural, own (the model's), or a file of texts
    ask: Literal["text", "speech"] = "text"  # how the model is asked for answers of its own
    split: str = "test"
    limit: int | None = None
    recogniser: str = "pocketsphinx"
    speaker_judge: str = "resemblyzer"
    speaker_conditioning: SpeakerConditioning | Literal["swapped"] = "both"
    batch_size: int = 8
    seed: int = 0
    sound: int = 100  # questions whose answers DNSMOS hears, two seconds each
    speed: bool = True
    processes: int = 2
    fresh: bool = False


def run_roletriviaqa(asked: RoleRun, tts: TTS | None = None) -> str:
    """Run, or go on with, the benchmark; returns the report as Markdown.

    Raises InputError if the data, the model or a judge is not there, or the folder holds a run of
    other settings.
    """
    recogniser, judge = find_recogniser(asked.recogniser), find_speaker_judge(asked.speaker_judge)
    with only_writer(asked.output):
        found = load_questions(asked.data, asked.output, asked.split, asked.limit)
        require("matplotlib")  # what is missing is said before the work
        if asked.sound:
            quality.check_dnsmos()
        answerer = make_answerer(asked, found, tts)
        check_settings(asked.output, _settings(asked, found), fresh=asked.fresh)
        rows = answer_all(answerer, found.questions, asked.output)
        rows = judge_all(rows, found, asked, recogniser, judge)
        with atomic_path(asked.output / RESULTS) as partial:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            partial.write_text("".join(lines), encoding="utf-8")
        notes = [
            f"Answers: {answerer.name}. Data: {found.name}, {len(rows)} questions of the split "
            f"{asked.split}; {len(found.broken)} rows were broken and left out.",
            f"Words heard by {recogniser.about}; voices by {judge.about}.",
            f"The voice is told to: {asked.speaker_conditioning}. DNSMOS of at most {asked.sound} answers.",
            *([f"Speed: {hardware()}."] if asked.speed else []),
            *(f"Left out: {problem}." for problem in found.broken[:20]),
        ]
        lines = answerer.speed() if asked.speed else []
        return write_role_report(asked.output, rows, lines, notes)


def _settings(asked: RoleRun, found: QuestionSet) -> dict[str, Any]:
    """What the rows of an output folder depend on."""
    answers = Path(asked.answers)
    return {
        "data": f"{asked.data} ({found.mark})",
        "split": asked.split,
        "answers": digest(answers) if answers.is_file() else asked.answers,
        "model": None if asked.answers == NATURAL else digest(model_folder(asked.model)),
        "speaker_conditioning": asked.speaker_conditioning,
        "seed": asked.seed,
    } | ({"ask": asked.ask} if asked.answers == OWN else {})


def make_answerer(asked: RoleRun, found: QuestionSet, tts: TTS | None = None) -> AnswerSource:
    """Who answers: the data's recordings, or a model: what it knows, the gold or somebody's texts.

    Raises InputError if the model cannot be asked so.
    """
    if asked.ask == "speech" and asked.answers != OWN:
        raise InputError(
            f"ask 'speech': answers '{asked.answers}' are there; give --answers own",
            code="invalid_value",
        )
    if asked.answers == NATURAL:
        return Recordings()
    texts = {question.id: question.answer for question in found.questions}
    if asked.answers not in (GOLD, OWN):
        texts = read_texts(Path(asked.answers), found.questions)
    swapped = asked.speaker_conditioning == SWAPPED
    if tts is None:
        tts = load(
            asked.model, speaker_conditioning="both" if swapped else asked.speaker_conditioning
        )
    voices = role_voices(found, tts)
    if swapped:
        if len(voices) < 2 or None in voices.values():
            raise InputError(
                "speaker_conditioning 'swapped': needs two roles that have voices; give both",
                code="missing",
            )
        tts = SwappedTTS(tts, voices)
    if asked.answers == OWN:
        aloud = asked.ask == "speech"
        name = f"{asked.model}, which {'hears' if aloud else 'reads'} the questions"
        return Own(name, tts, voices, asked.batch_size, asked.seed, aloud)
    name = f"{asked.model} saying the texts '{Path(asked.answers).name}'"
    return Cascade(name, tts, texts, voices, asked.batch_size, asked.seed)


def answer_all(answerer: AnswerSource, questions: Sequence[Question], folder: Path) -> list[Row]:
    """One row a question: text, audio, failure. What is there already is not said again."""
    kept = JsonlStore(folder / "rows" / "answers.jsonl")
    todo = [question for question in questions if kept.get(question.id) is None]
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for number, made in progress(answerer.answer(todo) if todo else (), len(todo), "answer"):
        question = todo[number]
        path = None
        if made.audio is not None and made.audio.duration:
            path = folder / "audio" / f"{question.id.replace('/', '_')}.wav"
            made.audio.save(path)
        kept.append(
            {
                "id": question.id,
                "text_answer": made.text,
                "audio": None if path is None else str(path.relative_to(folder)),
                "seconds": made.audio.duration if made.audio else 0.0,
                "failure": made.failure,
            }
            | ({} if made.understood is None else {"understood": made.understood})
        )
    asked = (
        {
            "id": question.id,
            "question": question.question,
            "aliases": list(question.aliases),
            "role": question.role,
            "seen": question.seen,
            "domain": question.domain,
            "asker": question.asker,
        }
        for question in questions
    )
    return [row | kept.get(row["id"]) for row in asked]


def judge_all(
    rows: Sequence[Row], found: QuestionSet, asked: RoleRun, words: Recogniser, voices: SpeakerJudge
) -> list[Row]:
    """The rows with what was heard and every score. A failure says nothing and is like nobody."""
    folder = asked.output
    audible = [row for row in rows if row["audio"] and not row["failure"]]
    files = {row["id"]: folder / row["audio"] for row in audible}
    heard = heard_words(folder / "rows", files, words, asked.processes)
    targets = _targets(found, folder, voices)
    place = folder / "rows" / f"speaker-{voices.name}.jsonl"
    vectors = kept_scores(place, files, vector_of(voices.embed))
    mixed = sorted(files, key=lambda name: zlib.crc32(name.encode()))  # every group, any order
    sounds = {name: files[name] for name in mixed[: asked.sound]}
    sound = kept_scores(folder / "rows" / "dnsmos.jsonl", sounds, quality.dnsmos)
    scored = []
    for row in rows:
        name, said = row["id"], heard.get(row["id"], "")
        em, f1 = text_scores(row["text_answer"], row["aliases"])
        em_speech, f1_speech = speech_scores(said, row["aliases"])
        errors = agreement(row["text_answer"], said)
        row = row | {"transcript": said, "em": em, "f1": f1}
        row |= {"em_speech": em_speech, "f1_speech": f1_speech}
        row |= {"agreement_errors": errors.errors, "agreement_words": errors.words}
        row |= {"similarity": _similarities(vectors.get(name), targets)}
        if "understood" in row:
            found_errors = agreement(row["question"], row["understood"])
            row |= {"asr_errors": found_errors.errors, "asr_words": found_errors.words}
        if asked.speaker_conditioning == SWAPPED:
            row |= {"decoder_role": next_names(targets)[row["role"]]}
        scored.append(row | {"dnsmos": sound.get(name, {}).get("ovrl")})
    return scored


def _targets(found: QuestionSet, folder: Path, judge: SpeakerJudge) -> dict[str, np.ndarray]:
    """The mean unit vector of every role's recordings."""
    roles = {question.role for question in found.questions}
    paths = {
        f"{role}/{digest(path)}": path
        for role in sorted(roles)
        for path in found.references.get(role, ())
    }
    place = folder / "rows" / f"references-{judge.name}.jsonl"
    rows = kept_scores(place, paths, vector_of(judge.embed))
    targets = {}
    for role in sorted(roles):
        own = [np.array(rows[name]["vector"]) for name in paths if name.rpartition("/")[0] == role]
        if own:
            targets[role] = centroid(own)
    return targets


def _similarities(row: Row | None, targets: dict[str, np.ndarray]) -> dict[str, float]:
    """Cosine to every role; 0 for what has no vector."""
    vector = None if row is None else np.array(row["vector"])
    return {
        role: 0.0 if vector is None else round(float(vector @ target), 6)
        for role, target in targets.items()
    }
