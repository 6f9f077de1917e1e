"""From the user's speech to text: one interface over several recognisers.

Samples are float32 [N] in [-1, 1] at SAMPLE_RATE.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from vocalmtp.chat.vad import SAMPLE_RATE
from vocalmtp.engines.device import resolve_device
from vocalmtp.errors import InputError
from vocalmtp.io.read import reason
from vocalmtp.optional import require
from vocalmtp.recognizers.faster_whisper import transcribe
from vocalmtp.recognizers.pocketsphinx import PocketsphinxRecognizer

PARTIAL = 1.0  # seconds of new speech before an ear hears again what it has heard


class RecognizerStream(Protocol):
    """One turn being heard."""

    def push(self, samples: np.ndarray) -> None:
        """Take in more of it."""

    def text(self, settled: bool = False) -> str:
        """What was said so far; `settled` if the user is silent, so that it may be all."""

    def close(self) -> None:
        """Nothing more is asked."""


class Recognizer(Protocol):
    """A recogniser that any number of conversations can use at once."""

    name: str

    def listen(self) -> RecognizerStream:
        """Begin to hear a turn."""


class BufferedRecognizerStream:
    """A turn heard by a recogniser that takes whole recordings: again and again from its start.

    `hear` takes samples to text. Between pauses it is asked no more often than it can answer.
    """

    def __init__(self, hear: Callable[[np.ndarray], str]):
        self._hear = hear
        self._parts: list[np.ndarray] = []
        self._new = 0  # samples that were not heard yet
        self._text = ""
        self._spent = 0.0  # seconds that hearing took last

    def push(self, samples: np.ndarray) -> None:
        self._parts.append(samples)
        self._new += len(samples)

    def text(self, settled: bool = False) -> str:
        wanted = 0.0 if settled else max(PARTIAL, 2 * self._spent)
        if self._new > wanted * SAMPLE_RATE:
            begin = time.perf_counter()
            self._parts = [np.concatenate(self._parts)]
            self._text, self._new = self._hear(self._parts[0]).strip(), 0
            self._spent = time.perf_counter() - begin
        return self._text

    def close(self) -> None:
        self._parts.clear()


class WhisperRecognizer:
    """A Whisper model of Transformers, from the folder of its weights.

    Raises InputError if the folder does not hold one.
    """

    def __init__(self, folder: Path | str, device: str = "cpu"):
        from safetensors import SafetensorError
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        try:
            self._processor = WhisperProcessor.from_pretrained(folder, local_files_only=True)
            model = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"ear '{folder}': not the folder of a Whisper model ({reason(error)}); give one "
                "with config.json, model.safetensors and its tokenizer",
                code="invalid_value",
            ) from error
        self._model = model.eval().to(resolve_device(device))
        self.name = f"Whisper ({Path(folder).resolve().name})"

    def listen(self) -> RecognizerStream:
        return BufferedRecognizerStream(self._hear)

    def _hear(self, samples: np.ndarray) -> str:
        return transcribe(self._processor, self._model, samples)


class FasterWhisperRecognizer:
    """A Whisper model in CTranslate2's form, through the package faster-whisper.

    Raises InputError if the package is missing, or the folder does not hold one.
    """

    def __init__(self, folder: Path | str, device: str = "cpu"):
        package = require("faster_whisper")
        try:
            self._model = package.WhisperModel(str(folder), device=device, local_files_only=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"ear '{folder}': faster-whisper cannot load it ({reason(error)}); convert the "
                "model with ct2-transformers-converter",
                code="invalid_value",
            ) from error
        self.name = f"faster-whisper ({Path(folder).resolve().name})"

    def listen(self) -> RecognizerStream:
        return BufferedRecognizerStream(self._hear)

    def _hear(self, samples: np.ndarray) -> str:
        segments, _ = self._model.transcribe(samples, language="en")
        return " ".join(segment.text.strip() for segment in segments)


def build_recognizer(name: str | None = None, device: str = "cpu") -> Recognizer:
    """The ear of that name, or of the folder of a Whisper model, or of a speech LM that listens;
    pocketsphinx if None.

    A folder with model.bin is CTranslate2's. Raises InputError if there is no such ear.
    """
    if name in (None, "pocketsphinx"):
        return PocketsphinxRecognizer()
    folder = Path(name)
    if not folder.is_dir():
        raise InputError(
            f"ear '{name}': no such ear; give 'pocketsphinx' or the folder of a Whisper model",
            code="not_found",
        )
    if (folder / "tokenizer").is_dir() and (folder / "voices").is_dir():
        from vocalmtp.chat.native import SpeechLMResponder  # which is built on this module
        from vocalmtp.dialogue import DialogueModel
        from vocalmtp.tts import load

        return SpeechLMResponder(DialogueModel(load(name)), f"speech LM ({folder.resolve().name})")
    kind = FasterWhisperRecognizer if (folder / "model.bin").is_file() else WhisperRecognizer
    return kind(folder, device)
