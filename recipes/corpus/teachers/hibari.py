"""hibari "heart": a network of 6 M parameters distilled from Kokoro-82M, American English, a woman.

Package ``hibari-tts``, Apache-2.0. Its graph has the durations as an inner value, which is made an
output here, so that phone times cost nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

import numpy as np

from teachers import Speech, TeacherMissing, weights_folder
from teachers.graphs import open_session
from teachers.phonemes import INSTALL, Phonemizer, timed_speech

DURATIONS = "/Cast_32_output_0"  # of the graph of this card


@dataclass(frozen=True)
class HibariVoice:
    """The one voice of the package."""

    name: str
    gender: str
    share: float = 1.0
    fields: Mapping[str, object] = field(default_factory=dict)


class HibariTeacher:
    """See ``teachers.Teacher``."""

    name = "hibari"
    lexicon = "misaki"
    main_voices = ("heart",)

    def __init__(self) -> None:
        folder = weights_folder("hibari-heart")
        self._session = open_session((folder / "hibari.onnx").read_bytes(), DURATIONS)
        vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
        self._phonemizer = Phonemizer(vocabulary)
        self.pronounce = self._phonemizer.pronounce
        self.voices = {"heart": HibariVoice("heart", "woman")}

    def draw(self, random: Random) -> HibariVoice:
        """The only voice."""
        return self.voices["heart"]

    def speak(self, text: str, voice: HibariVoice, speed: float = 1.0) -> Speech:
        """Read a text; the noise of unvoiced sounds depends on the text alone."""
        from hibari import dsp

        reading = self._phonemizer.read(text)
        feeds = {"ids": self._phonemizer.ids(reading), "speed": np.array([speed], np.float32)}
        *spectra, durations = self._session.run(None, feeds)
        noise = np.random.default_rng(zlib.crc32(text.encode()))
        samples = dsp.synth(*(spectrum[0] for spectrum in spectra), noise)
        return timed_speech(samples, reading, durations)


def load() -> HibariTeacher:
    """Load the teacher. Raises ``TeacherMissing``."""
    try:
        import hibari  # noqa: F401
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise TeacherMissing(f"{error.name!r} is not installed; run: {INSTALL}") from error
    return HibariTeacher()
