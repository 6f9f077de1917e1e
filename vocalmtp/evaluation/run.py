"""The evaluations of `vocalmtp eval`: from their settings to the metrics of a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vocalmtp.audio.io import read_audio
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError, nearest
from vocalmtp.evaluation.config import EvalConfig, RecognitionConfig
from vocalmtp.evaluation.judges import Judges
from vocalmtp.evaluation.metrics import Evaluators, as_metrics, success
from vocalmtp.evaluation.report import Metric, plot_bars, plot_spectrograms
from vocalmtp.evaluation.scoring import corpus_rate, word_errors
from vocalmtp.evaluation.sentences import (
    LIST,
    NO_AUDIO,
    cut_references,
    parse_seconds,
    pick_items,
    pick_references,
)
from vocalmtp.evaluation.systems import NATURAL, SYSTEMS, SpokenItem, synthesize
from vocalmtp.hub import model_folder
from vocalmtp.io.progress import track
from vocalmtp.io.read import digest, read_object
from vocalmtp.io.run_folder import SETTINGS, JsonlStore, check_settings, write_settings
from vocalmtp.loading import load
from vocalmtp.recognizers.base import SAMPLE_RATE, Recognizer
from vocalmtp.tts import TTS

MOS_ITEMS = 20  # sentences of each voice for the MOS judge, which takes seconds for each
HELD_OUT_ITEMS = 40  # sentences of each voice that was not trained
Spoken = dict[str, list[SpokenItem]]  # system -> its utterances, in the same order for all


@dataclass(frozen=True)
class Outcome:
    """The speech of all systems, and the recordings that represent the voices."""

    config: EvalConfig
    spoken: Spoken
    references: list[Utterance]

    @cached_property
    def evaluators(self) -> Evaluators:
        """The judges of all systems."""
        config = self.config
        judges = Judges(config.judge, config.device)
        return Evaluators(judges, self.references, config.output, config.processes)


def synthesize_systems(config: EvalConfig, tts: TTS | None = None) -> Outcome:
    """Synthesize the speech of every system, or read it from the output folder.

    Raises:
        InputError: an option is wrong, there is nothing to evaluate, or the folder has results of
            other settings.
    """
    systems = [name for name in config.systems.split(",") if name]
    for name in systems:
        if name not in SYSTEMS:
            raise InputError(
                f"system '{name}': unknown; {nearest(name, SYSTEMS)}", code="unknown_name"
            )
    items = pick_items(
        config.manifest, config.split, config.voice_names, config.limit, config.natural
    )
    recordings = config.natural if config.manifest.suffix == LIST else config.manifest
    if any(item.audio == NO_AUDIO for item in items) and systems != ["tts"]:
        raise InputError(
            f"systems '{config.systems}': the list '{config.manifest}' has no recordings; "
            "give --natural MANIFEST, or --systems tts",
            code="missing",
        )
    tts = load_model(config) if tts is None else tts
    begin_results(config.output, model_settings(config), fresh=config.fresh)
    references: list[Utterance] = []
    if recordings is not None:
        names = {item.voice for item in items} | set(tts.voices)
        references = pick_references(recordings, sorted(names), items)
    options = {"seed": config.seed, **config.sampling}
    spoken = {
        name: synthesize(name, items, tts, config.output, references, **options)
        for name in SYSTEMS
        if name in systems
    }
    return Outcome(config, spoken, references)


def load_model(config: EvalConfig) -> TTS:
    """The model of an evaluation. Raises InputError as `load`."""
    return load(
        config.model,
        device=config.device,
        speaker_conditioning=config.speaker_conditioning,
    )


def model_settings(config: EvalConfig) -> dict[str, Any]:
    """Everything that the speech of an evaluation depends on."""
    return {
        "manifest": str(config.manifest.resolve()),
        "model": f"{config.model} ({digest(model_folder(config.model))})",
        "seed": config.seed,
        "speaker_conditioning": config.speaker_conditioning,
        **config.sampling,
    }


def begin_results(folder: Path, settings: Mapping[str, Any], *, fresh: bool) -> None:
    """Start an evaluation in `folder`, or continue the one that is there.

    Args:
        folder: the output folder.
        settings: everything that its rows depend on.
        fresh: remove the rows that are there, except those of natural speech if the sentences are
            the same.

    Raises:
        InputError: the folder has rows of other settings, or its settings are damaged.
    """
    if fresh:
        path = folder / SETTINGS
        before = read_object(path, f"output '{folder}'") if path.is_file() else {}
        same = all(before.get(key) == settings.get(key) for key in ("manifest", "list", "data"))
        for rows in folder.glob("rows/*.jsonl"):
            if not (same and rows.stem.endswith(f"-{NATURAL}")):
                rows.unlink()
    else:
        check_settings(folder, settings, restart="--fresh")
    write_settings(folder, settings)


# -- evaluations of a model --------------------------------------------------------------------


def run_intelligibility(config: EvalConfig, tts: TTS | None = None) -> list[Metric]:
    """Word error rates and failures, with a bar plot."""
    outcome = synthesize_systems(config, tts)
    metrics, evaluators = [], outcome.evaluators
    for number, recognizer in enumerate(evaluators.judges.recognizers):
        judge, natural = (recognizer.description if number else None), None
        for system, items in outcome.spoken.items():
            if system == NATURAL:
                natural = evaluators.word_scores(system, items, config.output, recognizer)
            found = evaluators.intelligibility(system, items, config.output, natural, recognizer)
            metrics += as_metrics(system, found, judge)
            metrics += [] if number else as_metrics(system, success(items))
    plot_bars(metrics, ["WER", "success"], config.output / "intelligibility.png")
    return metrics


def run_similarity(config: EvalConfig, tts: TTS | None = None) -> list[Metric]:
    """Speaker similarity to the target voice and to the nearest other one."""
    outcome = synthesize_systems(config, tts)
    if not outcome.references:
        raise InputError(
            f"list '{config.manifest}': similarity needs recordings of the voices; "
            "give --natural MANIFEST",
            code="missing",
        )
    return _similarity(outcome.evaluators, outcome.spoken, config.output)


def _similarity(evaluators: Evaluators, spoken: Spoken, folder: Path) -> list[Metric]:
    return [
        metric
        for system, items in spoken.items()
        for metric in as_metrics(system, evaluators.similarity(system, items, folder))
    ]


def run_references(config: EvalConfig, lengths: str, tts: TTS | None = None) -> list[Metric]:
    """Speaker similarity of voices that are made of references of several lengths.

    Every voice is made anew, even if the model has it, from recordings of other sentences.

    Args:
        config: the evaluation.
        lengths: seconds of the references, separated by commas.
        tts: the model, if it is loaded.

    Raises:
        InputError: no voice can be made of a length, or there are no recordings.
    """
    seconds = [parse_seconds(part) for part in lengths.split(",")]
    tts = load_model(config) if tts is None else tts
    items = pick_items(config.manifest, config.split, config.voice_names, config.limit)
    names = sorted({item.voice for item in items})
    references = pick_references(config.manifest, names, items)
    metrics = []
    for length in seconds:
        part = replace(config, output=config.output / f"{length:g}s", systems="tts")
        settings = model_settings(part) | {"seconds": length}
        begin_results(part.output, settings, fresh=part.fresh)
        system = f"voice of {length:g} s"  # also in the names: the model's own voices differ
        targets, known = (
            [replace(row, voice=f"{row.voice}, {system}") for row in rows]
            for rows in (items, references)
        )
        cut = cut_references(known, length, part.output / "references")
        options = {"seed": part.seed, **part.sampling}
        spoken = {system: synthesize("tts", targets, tts, part.output, cut, **options)}
        metrics += _similarity(Outcome(part, spoken, known).evaluators, spoken, part.output)
    return metrics


def run_quality(config: EvalConfig, tts: TTS | None = None) -> list[Metric]:
    """STOI, PESQ-WB and mel distance of the resynthesis; opinion scores of all; spectrograms."""
    outcome = synthesize_systems(config, tts)
    metrics = []
    for system, items in outcome.spoken.items():
        if system == "resynthesis":
            found = outcome.evaluators.fidelity(system, items, config.output)
            metrics += as_metrics(system, found)
    for system, items in outcome.spoken.items():
        metrics += as_metrics(system, outcome.evaluators.opinion(system, items, config.output))
        if system != NATURAL:
            draw_pairs(items, config.output, system)
    return metrics


def draw_pairs(items: Sequence[SpokenItem], output: Path, system: str, count: int = 4) -> None:
    """Draw the spectrograms of `count` items beside natural speech, of different voices."""
    by_voice: dict[str, list[SpokenItem]] = {}
    for item in items:
        if item.natural is not None and not item.silent:
            by_voice.setdefault(item.voice, []).append(item)
    turns = [own[turn] for turn in range(count) for own in by_voice.values() if turn < len(own)]
    pairs = [
        (f"{item.voice}: {item.text}", item.natural, item.audio)
        for item in turns[:count]
        if item.natural is not None
    ]
    if pairs:
        plot_spectrograms(pairs, system, output / f"spectrograms-{system}.png")


def run_all(config: EvalConfig, against: str | None = None) -> dict[str, list[Metric]]:
    """Run every evaluation of a model on the splits that the manifest has.

    Args:
        config: the evaluation; its split is ignored.
        against: a next-token model, of which intelligibility and speed are measured too.

    Returns:
        The metrics by section.
    """
    from vocalmtp.bench.run import run_bench

    splits = {row.split for row in read_manifest(config.manifest)}
    tts = load_model(config)
    sections: dict[str, list[Metric]] = {}

    def part(split: str, folder: str | None = None, **changes: Any) -> EvalConfig:
        output = config.output / (folder or split)
        return replace(config, split=split, output=output, **changes)

    if "test" in splits:
        test = part("test")
        sections["Ordinary sentences (test)"] = run_intelligibility(test, tts)
        test = replace(test, fresh=False)  # the other metrics are of the same audio
        sections["Ordinary sentences (test)"] += run_similarity(test, tts)
        few = replace(test, limit=min(config.limit or MOS_ITEMS, MOS_ITEMS))
        sections[f"Quality (test, {few.limit} sentences of each voice)"] = run_quality(few, tts)
    if "rare" in splits:
        sections["Sentences with rare words (rare)"] = run_intelligibility(part("rare"), tts)
    if "heldout" in splits:
        limit = min(config.limit or HELD_OUT_ITEMS, HELD_OUT_ITEMS)
        held_out = run_similarity(part("heldout", limit=limit), tts)
        sections["Voices that were not trained, from one recording each (heldout)"] = held_out
    if against is not None and "test" in splits:
        twin = part("test", "next-token", model=against, systems="tts")
        metrics = run_intelligibility(twin)
        sections[f"The next-token model on ordinary sentences ({against})"] = metrics
    sections["Speed"] = run_bench(config.model, against, runtime={"device": config.device})
    return sections


# -- evaluation of a recognizer ----------------------------------------------------------------


def run_recognition(config: RecognitionConfig) -> list[Metric]:
    """Word error rates of a recognizer's streams on recordings, over all and for every voice.

    Raises:
        InputError: the recognizer or the recordings are missing, or the output folder has results
            of another recognizer.
    """
    judges = Judges(config.judge, config.device)
    items = pick_items(config.manifest, config.split, config.voice_names, config.limit)
    begin_results(config.output, {"recognizer": judges.spec("recognizer")}, fresh=config.fresh)
    return recognition_metrics(judges.recognizer, items, config.output)


def recognition_metrics(
    recognizer: Recognizer, items: Sequence[Utterance], output: Path
) -> list[Metric]:
    """Word error rates of a recognizer's streams on `items`; transcripts are kept in `output`."""
    rows = JsonlStore(output / "rows" / "recognition.jsonl")
    todo = [item for item in items if rows.get(item.id) is None]
    for item in track(todo, len(todo), "recognize"):
        stream = recognizer.open_stream()
        stream.push(read_audio(item.audio, SAMPLE_RATE))
        text = stream.text(settled=True)
        stream.close()
        rows.append({"id": item.id, "voice": item.voice, "text": item.text, "transcript": text})
    scores = {item.id: word_errors(item.text, rows.rows[item.id]["transcript"]) for item in items}
    metrics = [Metric("word error rate", "all", corpus_rate(list(scores.values())), "%", 1)]
    for voice in sorted({item.voice for item in items}):
        own = [scores[item.id] for item in items if item.voice == voice]
        metrics.append(Metric("word error rate", voice or "unnamed", corpus_rate(own), "%", 1))
    return metrics
