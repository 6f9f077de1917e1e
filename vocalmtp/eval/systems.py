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
    natural: Path | None  # the recording of the same sentence
    failure: str  # "", "truncated", "empty", "cut off" or "runaway"

    @property
    def silent(self) -> bool:
        """Whether there is nothing to hear, so that nothing but the failure can be measured."""
        return self.failure == "empty" or not self.seconds


def speak(
    system: System,
    items: Sequence[Utterance],
    tts: TTS,
    folder: Path,
    references: Sequence[Utterance] = (),
    **options: Any,
) -> list[Spoken]:
    """Make `system`'s audio of every item in `folder`/audio; what is there already is kept.

    A voice that the model does not have is made from the longest of its `references`. `options`
    (seed, temperature, ...) go to `TTS.batch`.
    """
    rows = RowFile(folder / "rows" / f"audio-{system}.jsonl")
    todo = [item for item in items if rows.get(item.id) is None]
    made = _make(system, todo, tts, references, options)
    for item, audio in progress(made, len(todo), system):
        path = item.audio
        if system != "natural":
            path = folder / "audio" / system / f"{item.id.replace('/', '_')}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.save(path)
        rows.append(_row(item, audio, path))
    return [_spoken(rows.get(item.id), item) for item in items]


def asked_voices(
    items: Sequence[Utterance], tts: TTS, references: Sequence[Utterance]
) -> dict[str, Voice | str | None]:
    """What to ask `tts` for, by the voices of `items`; its default voice for those without one."""
    voices: dict[str, Voice | str | None] = {"": None}
    for name in sorted({item.voice for item in items} - {""}):
        recordings = [row for row in references if row.voice == name]
        if name in tts.voices or not recordings:
            voices[name] = name
        else:
            longest = max(recordings, key=lambda row: row.seconds)
            voices[name] = make_voice(longest.audio, tts.tokenizer, name)
    return voices


def _make(
    system: System,
    items: list[Utterance],
    tts: TTS,
    references: Sequence[Utterance],
    options: dict[str, Any],
) -> Iterator[tuple[Utterance, Audio]]:
    rate = tts.sample_rate
    if system == "tts":
        names = asked_voices(items, tts, references)
        voices = [names[item.voice] for item in items]
        made = tts.batch([item.text for item in items], voice=voices, **options) if items else ()
        yield from zip(items, made, strict=True)
        return
    for item in items:
        samples = read_audio(item.audio, rate)
        if system == "resynthesis":
            codes = tts.tokenizer.encode(torch.from_numpy(samples)[None])
            wav = tts.tokenizer.decode(codes.codes, codes.speaker, codes.lengths)[0]
            samples = wav[: len(samples)].numpy()
        yield item, Audio(samples, rate)


def _row(item: Utterance, audio: Audio, path: Path) -> Row:
    natural = item.seconds or audio.duration
    failure = ""
    if audio.truncated:
        failure = "truncated"
    elif not audio.duration or abs(audio.samples).max() < AUDIBLE:
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
        natural=None if item.audio == NO_AUDIO else item.audio,
        failure=row["failure"],
    )
