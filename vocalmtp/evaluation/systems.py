"""The systems that are compared on the same sentences: natural speech, its resynthesis, and ours.

natural: the recording of the manifest. resynthesis: the same through the speech tokenizer, which is
the ceiling of any speech LM over it. tts: the sentence spoken by the model in the same voice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.data.manifest import Utterance
from vocalmtp.evaluation.items import NO_AUDIO
from vocalmtp.evaluation.rows import progress
from vocalmtp.io.run_folder import JsonlStore, Row
from vocalmtp.tokenizers import SpeechTokenizer
from vocalmtp.tts import TTS
from vocalmtp.voices import Voice, make_voice

System = Literal["natural", "resynthesis", "tts"]
SYSTEMS: tuple[System, ...] = ("natural", "resynthesis", "tts")
SHORTEST, LONGEST = 0.6, 1.6  # of the natural duration: outside, an output was cut off or ran away
AUDIBLE = 1e-3  # peak of full scale; what stays below it is empty


@dataclass(frozen=True)
class SpokenItem:
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


@dataclass(frozen=True)
class CodecOnly:
    """A tokenizer in the place of a model: enough for resynthesis, and without for natural."""

    tokenizer: SpeechTokenizer | None = None

    @property
    def sample_rate(self) -> int:
        return 16_000 if self.tokenizer is None else self.tokenizer.spec.sample_rate


def speak(
    system: System,
    items: Sequence[Utterance],
    tts: TTS | CodecOnly,
    folder: Path,
    references: Sequence[Utterance] = (),
    **options: Any,
) -> list[SpokenItem]:
    """Make `system`'s audio of every item in `folder`/audio; what is there already is kept.

    See `voices_of` for who speaks. `options` (seed, temperature, ...) go to `TTS.batch`.
    """
    rows = JsonlStore(folder / "rows" / f"audio-{system}.jsonl")
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


def voices_of(
    items: Sequence[Utterance], tts: TTS, references: Sequence[Utterance] = ()
) -> dict[str, Voice | None]:
    """A voice for every name in `items`.

    It is the model's own, or made from the longest of the `references`, or of the items, that have
    that name; else the name is what `TTS.find_voice` takes ("": the model's default voice). A
    tokenizer without a timbre vector knows no voices: None for all.
    """
    if not tts.tokenizer.spec.speaker_dim:
        return dict.fromkeys(item.voice for item in items)
    recorded = [row for row in items if row.audio != NO_AUDIO]
    voices: dict[str, Voice | None] = {}
    for name in {item.voice for item in items}:
        rows = [row for row in references if row.voice == name]
        rows = rows or [row for row in recorded if row.voice == name]
        if name in tts.voices or not rows or not name:
            voices[name] = tts.find_voice(name or None)
        else:
            longest = max(rows, key=lambda row: row.seconds)
            voices[name] = make_voice(longest.audio, tts.tokenizer, name)
    return voices


def _make(
    system: System,
    items: list[Utterance],
    tts: TTS | CodecOnly,
    references: Sequence[Utterance],
    options: dict[str, Any],
) -> Iterator[tuple[Utterance, Audio]]:
    rate = tts.sample_rate
    if system == "tts":
        known = voices_of(items, tts, references)
        voices = [known[item.voice] for item in items]
        made = tts.batch([item.text for item in items], voice=voices, **options) if items else ()
        yield from zip(items, made, strict=True)
        return
    for item in items:
        if system != "resynthesis":
            yield item, Audio(read_audio(item.audio, rate), rate)
            continue
        tokenizer, spec = tts.tokenizer, tts.tokenizer.spec
        samples = read_audio(item.audio, spec.input_rate)
        codes = tokenizer.encode(torch.from_numpy(samples)[None])
        wav = tokenizer.decode(codes.codes, codes.speaker, codes.lengths)[0]
        length = round(len(samples) * rate / spec.input_rate)
        yield item, Audio(wav[:length].cpu().numpy(), rate)


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


def _spoken(row: Row, item: Utterance) -> SpokenItem:
    return SpokenItem(
        id=item.id,
        audio=Path(row["audio"]),
        text=item.text,
        voice=item.voice,
        seconds=row["seconds"],
        natural=None if item.audio == NO_AUDIO else item.audio,
        failure=row["failure"],
    )
