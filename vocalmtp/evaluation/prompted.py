"""Sentences of a published list in the voices of their prompts, judged by a named convention."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vocalmtp.errors import InputError
from vocalmtp.evaluation.conventions import Convention, find_convention
from vocalmtp.evaluation.intelligibility import word_errors
from vocalmtp.evaluation.judges import (
    SpeakerJudge,
    find_recogniser,
    find_speaker_judge,
    heard_words,
    kept_scores,
    vector_of,
)
from vocalmtp.evaluation.prompt_lists import CONVENTION_OF, Prompted, load_list
from vocalmtp.evaluation.questions import Question
from vocalmtp.evaluation.report import Line, write_report
from vocalmtp.evaluation.responders import Cascade
from vocalmtp.evaluation.roletriviaqa import answer_all
from vocalmtp.evaluation.rows import check_settings
from vocalmtp.evaluation.statistics import bootstrap_mean
from vocalmtp.hub import DEFAULT_MODEL, model_folder
from vocalmtp.io.read import digest
from vocalmtp.io.run_folder import Row, only_writer
from vocalmtp.tts import TTS, SpeakerConditioning, load
from vocalmtp.voices import Voice, make_voice


@dataclass(frozen=True, kw_only=True)
class ListRun:
    """What is asked of `run_list`; the command line makes its options of these fields."""

    source: Path
    output: Path
    layout: str = "seed-tts-eval"
    root: Path | None = None  # of the audio; None: beside the list
    convention: str | None = None  # None: the one that the layout's figures are published in
    model: str = DEFAULT_MODEL
    limit: int | None = None
    recogniser: str = "pocketsphinx"
    speaker_judge: str = "resemblyzer"
    speaker_conditioning: SpeakerConditioning = "both"
    batch_size: int = 8
    seed: int = 0
    processes: int = 2
    fresh: bool = False


def run_list(asked: ListRun, tts: TTS | None = None) -> str:
    """Say a list, or go on with it, and judge it; returns the report as Markdown.

    Raises InputError if the list, the model or a judge is not there, or the folder holds a run of
    other settings.
    """
    found = load_list(asked.source, asked.layout, asked.root)
    convention = find_convention(asked.convention or CONVENTION_OF[asked.layout])
    find_recogniser(asked.recogniser), find_speaker_judge(asked.speaker_judge)  # before the work
    with only_writer(asked.output):
        settings = {
            "list": f"{asked.source} ({_mark(found.items)})",
            "model": digest(model_folder(asked.model)),
            "speaker_conditioning": asked.speaker_conditioning,
            "seed": asked.seed,
        }
        tts = (
            load(asked.model, speaker_conditioning=asked.speaker_conditioning)
            if tts is None
            else tts
        )
        voices, broken = prompt_voices(found.items[: asked.limit], tts)
        check_settings(asked.output, settings, fresh=asked.fresh)
        items = [item for item in found.items if item.id in voices]
        questions = [
            Question(id=item.id, question="", aliases=(), answer=item.text, role=item.id)
            for item in items
        ]
        texts = {item.id: item.text for item in items}
        cascade = Cascade(asked.model, tts, texts, voices, asked.batch_size, asked.seed)
        rows = answer_all(cascade, questions, asked.output)
        lines, judges = judge_list(asked, convention, items, rows)
        broken = [*found.broken, *broken]
        notes = [
            f"List: {asked.source.name} ({asked.layout}), {len(items)} sentences; "
            f"{len(broken)} lines were broken and left out.",
            *judges,
            *(f"Left out: {problem}." for problem in broken[:20]),
        ]
        return write_report(asked.output, "testlist", lines, notes)


def _mark(items: Sequence[Prompted]) -> str:
    """What tells the sentences of a list."""
    lines = "\n".join(f"{item.id}\t{item.text}\t{item.prompt}" for item in items)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def judge_list(
    asked: ListRun, convention: Convention, items: Sequence[Prompted], rows: Sequence[Row]
) -> tuple[list[Line], list[str]]:
    """Figures of the `rows` that say `items`, and who judged; natural speech where it is there."""
    recogniser, judge = find_recogniser(asked.recogniser), find_speaker_judge(asked.speaker_judge)
    spoken = {
        row["id"]: asked.output / row["audio"]
        for row in rows
        if row["audio"] and not row["failure"]
    }
    place = asked.output / "rows"
    heard = heard_words(place, spoken, recogniser, asked.processes)
    natural = {item.id: item.natural for item in items if item.natural is not None}
    real = heard_words(place, natural, recogniser, asked.processes, "-natural")
    lines = word_lines(items, {asked.model: heard, "natural": real}, convention, natural)
    lines += similarity_lines(asked, items, spoken, judge)
    whole = [float(not row["failure"]) for row in rows]
    lines.append(Line("success", asked.model, bootstrap_mean(whole), "%", 1))
    return lines, [
        f"{convention.describe()}; here by {recogniser.about}.",
        f"Voices by {judge.about}, against the whole prompt.",
    ]


def prompt_voices(items: Sequence[Prompted], tts: TTS) -> tuple[dict[str, Voice | None], list[str]]:
    """The voice of every item's prompt by the item's id, and the items whose prompt makes none."""
    voices: dict[str, Voice | None] = {}
    broken = []
    for item in items:
        try:
            if tts.tokenizer.spec.speaker_dim:
                voices[item.id] = make_voice(item.prompt, tts.tokenizer, item.id)
            else:
                voices[item.id] = tts.find_voice(None)
        except InputError as error:
            broken.append(f"{item.id}: {error}")
    if not voices:
        raise InputError(f"list: no prompt makes a voice ({broken[0]})", code="invalid_value")
    return voices, broken


def word_lines(
    items: Sequence[Prompted],
    heard: dict[str, dict[str, str]],
    convention: Convention,
    natural: dict[str, Path],
) -> list[Line]:
    """Word error rates of every system of `heard`; natural speech of what there is of it."""
    lines = []
    for system, texts in heard.items():
        said = [item for item in items if system != "natural" or item.id in natural]
        scores = [
            word_errors(item.text, texts.get(item.id, ""), convention.normalise) for item in said
        ]
        if scores:
            name = f"WER ({convention.name})"
            lines.append(Line(name, system, convention.rate(scores), "%", 2))
    return lines


def similarity_lines(
    asked: ListRun, items: Sequence[Prompted], spoken: dict[str, Path], judge: SpeakerJudge
) -> list[Line]:
    """Cosine of every answer to its prompt; what failed is like nobody."""
    place = asked.output / "rows"
    ours = kept_scores(place / f"speaker-{judge.name}.jsonl", spoken, vector_of(judge.embed))
    files = {item.id: item.prompt for item in items}
    theirs = kept_scores(place / f"prompts-{judge.name}.jsonl", files, vector_of(judge.embed))
    cosines = [
        float(np.dot(ours[name]["vector"], theirs[name]["vector"])) if name in ours else 0.0
        for name in files
    ]
    return [Line("similarity to the prompt", asked.model, bootstrap_mean(cosines))]
