"""A speaker without a model: tones that depend on text, voice, seed and options, in batches.

Some texts do as they say: "fail", "raise", "die" (the process does), "silent". `DELAY` is what a
row takes, in seconds.
"""

import os
import signal
import time
import zlib
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import numpy as np

from vocalmtp.audio.io import Audio
from vocalmtp.errors import InputError
from vocalmtp.tts import SynthesisRequest

VOICES = ("ann", "bob")
DELAY = "FAKE_TTS_DELAY"  # an environment variable, since workers are processes of their own


class FakeTTS:
    """Speaks a row in as many rounds as its text has words; `most` is the fullest batch so far."""

    card = {"languages": ["english", "german"], "instructions": True}

    def __init__(self):
        self.most = 0
        self.read = 0
        self.sizes: list[int] = []

    def find_voice(self, voice):
        name = voice if isinstance(voice, str) else getattr(voice, "name", "bob")
        if name not in VOICES:
            raise InputError(f"voice '{name}': no such voice", code="not_found")
        return SimpleNamespace(name=name, consent="")

    def each(
        self, requests: Iterable[SynthesisRequest], batch_size: int = 8
    ) -> Iterator[tuple[int, Audio | InputError]]:
        waiting = enumerate(requests)
        rows: dict[int, tuple[SynthesisRequest, int]] = {}
        more = True
        while True:
            while more and len(rows) < batch_size:
                number, request = next(waiting, (None, None))
                more = request is not None
                if more:
                    self.read += 1
                    rows[number] = (request, len(request.text.split()))
            if not rows:
                return
            self.sizes.append(len(rows))
            time.sleep(float(os.environ.get(DELAY, 0)))
            for number, (request, left) in list(rows.items()):
                rows[number] = (request, left - 1)
                if left <= 1:
                    del rows[number]
                    yield number, self._speak(request)

    def _speak(self, request: SynthesisRequest) -> Audio | InputError:
        if request.text == "fail":
            return InputError("text 'fail': was asked to fail", code="invalid_value")
        if request.text == "raise":
            raise RuntimeError("was asked to raise")
        if request.text == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            voice = self.find_voice(request.voice)
        except InputError as error:
            return error
        options = (request.seed, request.language, request.instructions)
        key = f"{request.text}|{voice.name}|{options}|{sorted(request.sampling.items())}"
        count = 0 if request.text == "silent" else 100 * len(request.text)
        tone = np.sin(np.arange(count) * (0.01 + zlib.crc32(key.encode()) / 2**33))
        return Audio(tone.astype(np.float32), 16_000)


def load(model: str) -> FakeTTS:
    """For `Job.load`."""
    return FakeTTS()


def load_none(model: str) -> FakeTTS:
    """A model that says what is wrong with it."""
    raise InputError("model: was asked not to load", code="invalid_value")


def load_dying(model: str) -> FakeTTS:
    """A model that takes its process with it."""
    os.kill(os.getpid(), signal.SIGKILL)
