"""Teachers: text-to-speech systems that read the corpus, one file each.

A teacher is a module of this package with a function ``load() -> Teacher``. It raises
``TeacherMissing`` with the installation command when its package or its weights are not there.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np

from vocalmtp.fetch.cards import fetched_folder

RATE = 24_000  # samples a second of every teacher's speech
PAUSE = "pau"  # the phone of silence
NAMES = ("hibari", "kokoro", "flite")


class TeacherMissing(RuntimeError):
    """A package or the weights of the teacher are missing."""


class Misread(ValueError):
    """The teacher reads other words than the text has, or a spelling has no alignment."""


@dataclass(frozen=True)
class Word:
    """One spoken word: the places of its letters in the text and its phones ``[first, last)``."""

    places: tuple[int, ...]
    first: int
    last: int


@dataclass(frozen=True)
class Speech:
    """One spoken text.

    Attributes:
        samples: float32 at 24 kHz, mono, shape [samples].
        phones: Names in the phone set of CMUdict (lower case), pauses as ``pau``; empty when the
            teacher has no timings.
        ends: End time of every phone in seconds.
        words: Spoken words in order.
    """

    samples: np.ndarray
    phones: tuple[str, ...] = ()
    ends: tuple[float, ...] = ()
    words: tuple[Word, ...] = ()


class Voice(Protocol):
    """A voice of one teacher."""

    @property
    def name(self) -> str:
        """Name in the manifest; ``crowd`` for a voice that speaks one item only."""

    @property
    def share(self) -> float:
        """Relative share of the training items; 0 for a held-out voice."""

    @property
    def fields(self) -> Mapping[str, object]:
        """Further manifest fields that tell voices of one name apart; empty for named ones."""


class Teacher(Protocol):
    """A text-to-speech system that reads the corpus."""

    name: str
    lexicon: str  # pronunciation conventions; teachers of one lexicon share the letter alignment
    voices: Mapping[str, Voice]
    main_voices: tuple[str, ...]  # voices that read the test lists in full

    def draw(self, random: Random) -> Voice:
        """Draw the voice of a training item: a named one by its share, or one of the crowd."""

    def speak(self, text: str, voice: Voice, speed: float = 1.0) -> Speech:
        """Read a text in normal form (``normalise.py``). Raises ``Misread``."""

    def pronounce(self, text: str) -> list[tuple[str, tuple[str, ...]]]:
        """Pairs of spelling and phones of every word, without audio. Raises ``Misread``."""


def load_teacher(name: str) -> Teacher:
    """Load a teacher by its module's name. Raises ``TeacherMissing``."""
    if name not in NAMES:
        raise TeacherMissing(f"no teacher {name!r}; choose from {', '.join(NAMES)}")
    return importlib.import_module(f"teachers.{name}").load()


def weights_folder(name: str) -> Path:
    """The folder of a model that ``vocalmtp get`` has fetched. Raises ``TeacherMissing``."""
    folder = fetched_folder(name)
    if folder is None:
        raise TeacherMissing(f"the weights of {name!r} are not here; run: vocalmtp get {name}")
    return folder


def random_for(seed: int, item: str) -> Random:
    """A generator that depends on the seed and the item alone, not on order or process."""
    digest = hashlib.sha256(f"{seed}/{item}".encode()).digest()
    return Random(int.from_bytes(digest[:8], "big"))
