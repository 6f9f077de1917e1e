"""RoleTriviaQA: knowledge of a model, and consistency of the voices of roles (arXiv 2506.12537).

Questions are answered (answer_sources.py), the speech is recognized and embedded, and both are
scored. Every part stores its rows, so that an interrupted run continues; the result is a row for
every question in results.jsonl, and a report (role_report.py).
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.audio.io import read_audio
from vocalmtp.bench.speed import hardware
from vocalmtp.decoding.options import SpeakerConditioning
from vocalmtp.errors import InputError
from vocalmtp.evaluation.answer_sources import (
    AnswerSource,
    ModelAnswers,
    RecordedAnswers,
    SpokenTexts,
    collect_answers,
    read_answers,
    role_voices,
)
from vocalmtp.evaluation.config import RoleTriviaQAConfig
from vocalmtp.evaluation.judges import SAMPLE_RATE, Judges
from vocalmtp.evaluation.metrics import centroid, embeddings, kept_scores, transcripts
from vocalmtp.evaluation.question_formats import load_questions
from vocalmtp.evaluation.questions import QuestionSet
from vocalmtp.evaluation.role_report import write_role_report
from vocalmtp.evaluation.run import begin_results
from vocalmtp.evaluation.scoring import agreement, speech_scores, text_scores
from vocalmtp.evaluation.systems import SwappedTTS, next_names
from vocalmtp.hub import model_folder
from vocalmtp.io.atomic import atomic_path
from vocalmtp.io.read import digest
from vocalmtp.io.run_folder import Row, only_writer
from vocalmtp.loading import load
from vocalmtp.optional import require
from vocalmtp.tts import TTS

GOLD, NATURAL, OWN = "gold", "natural", "own"
SWAPPED = "swapped"  # speaker conditioning: the decoder receives the vector of the next role
RESULTS = "results.jsonl"
SHOWN_PROBLEMS = 20  # in a report


def run_roletriviaqa(config: RoleTriviaQAConfig, tts: TTS | None = None) -> str:
    """Run the benchmark, or continue it; returns the report as Markdown.

    Raises:
        InputError: the data, the model or a judge is missing, or the output folder has results of
            other settings.
    """
    judges = Judges(config.judge, config.device)
    _ = judges.recognizer, judges.speaker  # fail before the synthesis
    with only_writer(config.output):
        found = load_questions(config.data, config.output, config.split, config.limit)
        require("matplotlib")
        if config.mos_items:
            _ = judges.mos
        source = make_source(config, found, tts)
        begin_results(config.output, _settings(config, found), fresh=config.fresh)
        rows = collect_answers(source, found.questions, config.output)
        rows = score_rows(rows, found, config, judges)
        with atomic_path(config.output / RESULTS) as partial:
            lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            partial.write_text("".join(lines), encoding="utf-8")
        notes = [
            f"Answers: {source.name}. Data: {found.name}, {len(rows)} questions of the split "
            f"{config.split}; {len(found.broken)} unusable rows were left out.",
            f"Transcripts by {judges.recognizer.description}; speaker similarity by "
            f"{judges.speaker.description}.",
            f"Speaker conditioning: {config.speaker_conditioning or 'as the card says'}. "
            f"Opinion scores of at most {config.mos_items} answers.",
            *([f"Speed: {hardware()}."] if config.speed else []),
            *(f"Left out: {problem}." for problem in found.broken[:SHOWN_PROBLEMS]),
        ]
        speed = source.speed() if config.speed else []
        return write_role_report(config.output, rows, speed, notes)


def _settings(config: RoleTriviaQAConfig, found: QuestionSet) -> dict[str, Any]:
    """Everything that the answers in an output folder depend on."""
    answers = Path(config.answers)
    return {
        "data": f"{config.data} ({found.digest})",
        "split": config.split,
        "answers": digest(answers) if answers.is_file() else config.answers,
        "model": None if config.answers == NATURAL else digest(model_folder(config.model)),
        "speaker_conditioning": config.speaker_conditioning,
        "seed": config.seed,
    } | ({"ask": config.ask} if config.answers == OWN else {})


def make_source(
    config: RoleTriviaQAConfig, found: QuestionSet, tts: TTS | None = None
) -> AnswerSource:
    """The source of answers that the settings name.

    Raises:
        InputError: settings exclude each other, or the model cannot answer questions in that form.
    """
    if config.ask == "speech" and config.answers != OWN:
        raise InputError(
            f"ask 'speech': answers '{config.answers}' are not the model's; give --answers own",
            code="conflict",
        )
    if config.answers == NATURAL:
        return RecordedAnswers()
    texts = {question.id: question.answer for question in found.questions}
    if config.answers not in (GOLD, OWN):
        texts = read_answers(Path(config.answers), found.questions)
    if tts is None:
        given = config.speaker_conditioning
        conditioning: SpeakerConditioning | None = "both" if given == "swapped" else given
        tts = load(config.model, config.device, speaker_conditioning=conditioning)
    voices = role_voices(found, tts)
    if config.speaker_conditioning == SWAPPED:
        known = {name: voice for name, voice in voices.items() if voice is not None}
        if len(known) < 2 or len(known) < len(voices):
            raise InputError(
                "speaker_conditioning 'swapped': needs two roles that have voices; give both",
                code="missing",
            )
        tts = SwappedTTS(tts, known)
    if config.answers == OWN:
        from_speech = config.ask == "speech"
        name = f"{config.model}, from {'spoken' if from_speech else 'written'} questions"
        return ModelAnswers(name, tts, voices, config.batch_size, config.seed, from_speech)
    name = f"{config.model}, speaking the texts '{Path(config.answers).name}'"
    return SpokenTexts(name, tts, texts, voices, config.batch_size, config.seed)


def score_rows(
    rows: Sequence[Row], found: QuestionSet, config: RoleTriviaQAConfig, judges: Judges
) -> list[Row]:
    """Add transcripts and scores to the rows; a failed answer has no words and no similarity."""
    folder = config.output
    files = {
        row["id"]: folder / row["audio"] for row in rows if row["audio"] and not row["failure"]
    }
    texts = transcripts(judges.recognizer, files, folder, "answers", config.processes)
    targets = role_targets(found, folder, judges)
    vectors = embeddings(judges.speaker, files, folder, "answers")
    opinions = _opinions(files, config, judges)
    scored = []
    for row in rows:
        name, transcript = row["id"], texts.get(row["id"], "")
        em, f1 = text_scores(row["text_answer"], row["aliases"])
        em_speech, f1_speech = speech_scores(transcript, row["aliases"])
        errors = agreement(row["text_answer"], transcript)
        row = row | {
            "transcript": transcript,
            "em": em,
            "f1": f1,
            "em_speech": em_speech,
            "f1_speech": f1_speech,
            "agreement_errors": errors.errors,
            "agreement_words": errors.words,
            "similarity": _similarities(vectors.get(name), targets),
        }
        if "question_transcript" in row:
            asr = agreement(row["question"], row["question_transcript"])
            row |= {"asr_errors": asr.errors, "asr_words": asr.words}
        if config.speaker_conditioning == SWAPPED:
            row |= {"decoder_role": next_names(targets)[row["role"]]}
        scored.append(row | {"mos": opinions.get(name)})
    return scored


def _opinions(
    files: Mapping[str, Path], config: RoleTriviaQAConfig, judges: Judges
) -> dict[str, float]:
    """The overall opinion score of some answers of every group, by id."""
    if not config.mos_items:
        return {}
    shuffled = sorted(files, key=lambda name: zlib.crc32(name.encode()))
    judge = judges.mos
    rows = kept_scores(
        config.output / "rows" / f"mos-{judge.name}-answers.jsonl",
        {name: files[name] for name in shuffled[: config.mos_items]},
        lambda path: {"mos": next(iter(judge.score(read_audio(path, SAMPLE_RATE)).values()))},
    )
    return {name: row["mos"] for name, row in rows.items()}


def role_targets(found: QuestionSet, folder: Path, judges: Judges) -> dict[str, np.ndarray]:
    """The mean speaker embedding [D] of every role's recordings, of unit length."""
    paths = {
        f"{role}/{digest(path)}": path
        for role in sorted({question.role for question in found.questions})
        for path in found.references.get(role, ())
    }
    by_role: dict[str, list[np.ndarray]] = {}
    for name, vector in embeddings(judges.speaker, paths, folder, "references").items():
        by_role.setdefault(name.rpartition("/")[0], []).append(vector)
    return {role: centroid(vectors) for role, vectors in by_role.items()}


def _similarities(vector: np.ndarray | None, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Cosine similarity to every role; 0 without a vector."""
    return {
        role: 0.0 if vector is None else round(float(vector @ target), 6)
        for role, target in targets.items()
    }
