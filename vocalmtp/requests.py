"""What is to be said: a text as the caller asks for it, and a sentence as it is decoded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vocalmtp.decoding.sampling import Sampler
from vocalmtp.roles import Role
from vocalmtp.voices import Voice

AnyVoice = Voice | Role | Path | str | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """One text to say, as the arguments of the call."""

    text: str
    voice: AnyVoice = None
    seed: int = 0
    sampling: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Utterance:
    """One sentence to say: normalised text, the voice, and how its noise is drawn."""

    text: str
    voice: Voice | None
    seed: int
    sampler: Sampler
    pause: float = 0.0  # seconds of silence after it
