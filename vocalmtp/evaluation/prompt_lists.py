"""Zero-shot synthesis benchmarks: published lists of sentences with voice prompts.

Layouts:

- seed-tts-eval: `meta.lst`, lines of `id|text of the prompt|its audio|sentence` and optionally
  `|recording of the sentence`; paths are relative to the list's folder.
- librispeech-pc: F5-TTS's list of LibriSpeech-PC, six columns between tabs (prompt, its seconds and
  text; utterance, its seconds and text); audio is at ROOT/speaker/chapter/id.flac.
- librispeech: a folder of the corpus with its *.trans.txt, of which, as in VALL-E's evaluation,
  the utterances of 4 to 10 s are synthesized.
- libritts: a folder of that corpus, likewise.

Prompts are complete recordings. The word error rate follows a named convention (scoring.py).
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from vocalmtp.data.corpus_formats import find_sources
from vocalmtp.errors import InputError, nearest
from vocalmtp.evaluation.answer_sources import SpokenTexts, collect_answers
from vocalmtp.evaluation.config import PromptListConfig
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import embeddings, transcripts
from vocalmtp.evaluation.questions import Question
from vocalmtp.evaluation.report import Metric, write_report
from vocalmtp.evaluation.run import begin_results
from vocalmtp.evaluation.scoring import CONVENTIONS, Convention, word_errors
from vocalmtp.evaluation.statistics import bootstrap_mean
from vocalmtp.evaluation.systems import NATURAL
from vocalmtp.hub import model_folder
from vocalmtp.io.read import digest, read_lines
from vocalmtp.io.run_folder import Row, only_writer
from vocalmtp.loading import load
from vocalmtp.tts import TTS
from vocalmtp.voices import Voice, make_voice

SHORTEST, LONGEST = 4.0, 10.0  # seconds of the utterances of VALL-E's evaluation
SHOWN_PROBLEMS = 20  # in a report


@dataclass(frozen=True)
class Prompted:
    """A sentence and a voice prompt; `natural` is the recording of the sentence."""

    id: str
    text: str
    prompt: Path
    natural: Path | None = None


@dataclass(frozen=True)
class PromptList:
    """The sentences of a list, and the problems of lines that were left out."""

    items: list[Prompted]
    broken: list[str]


# -- the lists ---------------------------------------------------------------------------------


def load_list(source: Path, layout: str, root: Path | None = None) -> PromptList:
    """Read the sentences of a list, in order.

    A line that is malformed, or whose audio is missing, is left out and reported.

    Args:
        source: the list's file, or the folder of a corpus.
        layout: which of LAYOUTS.
        root: the folder of the audio; by default that of the list.

    Raises:
        InputError: nothing is there, no line is usable, or the layout takes no root.
    """
    if layout not in LAYOUTS:
        raise InputError(
            f"layout '{layout}': unknown; {nearest(layout, LAYOUTS)}", code="unknown_name"
        )
    items: list[Prompted] = []
    broken: list[str] = []
    seen: set[str] = set()
    if layout in FOLDERS and root is not None:
        raise InputError(
            f"root '{root}': the layout '{layout}' has its own audio; leave root out",
            code="conflict",
        )
    lines = FOLDERS[layout](source) if layout in FOLDERS else LISTS[layout](source, root)
    for where, found in lines:
        if isinstance(found, str):
            broken.append(f"{where}: {found}")
        elif found.id in seen:
            broken.append(f"{where}: id '{found.id}' is a duplicate")
        elif not found.text.strip():
            broken.append(f"{where}: has no text")
        elif not found.prompt.is_file():
            broken.append(f"{where}: the prompt {found.prompt.name} is missing")
        else:
            seen.add(found.id)
            items.append(found)
    if not items:
        first = f" ({broken[0]}, and {len(broken) - 1} more)" if broken else ""
        raise InputError(
            f"list '{source}': no line of the layout '{layout}' is usable{first}", code="empty"
        )
    return PromptList(items, broken)


Lines = Iterator[tuple[str, Prompted | str]]  # the place of a line, and its sentence or problem


def _fields(
    source: Path, separator: str, counts: tuple[int, ...], what: str
) -> Iterator[tuple[str, list[str] | str]]:
    """The place of every line, and its fields or its problem."""
    if not source.is_file():
        raise InputError(f"list '{source}': no such file; give {what}", code="not_found")
    for number, line in read_lines(source, f"list '{source}'"):
        where = f"{source.name} line {number}"
        try:
            fields = [field.strip() for field in line.decode("utf-8-sig").split(separator)]
        except UnicodeDecodeError:
            yield where, "is not UTF-8; convert the list"
            continue
        if len(fields) not in counts:
            wanted = " or ".join(map(str, counts))
            yield where, f"has {len(fields)} fields, not {wanted}"
        else:
            yield where, fields


def _seed_tts(source: Path, root: Path | None) -> Lines:
    root = source.parent if root is None else root
    for where, fields in _fields(source, "|", (4, 5), "seed-tts-eval's meta.lst"):
        if isinstance(fields, str):
            yield where, fields
            continue
        name, _, prompt, text, *natural = fields
        recording = root / natural[0] if natural and natural[0] else None
        exists = recording is not None and recording.is_file()
        yield where, Prompted(name, text, root / prompt, recording if exists else None)


def _librispeech_pc(source: Path, root: Path | None) -> Lines:
    root = source.parent if root is None else root
    for where, fields in _fields(source, "\t", (6,), "the .lst file of LibriSpeech-PC"):
        if isinstance(fields, str):
            yield where, fields
            continue
        prompt, _, _, name, _, text = fields
        parts = [utterance.split("-") for utterance in (prompt, name)]
        if any(len(part) != 3 for part in parts):
            yield where, "its utterances are not speaker-chapter-number"
            continue
        files = [root / part[0] / part[1] / f"{'-'.join(part)}.flac" for part in parts]
        yield where, Prompted(name, text, files[0], files[1] if files[1].is_file() else None)


def _librispeech(source: Path) -> Lines:
    """Every utterance of 4 to 10 s, with the next such utterance of its speaker as its prompt."""
    if not source.is_dir():
        raise InputError(
            f"list '{source}': no such folder; give LibriSpeech's test-clean", code="not_found"
        )
    transcripts = sorted(source.glob("*/*/*.trans.txt"))
    if not transcripts:
        raise InputError(
            f"list '{source}': has no speaker/chapter/*.trans.txt; give LibriSpeech's test-clean",
            code="empty",
        )
    by_speaker: dict[str, list[tuple[str, Path, str]]] = {}
    for file in transcripts:
        for _, line in read_lines(file, f"list '{file}'"):
            name, _, text = line.decode("utf-8", "replace").strip().partition(" ")
            audio = file.parent / f"{name}.flac"
            if audio.is_file():
                by_speaker.setdefault(file.parts[-3], []).append((name, audio, text))
            else:
                yield f"{file.name} '{name}'", "its audio is missing"
    yield from _paired(by_speaker)


def _libritts(source: Path) -> Lines:
    """The same of LibriTTS's layout."""
    by_speaker: dict[str, list[tuple[str, Path, str]]] = {}
    for found in find_sources(source, "libritts")[1]:
        if found.problem or not found.text:
            yield found.id, found.problem or "has no text"
        else:
            name = found.id.rpartition("/")[2]
            by_speaker.setdefault(found.voice, []).append((name, found.audio, found.text))
    yield from _paired(by_speaker)


