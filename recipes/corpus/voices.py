"""Voices: the named ones of ``voices.yaml`` and the crowd, drawn by a hash of seed and item."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import soxr
import yaml

import flite

CROWD = "crowd"
CROWD_SHARE = 0.25  # of the training items
_CROWD_BASES = ("slt", "rms", "awb")
# The warps that the crowd never has, so that no neighbour of the held-out voice `iris` is trained.
_AVOIDED = {"awb": (1.14, 1.25)}


@dataclass(frozen=True)
class Voice:
    """A flite voice remade: see ``voices.yaml`` for the meaning and ranges of the fields."""

    name: str
    base: str
    warp: float = 1.0
    pitch: float = 1.0
    rate: float = 1.0
    share: float = 0.0
    origin: str = ""

    def __post_init__(self) -> None:
        if self.base not in flite.VOICES:
            raise ValueError(
                f"voice {self.name}: no base {self.base!r}; choose from {flite.VOICES}"
            )
        if not 0.8 <= self.warp <= 1.25:
            raise ValueError(f"voice {self.name}: warp {self.warp} is not within 0.80..1.25")
        if self.base in ("rms", "kal16") and self.pitch != self.warp:
            raise ValueError(f"voice {self.name}: {self.base} takes no pitch other than its warp")

    def speak(self, text: str) -> flite.Speech:
        """Synthesize ``text``; the times are those of the warped samples.

        The samples are taken as ``16000 * warp`` a second and resampled to 16000: formants and
        fundamental rise by ``warp`` and all times shrink by it, which flite's own duration and
        pitch settings undo beforehand as far as the voice asks.
        """
        stretch = self.warp / self.rate
        speech = flite.synthesize(text, self.base, pitch=self.pitch / self.warp, stretch=stretch)
        if self.warp == 1.0:
            return speech
        samples = soxr.resample(speech.samples, flite.RATE * self.warp, flite.RATE)
        ends = [end / self.warp for end in speech.ends]
        return flite.Speech(
            samples.astype(np.int16), speech.phones, ends, speech.words, speech.tokens
        )


def load(path: Path | None = None) -> dict[str, Voice]:
    """The named voices by name, from ``voices.yaml`` beside this file unless told otherwise."""
    path = path or Path(__file__).with_name("voices.yaml")
    table = yaml.safe_load(path.read_text("utf-8"))
    return {name: Voice(name=name, **fields) for name, fields in table.items()}


def random_for(seed: int, item: str) -> Random:
    """A generator that depends on the seed and the item alone, not on order or process."""
    digest = hashlib.sha256(f"{seed}/{item}".encode()).digest()
    return Random(int.from_bytes(digest[:8], "big"))


def draw(voices: dict[str, Voice], seed: int, item: str) -> Voice:
    """The voice of a training item: one of the crowd, or a named one by its share."""
    random = random_for(seed, item)
    if random.random() < CROWD_SHARE:
        return _stranger(random)
    named = list(voices.values())
    return random.choices(named, weights=[voice.share for voice in named])[0]


def _stranger(random: Random) -> Voice:
    """A random voice of the crowd."""
    base = random.choice(_CROWD_BASES)
    low, high = _AVOIDED.get(base, (9.0, 9.0))
    while low <= (warp := round(random.uniform(0.80, 1.25), 3)) <= high:
        pass
    # Around the warp, because a smaller speaker has a higher voice; slt is a woman, awb a man.
    spread = random.uniform(0.65, 1.3) if base == "slt" else random.uniform(0.75, 1.6)
    pitch = warp if base == "rms" else round(warp * spread, 3)
    return Voice(CROWD, base, warp, pitch, rate=round(random.uniform(0.85, 1.18), 3))
