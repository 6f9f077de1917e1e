"""Kokoro-82M in int8: natural voices from style vectors, and as many more as their mixtures.

Weights by ``vocalmtp get kokoro-82m``, Apache-2.0. The packs are
those of Japanese voices; the network is multilingual and speaks English from English phonemes. A
style is one row of 256 values a number of tokens, and a weighted sum of packs is a new voice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import yaml

from teachers import Speech, TeacherMissing, weights_folder
from teachers.graphs import open_session
from teachers.phonemes import INSTALL, Phonemizer, timed_speech

DURATIONS = "/encoder/Cast_output_0"  # of the graph of this card
CROWD = "crowd"
CROWD_SHARE = 0.15  # of the training items
APART = 0.45  # least distance of the crowd's weights from those of a held-out voice


@dataclass(frozen=True)
class KokoroVoice:
    """A mixture of style packs: see ``kokoro.yaml``."""

    name: str
    gender: str
    mix: Mapping[str, float]
    share: float = 1.0
    fields: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if abs(sum(self.mix.values()) - 1.0) > 1e-6:
            raise ValueError(f"voice {self.name}: the weights of mix do not sum to 1")


class KokoroTeacher:
    """See ``teachers.Teacher``."""

    name = "kokoro"
    lexicon = "misaki"

    def __init__(self) -> None:
        folder = weights_folder("kokoro-82m")
        self._session = open_session((folder / "kokoro.onnx").read_bytes(), DURATIONS, exact=True)
        with np.load(folder / "voices.npz") as styles:
            self._packs = {name: styles[name][:, 0].astype(np.float32) for name in styles.files}
        self._phonemizer = Phonemizer(
            json.loads((folder / "vocab.json").read_text("utf-8"))["vocab"]
        )
        self.pronounce = self._phonemizer.pronounce
        table = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
        self.main_voices = tuple(table["main"])
        self.voices = {
            name: KokoroVoice(name=name, **fields) for name, fields in table["voices"].items()
        }

    def draw(self, random: Random) -> KokoroVoice:
        """One of the crowd, or a named voice by its share."""
        if random.random() < CROWD_SHARE:
            return self._stranger(random)
        named = list(self.voices.values())
        return random.choices(named, weights=[voice.share for voice in named])[0]

    def _stranger(self, random: Random) -> KokoroVoice:
        """A random mixture of two or three packs that is apart from every held-out voice."""
        heldout = [self._weights(voice.mix) for voice in self.voices.values() if not voice.share]
        while True:
            packs = random.sample(sorted(self._packs), random.choice((2, 2, 3)))
            drawn = [random.expovariate(1.0) for _ in packs]
            mix = {p: round(w / sum(drawn), 2) for p, w in zip(packs, drawn, strict=True)}
            mix[packs[0]] = round(mix[packs[0]] + 1.0 - sum(mix.values()), 2)
            weights = self._weights(mix)
            if all(np.linalg.norm(weights - other) >= APART for other in heldout):
                return KokoroVoice(CROWD, "", mix, fields={"mix": mix})

    def _weights(self, mix: Mapping[str, float]) -> np.ndarray:
        """The weights of all packs in order, shape [packs]."""
        return np.array([mix.get(name, 0.0) for name in sorted(self._packs)])

    def speak(self, text: str, voice: KokoroVoice, speed: float = 1.0) -> Speech:
        """Read a text. Raises ``Misread``."""
        reading = self._phonemizer.read(text)
        ids = self._phonemizer.ids(reading)
        row = min(ids.shape[1] - 2, len(next(iter(self._packs.values())))) - 1
        style = sum(weight * self._packs[pack][row] for pack, weight in voice.mix.items())
        feeds = {
            "tokens": ids,
            "style": np.asarray(style, np.float32)[None],
            "speed": np.array([speed], np.float32),
        }
        samples, durations = self._session.run(None, feeds)
        return timed_speech(samples.ravel(), reading, durations)


def load() -> KokoroTeacher:
    """Load the teacher. Raises ``TeacherMissing``."""
    try:
        import hibari  # noqa: F401 (for its phonemes)
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise TeacherMissing(f"{error.name!r} is not installed; run: {INSTALL}") from error
    return KokoroTeacher()