def _paired(by_speaker: dict[str, list[tuple[str, Path, str]]]) -> Lines:
    """Utterances of 4 to 10 s, each with another one of its speaker as its prompt."""
    for speaker, rows in by_speaker.items():
        lengths = [soundfile.info(audio).duration for _, audio, _ in rows]
        fit = [i for i, seconds in enumerate(lengths) if SHORTEST <= seconds <= LONGEST]
        if len(rows) < 2 and fit:
            yield speaker, "has one utterance, and none as its prompt"
            continue
        for place, index in enumerate(fit):
            name, audio, text = rows[index]
            others = [i for i in (*fit[place + 1 :], *fit[:place], *range(len(rows))) if i != index]
            yield name, Prompted(name, text, rows[others[0]][1], audio)


LISTS: dict[str, Callable[[Path, Path | None], Lines]] = {
    "seed-tts-eval": _seed_tts,
    "librispeech-pc": _librispeech_pc,
}
FOLDERS: dict[str, Callable[[Path], Lines]] = {"librispeech": _librispeech, "libritts": _libritts}
LAYOUTS = (*LISTS, *FOLDERS)
# The convention of a layout's published figures.
CONVENTION_OF = {
    "seed-tts-eval": "seed-tts-eval",
    "librispeech-pc": "librispeech-pc",
    "librispeech": "vall-e",
    "libritts": "vocalmtp",
}


# -- the benchmark -----------------------------------------------------------------------------


