"""What is to be said: a text as the caller asks for it, and a sentence as it is decoded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.errors import InputError
from vocalmtp.models.prompts import Segment
from vocalmtp.roles import Role
from vocalmtp.text import normalize, split_sentences
from vocalmtp.voices import Voice

PAUSES = {".": 0.25, "?": 0.25, "!": 0.25}  # seconds of silence after a sentence, by its last sign
SHORT_PAUSE = 0.1  # after a piece of a sentence that was too long to say at once
LONGEST = 400  # letters of a sentence: it is cut at 200, unless it has a word that long

AnyVoice = Voice | Role | Path | str | None


@dataclass(frozen=True, kw_only=True)
class SynthesisRequest:
    """One text to say, as the arguments of the call.

    As an answer it has the `context` of its question, see respond.py.
    """

    text: str
    voice: AnyVoice = None
    seed: int = 0
    sampling: dict[str, Any] = field(default_factory=dict)
    context: tuple[Segment, ...] = ()


@dataclass(frozen=True)
class SentenceRequest:
    """One sentence to say: normalised text, the voice, and how its noise is drawn."""

    text: str
    voice: Voice | None
    seed: int
    sampler: Sampler
    pause: float = 0.0  # seconds of silence after it
    context: tuple[Segment, ...] = ()


def sentences_of(text: str) -> list[tuple[str, float]]:
    """The sentences of a text, normalised, and the seconds of silence after each.

    Raises InputError for what cannot be said.
    """
    sentences = split_sentences(normalize(text))
    for sentence in sentences:
        if len(sentence) > LONGEST:
            raise InputError(
                f"text '{sentence[:37]}...': has a word of some {len(sentence)} letters; "
                "put spaces into it",
                code="invalid_value",
            )
    pauses = [PAUSES.get(sentence[-1], SHORT_PAUSE) for sentence in sentences[:-1]]
    return list(zip(sentences, [*pauses, 0.0], strict=True))
