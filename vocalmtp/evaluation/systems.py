"""The systems that are compared on the same sentences, and their audio.

- natural: the recording of the manifest.
- resynthesis: the recording through the speech tokenizer, the ceiling of any speech LM over it.
- tts: the sentence spoken by the model in the same voice.

As a control of speaker similarity, resynthesis and tts can be decoded with the speaker vector of
the next voice: similarity to that voice is then due to the tokenizer's decoder, and similarity to
the original one is due to the codes.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vocalmtp.audio.io import Audio, read_audio
from vocalmtp.data.manifest import Utterance
from vocalmtp.evaluation.sentences import NO_AUDIO, SAMPLE_RATE
from vocalmtp.io.progress import track
from vocalmtp.io.run_folder import JsonlStore, Row
from vocalmtp.tokenizers import SpeechTokenizer
from vocalmtp.tts import TTS
from vocalmtp.voices import Voice, make_voice

SYSTEMS = NATURAL, RESYNTHESIS, SYNTHESIS = ("natural", "resynthesis", "tts")
SHORTEST, LONGEST = 0.6, 1.6  # of the natural duration: outside, an output was cut off or ran away
AUDIBLE = 1e-3  # peak, of full scale; audio that stays below it is empty
FAILURES = ("truncated", "empty", "cut off", "runaway")


@dataclass(frozen=True)
class SpokenItem:
    """One utterance of one system; `failure` is "" or one of FAILURES."""

    id: str
    audio: Path
    text: str
    voice: str
    seconds: float
    natural: Path | None  # the recording of the same sentence
    failure: str

    @property
    def silent(self) -> bool:
        """Whether nothing but the failure can be measured."""
        return self.failure == "empty" or not self.seconds


@dataclass(frozen=True)
class CodecOnly:
    """A tokenizer in place of a model, for resynthesis; without one, for natural speech alone.

    `timbres` are the speaker vectors [1, D_s] that utterances are decoded with, by voice; without
    one, an utterance is decoded with its own.
    """

    tokenizer: SpeechTokenizer | None = None
    timbres: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def sample_rate(self) -> int:
        """Samples per second of the audio."""
        return SAMPLE_RATE if self.tokenizer is None else self.tokenizer.spec.sample_rate

    def resynthesize(self, path: Path, voice: str) -> np.ndarray:
        """Encode and decode a recording of `voice`; samples [N] at the sample rate."""
        assert self.tokenizer is not None
        spec = self.tokenizer.spec
        samples = read_audio(path, spec.input_rate)
        length = round(len(samples) * spec.sample_rate / spec.input_rate)
        wav = torch.from_numpy(samples)[None].to(self.tokenizer.device)  # [1, N]
        with torch.inference_mode():
            codes = self.tokenizer.encode(wav)
            speaker = self.timbres.get(voice, codes.speaker)
            made = self.tokenizer.decode(codes.codes, speaker, codes.lengths)[0]
        resynthesis: np.ndarray = made[:length].float().cpu().numpy()
        return resynthesis


class SwappedTTS(TTS):
    """A model that generates codes in one voice and decodes them with the vector of the next one.

    Args:
        tts: the model.
        voices: the voices by name; the last one is decoded as the first.
    """

    def __init__(self, tts: TTS, voices: Mapping[str, Voice]):
        vars(self).update(vars(tts))
        self.replacements = {name: voices[other] for name, other in next_names(voices).items()}

    def decoder_speaker_vector(self, voice: Voice | None) -> Tensor | None:
        """The speaker vector of the next voice, [1, D_s]."""
        return super().decoder_speaker_vector(voice and self.replacements[voice.name])


def next_names(names: Iterable[str]) -> dict[str, str]:
    """Map every name to the one after it, in sorted order; the last one to the first."""
    names = sorted(names)
    return dict(zip(names, [*names[1:], *names[:1]], strict=True))


def swapped_codec(tokenizer: SpeechTokenizer, references: Sequence[Utterance]) -> CodecOnly:
    """A resynthesis that decodes every voice of `references` with the vector of the next one.

    Raises:
        InputError: a voice has no recording that a voice can be made of.
    """
    vectors: dict[str, Tensor] = {}
    for name in {row.voice for row in references}:
        voice = make_voice([r.audio for r in references if r.voice == name], tokenizer, name)
        vectors[name] = torch.from_numpy(voice.vector)[None].to(tokenizer.device)
    return CodecOnly(tokenizer, {name: vectors[o] for name, o in next_names(vectors).items()})


def synthesize(
    system: str,
    items: Sequence[Utterance],
    source: TTS | CodecOnly,
    folder: Path,
    references: Sequence[Utterance] = (),
    label: str | None = None,
    **options: Any,
) -> list[SpokenItem]:
    """Write the audio of a system's utterances to `folder`/audio; existing ones are kept.

    Args:
        system: which of SYSTEMS.
        items: the sentences, with their recordings.
        source: the model, or the tokenizer for resynthesis.
        folder: audio and rows are written here.
        references: recordings that voices are made of, see `voices_of`.
        label: name of the audio folder and the rows, if it is not that of the system.
        options: passed to `TTS.batch`, such as seed and temperature.

    Returns:
        One utterance for each item, in their order.
    """
    label = label or system
    rows = JsonlStore(folder / "rows" / f"audio-{label}.jsonl")
    todo = [item for item in items if rows.get(item.id) is None]
    for item, audio in track(_audio(system, todo, source, references, options), len(todo), label):
        path = item.audio
        if system != NATURAL:
            path = folder / "audio" / label / f"{item.id.replace('/', '_')}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            audio.save(path)
        rows.append(
            {
                "id": item.id,
                "audio": str(path),
                "seconds": audio.duration,
                "failure": _failure(item, audio),
            }
        )
    return [_spoken(rows.rows[item.id], item) for item in items]


def voices_of(
    items: Sequence[Utterance], tts: TTS, references: Sequence[Utterance] = ()
) -> dict[str, Voice | None]:
    """A voice for every voice name in `items`.

    It is the model's own voice, or made from the longest of the `references`, or of the items, of
    that name; else the name is looked up by `TTS.find_voice` ("" is the model's default voice). A
    tokenizer without a speaker vector has no voices: None for all.
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


def _audio(
    system: str,
    items: Sequence[Utterance],
    source: TTS | CodecOnly,
    references: Sequence[Utterance],
    options: dict[str, Any],
) -> Iterator[tuple[Utterance, Audio]]:
    if system == SYNTHESIS:
        assert isinstance(source, TTS)
        known = voices_of(items, source, references)
        voices = [known[item.voice] for item in items]
        made = source.batch([item.text for item in items], voice=voices, **options) if items else ()
        yield from zip(items, made, strict=True)
        return
    codec = source if isinstance(source, CodecOnly) else CodecOnly(source.tokenizer)
    for item in items:
        if system == RESYNTHESIS:
            samples = codec.resynthesize(item.audio, item.voice)
        else:
            samples = read_audio(item.audio, codec.sample_rate)
        yield item, Audio(samples, codec.sample_rate)


def _failure(item: Utterance, audio: Audio) -> str:
    natural = item.seconds or audio.duration
    if audio.truncated:
        return "truncated"
    if is_silent(audio):
        return "empty"
    if audio.duration < SHORTEST * natural:
        return "cut off"
    return "runaway" if audio.duration > LONGEST * natural else ""


def is_silent(audio: Audio) -> bool:
    """Whether no sample of `audio` is audible."""
    return not audio.duration or float(np.abs(audio.samples).max()) < AUDIBLE


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
