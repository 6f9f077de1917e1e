"""The measurements as the command line runs them: from a Request to report lines and pictures."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vocalmtp.bench.table import run_bench
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError, nearest
from vocalmtp.evaluation.config import EvalConfig
from vocalmtp.evaluation.items import LIST, NO_AUDIO, pick_items, pick_references
from vocalmtp.evaluation.measure import (
    Spoke,
    measure_intelligibility,
    measure_quality,
    measure_similarity,
)
from vocalmtp.evaluation.references import cut_references, parse_seconds
from vocalmtp.evaluation.report import Line, plot_bars, plot_spectrograms
from vocalmtp.evaluation.rows import check_settings
from vocalmtp.evaluation.systems import SYSTEMS, SpokenItem, speak
from vocalmtp.hub import model_folder
from vocalmtp.tts import TTS, load

REFERENCES = 8  # recordings that stand for a voice
FEW = 20  # sentences of each voice for DNSMOS, which takes two seconds for each


@dataclass(frozen=True)
class Outcome:
    """What all systems said of one request, and recordings that stand for the voices."""

    spoke: Spoke
    references: list[Utterance]


def speak_request(request: EvalConfig, tts: TTS | None = None) -> Outcome:
    """The audio of every system, made now or found in the output folder.

    Raises:
        InputError: a wrong option, nothing to evaluate, or a folder of other settings.
    """
    systems = [name for name in request.systems.split(",") if name]
    for name in systems:
        if name not in SYSTEMS:
            raise InputError(
                f"system '{name}': unknown; {nearest(name, SYSTEMS)}", code="unknown_name"
            )
    items = pick_items(
        request.manifest, request.split, request.voice_names, request.limit, request.natural
    )
    recordings = request.natural if request.manifest.suffix == LIST else request.manifest
    if any(item.audio == NO_AUDIO for item in items) and systems != ["tts"]:
        raise InputError(
            f"systems '{request.systems}': the list '{request.manifest}' has no recordings; "
            "give --natural MANIFEST, or --systems tts",
            code="empty",
        )
    tts = load_asked(request) if tts is None else tts
    check_settings(request.output, _settings(request), fresh=request.fresh)
    references: list[Utterance] = []
    if recordings is not None:
        names = {item.voice for item in items} | set(tts.voices)
        references = pick_references(recordings, sorted(names), items)
    options = {"seed": request.seed, **request.sampling}
    spoke = {
        name: speak(name, items, tts, request.output, references, **options)
        for name in SYSTEMS
        if name in systems
    }
    return Outcome(spoke, references)


def load_asked(request: EvalConfig) -> TTS:
    """The model of `request`, with its voice told as it asks. Raises InputError as `load`."""
    return load(request.model, speaker_conditioning=request.speaker_conditioning)


def _settings(request: EvalConfig) -> dict[str, object]:
    """What the rows of an output folder depend on."""
    digest = hashlib.sha256()
    for path in sorted(model_folder(request.model).rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return {
        "manifest": str(request.manifest.resolve()),
        "model": request.model,
        "weights": digest.hexdigest()[:12],
        "seed": request.seed,
        **(
            {}
            if request.speaker_conditioning == "both"
            else {"speaker_conditioning": request.speaker_conditioning}
        ),
        **request.sampling,
    }


def run_intelligibility(request: EvalConfig, tts: TTS | None = None) -> list[Line]:
    """Word error rates and failures, with a picture of bars."""
    outcome = speak_request(request, tts)
    lines = measure_intelligibility(outcome.spoke, request.output, request.processes)
    plot_bars(lines, ["WER", "failed"], request.output / "intelligibility.png")
    return lines


def run_similarity(request: EvalConfig, tts: TTS | None = None) -> list[Line]:
    """Similarity to the asked voice and to the nearest other one."""
    outcome = speak_request(request, tts)
    if not outcome.references:
        raise InputError(
            f"list '{request.manifest}': similarity needs recordings of the voices; "
            "give --natural MANIFEST",
            code="missing",
        )
    return measure_similarity(outcome.spoke, outcome.references, request.output)


def run_references(request: EvalConfig, lengths: str, tts: TTS | None = None) -> list[Line]:
    """Similarity of voices made from so many seconds of recordings: `lengths`, with commas.

    Every voice is made anew, whether or not the model has it, of recordings that are not among the
    sentences. Raises InputError for a length that makes no voice, or if there are no recordings.
    """
    seconds = [parse_seconds(part) for part in lengths.split(",")]
    tts = load_asked(request) if tts is None else tts
    items = pick_items(request.manifest, request.split, request.voice_names, request.limit)
    names = sorted({item.voice for item in items})
    references = pick_references(request.manifest, names, items, REFERENCES)
    lines = []
    for length in seconds:
        part = replace(request, output=request.output / f"{length:g}s", systems="tts")
        check_settings(part.output, _settings(part) | {"seconds": length}, fresh=part.fresh)
        system = f"voice of {length:g} s"  # in the names too: the model's own are not these
        said, known = (
            [replace(row, voice=f"{row.voice}, {system}") for row in rows]
            for rows in (items, references)
        )
        cut = cut_references(known, length, part.output / "references")
        options = {"seed": part.seed, **part.sampling}
        spoke = {system: speak("tts", said, tts, part.output, cut, **options)}
        lines += measure_similarity(spoke, known, part.output)
    return lines


def run_quality(request: EvalConfig, tts: TTS | None = None) -> list[Line]:
    """STOI, PESQ-WB and DNSMOS, with spectrograms of ours beside natural."""
    outcome = speak_request(request, tts)
    for system, items in outcome.spoke.items():
        if system != "natural":
            draw_pairs([item for item in items if item.natural], request.output, system)
    return measure_quality(outcome.spoke, request.output)


def draw_pairs(items: Sequence[SpokenItem], output: Path, system: str, count: int = 4) -> None:
    """Spectrograms of `count` items, of different voices as far as there are."""
    by_voice: dict[str, list[SpokenItem]] = {}
    for item in items:
        by_voice.setdefault(item.voice, []).append(item)
    turns = [row[turn] for turn in range(count) for row in by_voice.values() if turn < len(row)]
    pairs = [(f"{i.voice}: {i.text}", i.natural, i.audio) for i in turns[:count] if not i.silent]
    if pairs:
        plot_spectrograms(pairs, output / f"spectrograms-{system}.png")


def run_all(request: EvalConfig, against: str | None = None) -> dict[str, list[Line]]:
    """Every figure of a model, by section; the splits that the manifest does not have are left out.

    `against` is the next-token twin: it is heard on the test sentences and timed beside the model.
    """
    splits = {row.split for row in read_manifest(request.manifest)}
    tts = load_asked(request)
    sections: dict[str, list[Line]] = {}

    def part(split: str, folder: str | None = None, **changes: object) -> EvalConfig:
        output = request.output / (folder or split)
        return replace(request, split=split, output=output, **changes)

    if "test" in splits:
        test = part("test")
        sections["Ordinary sentences (test)"] = run_intelligibility(test, tts)
        test = replace(test, fresh=False)  # the others are measured on the same audio
        sections["Ordinary sentences (test)"] += run_similarity(test, tts)
        few = replace(test, limit=min(request.limit or FEW, FEW))
        sections[f"Sound (test, {few.limit} sentences of each voice)"] = run_quality(few, tts)
    if "rare" in splits:
        sections["Sentences with rare words (rare)"] = run_intelligibility(part("rare"), tts)
    if "heldout" in splits:
        held = part("heldout", limit=min(request.limit or 40, 40))
        sections["Voices never trained, each by one recording (heldout)"] = run_similarity(
            held, tts
        )
    if against is not None and "test" in splits:
        twin = part("test", "twin", model=against, systems="tts")
        lines = run_intelligibility(twin)
        sections[f"The next-token twin on ordinary sentences ({against})"] = lines
    sections["Speed"] = run_bench(request.model, against)
    return sections
