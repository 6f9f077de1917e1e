"""The systems that are compared on the same sentences: natural speech, its resynthesis, and ours.

natural: the recording of the manifest. resynthesis: the same through the speech tokenizer, which is
the ceiling of any speech LM over it. tts: the sentence spoken by the model in the same voice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from vocalmtp.audio import Audio, read_audio
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.errors import InputError
from vocalmtp.eval.rows import Row, RowFile, progress
from vocalmtp.synthesis import TTS
from vocalmtp.voices import Voice, make_voice

System = Literal["natural", "resynthesis", "tts"]
SYSTEMS: tuple[System, ...] = ("natural", "resynthesis", "tts")
SHORTEST, LONGEST = 0.6, 1.6  # of the natural duration: outside, an output was cut off or ran away


@dataclass(frozen=True)
class Spoken:
    """One utterance of one system."""

    id: str
    audio: Path
    text: str
    voice: str
    seconds: float
    natural: Path  # the recording of the same sentence
    failure: str  # "", "truncated", "empty", "cut off" or "runaway"


def pick_items(
    manifest: Path | str, split: str, voices: Sequence[str] = (), limit: int | None = None
) -> list[Utterance]:
    """Rows of `split`; only these `voices` if given, and the first `limit` sentences of each voice.

    Raises InputError if none is left.
    """
    chosen: list[Utterance] = []
    taken: dict[str, int] = {}
    for row in read_manifest(manifest, split):
        if voices and row.voice not in voices:
            continue
        taken[row.voice] = taken.get(row.voice, 0) + 1
        if limit is None or taken[row.voice] <= limit:
            chosen.append(row)
    if not chosen:
        raise InputError(f"voices '{', '.join(voices)}': no rows of split '{split}' have them")
    return chosen


def speak(
    system: System, items: Sequence[Utterance], tts: TTS, folder: Path, **sampling: Any
) -> list[Spoken]:
    """Make `system`'s audio of every item in `folder`/audio; what is there already is kept."""
    rows = RowFile(folder / "rows" / f"audio-{system}.jsonl")
    todo = [item for item in items if rows.get(item.id) is None]
    for item, audio in progress(_make(system, todo, tts, sampling), len(todo), system):
        path = item.audio
        if system != "natural":
            path = folder / "audio" / system / f"{item.id.replace('/', '_')}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.save(path)
        rows.append(_row(item, audio, path))
    return [_spoken(rows.get(item.id), item) for item in items]


def _make(
    system: System, items: list[Utterance], tts: TTS, sampling: dict[str, Any]
) -> Iterator[tuple[Utterance, Audio]]:
    rate = tts.sample_rate
    if system == "tts":
        known = voices_of(items, tts)
        voices = [known[item.voice] for item in items]
        made = tts.batch([item.text for item in items], voice=voices, **sampling) if items else ()
        yield from zip(items, made, strict=True)
        return
    for item in items:
        samples = read_audio(item.audio, rate)
        if system == "resynthesis":
            codes = tts.tokenizer.encode(torch.from_numpy(samples)[None])
            wav = tts.tokenizer.decode(codes.codes, codes.speaker, codes.lengths)[0]
            samples = wav[: len(samples)].numpy()
        yield item, Audio(samples, rate)


def voices_of(items: Sequence[Utterance], tts: TTS) -> dict[str, Voice]:
    """A voice for every name in `items`: built in, or made from the longest recording of it."""
    longest: dict[str, Utterance] = {}
    for item in items:
        best = longest.get(item.voice)
        if best is None or item.seconds > best.seconds:
            longest[item.voice] = item
    return {
        name: tts.voices.get(name) or make_voice(item.audio, tts.tokenizer, name=name)
        for name, item in longest.items()
    }


def pick_references(
    manifest: Path | str, voices: Sequence[str], items: Sequence[Utterance], limit: int = 8
) -> list[Utterance]:
    """Recordings that stand for `voices`: training ones, or those of `items` if there are none."""
    trained = [
        row for row in read_manifest(manifest) if row.split == "train" and row.voice in voices
    ]
    seen = {row.voice for row in trained}
    rows = trained + [item for item in items if item.voice not in seen]
    taken: dict[str, list[Utterance]] = {}
    for row in rows:
        taken.setdefault(row.voice, []).append(row)
    return [row for name in sorted(taken) for row in taken[name][:limit]]


def _row(item: Utterance, audio: Audio, path: Path) -> Row:
    natural = item.seconds or audio.duration
    failure = ""
    if audio.truncated:
        failure = "truncated"
    elif not audio.duration or abs(audio.samples).max() < 1e-3:
        failure = "empty"
    elif audio.duration < SHORTEST * natural:
        failure = "cut off"
    elif audio.duration > LONGEST * natural:
        failure = "runaway"
    return {"id": item.id, "audio": str(path), "seconds": audio.duration, "failure": failure}


def _spoken(row: Row, item: Utterance) -> Spoken:
    return Spoken(
        id=item.id,
        audio=Path(row["audio"]),
        text=item.text,
        voice=item.voice,
        seconds=row["seconds"],
        natural=item.audio,
        failure=row["failure"],
    )