def run_prompt_list(config: PromptListConfig, tts: TTS | None = None) -> str:
    """Synthesize and judge a list, or continue; returns the report as Markdown.

    Raises:
        InputError: the list, the model or a judge is missing, or the output folder has results of
            other settings.
    """
    found = load_list(config.source, config.layout, config.root)
    convention = CONVENTIONS[config.convention or CONVENTION_OF[config.layout]]
    judges = Judges(config.judge, config.device)
    _ = judges.recognizer, judges.speaker  # fail before the synthesis
    with only_writer(config.output):
        settings = {
            "list": f"{config.source} ({_digest(found.items)})",
            "model": digest(model_folder(config.model)),
            "speaker_conditioning": config.speaker_conditioning,
            "seed": config.seed,
        }
        if tts is None:
            conditioning = config.speaker_conditioning
            tts = load(config.model, config.device, speaker_conditioning=conditioning)
        voices, unusable = prompt_voices(found.items[: config.limit], tts)
        begin_results(config.output, settings, fresh=config.fresh)
        items = [item for item in found.items if item.id in voices]
        rows = synthesize_prompted(config, items, tts, voices)
        broken = [*found.broken, *unusable]
        notes = [
            f"List: {config.source.name} ({config.layout}), {len(items)} sentences; "
            f"{len(broken)} unusable lines were left out.",
            f"{convention.describe()}; here by {judges.recognizer.description}.",
            f"Speaker similarity by {judges.speaker.description}, to the complete prompt.",
            *(f"Left out: {problem}." for problem in broken[:SHOWN_PROBLEMS]),
        ]
        metrics = judge_prompted(config, convention, judges, items, rows)
        return write_report(config.output, "testlist", metrics, notes)


def _digest(items: Sequence[Prompted]) -> str:
    """A digest of the sentences of a list."""
    lines = "\n".join(f"{item.id}\t{item.text}\t{item.prompt}" for item in items)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]


def synthesize_prompted(
    config: PromptListConfig,
    items: Sequence[Prompted],
    tts: TTS,
    voices: Mapping[str, Voice | None],
) -> list[Row]:
    """Synthesize every sentence in the voice of its prompt; existing audio is kept."""
    questions = [
        Question(id=item.id, question="", aliases=(), answer=item.text, role=item.id)
        for item in items
    ]
    texts = {item.id: item.text for item in items}
    source = SpokenTexts(config.model, tts, texts, voices, config.batch_size, config.seed)
    return collect_answers(source, questions, config.output)


def judge_prompted(
    config: PromptListConfig,
    convention: Convention,
    judges: Judges,
    items: Sequence[Prompted],
    rows: Sequence[Row],
) -> list[Metric]:
    """Word error rates of synthesized and natural speech, similarity to the prompt, success."""
    folder = config.output
    spoken = {
        row["id"]: folder / row["audio"] for row in rows if row["audio"] and not row["failure"]
    }
    natural = {item.id: item.natural for item in items if item.natural is not None}
    metrics = []
    for system, files in ((config.model, spoken), (NATURAL, natural)):
        label = NATURAL if system == NATURAL else "tts"
        found = transcripts(judges.recognizer, files, folder, label, config.processes)
        scores = [
            word_errors(item.text, found.get(item.id, ""), convention.normalizer)
            for item in items
            if system != NATURAL or item.id in natural
        ]
        if scores:
            rate = convention.rate(scores)
            metrics.append(Metric(f"WER ({convention.name})", system, rate, "%", 2))
    cosines = prompt_similarities(judges, items, spoken, folder)
    metrics.append(Metric("similarity to the prompt", config.model, bootstrap_mean(cosines)))
    whole = [float(not row["failure"]) for row in rows]
    return [*metrics, Metric("success", config.model, bootstrap_mean(whole), "%", 1)]


def prompt_voices(items: Sequence[Prompted], tts: TTS) -> tuple[dict[str, Voice | None], list[str]]:
    """The voice of every prompt by the item's id, and the problems of unusable prompts."""
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
        raise InputError(f"list: no prompt makes a voice ({broken[0]})", code="empty")
    return voices, broken


def prompt_similarities(
    judges: Judges, items: Sequence[Prompted], spoken: Mapping[str, Path], folder: Path
) -> list[float]:
    """Cosine similarity of every utterance to its prompt; 0 for failed speech."""
    ours = embeddings(judges.speaker, spoken, folder, "tts")
    prompts = {item.id: item.prompt for item in items}
    targets = embeddings(judges.speaker, prompts, folder, "prompts")
    return [float(np.dot(ours[name], targets[name])) if name in ours else 0.0 for name in prompts]
