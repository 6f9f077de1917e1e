"""The control of similarity: what is said in one voice, decoded with the timbre of the next."""

from collections.abc import Iterable

from torch import Tensor

from vocalmtp.tts import TTS
from vocalmtp.voices import Voice


class SwappedTTS(TTS):
    """Speaks in a voice, and decodes with the vector of the voice that comes after it."""

    def __init__(self, tts: TTS, voices: dict[str, Voice]):
        super().__init__(
            tts.model,
            tts.tokenizer,
            tts.voices,
            tts.card,
            tts.encode_text,
            decoding=tts.decoding,
            decode_text=tts.decode_text,
        )
        self.instead = {name: voices[other] for name, other in next_names(voices).items()}

    def decoder_speaker_vector(self, voice: Voice | None) -> Tensor | None:
        return super().decoder_speaker_vector(voice and self.instead[voice.name])


def next_names(names: Iterable[str]) -> dict[str, str]:
    """For every name the one after it, in a circle."""
    names = sorted(names)
    return dict(zip(names, [*names[1:], *names[:1]], strict=True))
