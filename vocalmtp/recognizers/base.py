"""The interface of speech recognizers, and their registry.

A new recognizer is one file in this package: a subclass of `Recognizer` decorated with
`@RECOGNIZERS.register("name")`. It then appears in chat, evaluation and batch verification.
"""

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Protocol

import numpy as np

from vocalmtp.config import Registry, split_spec
from vocalmtp.errors import InputError, nearest
from vocalmtp.fetch.cards import local_folder

SAMPLE_RATE = 16_000  # Hz, of the samples that every recognizer takes
DEFAULT_RECOGNIZER = "pocketsphinx"
PARTIAL = 1.0  # seconds of new speech between two transcriptions of an unfinished utterance


class RecognizerStream(Protocol):
    """The recognition of one utterance whose audio arrives in pieces."""

    def push(self, samples: np.ndarray) -> None:
        """Append samples [n], float32 at SAMPLE_RATE."""

    def text(self, settled: bool = False) -> str:
        """Return the transcript so far.

        Args:
            settled: the speaker is silent, so that the transcript must cover all samples.

        """
        ...

    def close(self) -> None:
        """Release the resources of the stream."""


class Recognizer(ABC):
    """A speech recognizer, which any number of streams may use at once.

    Attributes:
        name: identifies the recognizer and its weights in file names.
        description: describes it in reports and on the chat page.
        parallel: it can be pickled, and is faster in several processes.

    """

    name: str
    description: str
    parallel = False

    @abstractmethod
    def transcribe(self, samples: np.ndarray) -> str:
        """Transcribe samples [N], float32 at SAMPLE_RATE."""

    def open_stream(self) -> RecognizerStream:
        """Return a stream for one utterance."""
        return BufferedRecognizerStream(self.transcribe)

    def warm_up(self) -> None:  # noqa: B027
        """Load what the first stream would have to wait for."""


RECOGNIZERS: Registry[type[Recognizer]] = Registry("recognizer", "vocalmtp.recognizers")


class BufferedRecognizerStream:
    """A stream over a recognizer of whole recordings, which transcribes its buffer repeatedly.

    Unless the transcript has to cover all samples, half of the time at most is spent on that.

    Args:
        transcribe: returns the transcript of samples [N].

    """

    def __init__(self, transcribe: Callable[[np.ndarray], str]):
        self._transcribe = transcribe
        self._parts: list[np.ndarray] = []
        self._pending = 0  # samples that are not in the transcript
        self._text = ""
        self._duration = 0.0  # seconds that the last transcription took

    def push(self, samples: np.ndarray) -> None:
        """Append samples [n]."""
        self._parts.append(samples)
        self._pending += len(samples)

    def text(self, settled: bool = False) -> str:
        """Return the transcript so far, see `RecognizerStream`."""
        needed = 0.0 if settled else max(PARTIAL, 2 * self._duration)
        if self._pending > needed * SAMPLE_RATE:
            begin = time.perf_counter()
            self._parts = [np.concatenate(self._parts)]
            self._text, self._pending = self._transcribe(self._parts[0]).strip(), 0
            self._duration = time.perf_counter() - begin
        return self._text

    def close(self) -> None:
        """Drop the buffer."""
        self._parts.clear()


def build_recognizer(spec: str | None = None, device: str = "cpu") -> Recognizer:
    """Return the recognizer that `spec` names.

    Args:
        spec: NAME or NAME=ARGUMENT of a registered recognizer, or the folder of a model whose kind
            is then inferred from its files; pocketsphinx if None.
        device: torch device of its model, if it has one.

    Raises:
        InputError: there is no such recognizer, or it cannot be loaded.

    """
    spec = spec or DEFAULT_RECOGNIZER
    if split_spec(spec)[0] not in RECOGNIZERS:
        folder = local_folder(spec, "recognizer")
        if folder is None:
            raise InputError(
                f"recognizer '{spec}': no such recognizer or folder; {nearest(spec, RECOGNIZERS)}",
                code="unknown_name",
            )
        spec = f"{_model_kind(folder)}={folder}"
    recognizer: Recognizer = RECOGNIZERS.create(spec, device=device)
    return recognizer


def _model_kind(folder: Path) -> str:
    """Return the name of the recognizer for the model files in `folder`."""
    if (folder / "tokenizer").is_dir() and (folder / "voices").is_dir():
        return "speech-lm"
    return "faster-whisper" if (folder / "model.bin").is_file() else "whisper"


def required_folder(name: str, folder: Path | str | None) -> Path:
    """Return the folder of a recognizer's model; raises InputError unless it exists."""
    if folder is None:
        raise InputError(f"recognizer '{name}': needs a model; give {name}=FOLDER", code="missing")
    found = local_folder(folder, f"recognizer '{name}'")
    if found is None:
        raise InputError(
            f"recognizer '{name}={folder}': no such folder; give the folder of its model",
            code="not_found",
        )
    return found


def transcribe_files(
    recognizer: Recognizer, paths: Sequence[Path], processes: int = 1
) -> Iterator[tuple[int, str]]:
    """Yield the index and the transcript of every audio file, in order of completion.

    Raises:
        InputError: a file is unreadable; the transcripts before it have been yielded.

    """
    transcribe = partial(transcribe_file, recognizer)
    if processes <= 1 or len(paths) < 2 or not recognizer.parallel:
        yield from ((index, transcribe(path)) for index, path in enumerate(paths))
        return
    # spawn: a forked process may hang if torch runs threads in this one.
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(transcribe, path): i for i, path in enumerate(paths)}
        try:
            yield from ((futures[future], future.result()) for future in as_completed(futures))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def transcribe_file(recognizer: Recognizer, path: Path) -> str:
    """Return the transcript of an audio file; raises InputError if it is unreadable."""
    from vocalmtp.audio.io import read_audio

    return recognizer.transcribe(read_audio(path, SAMPLE_RATE))


def plain_words(text: str) -> str:
    """Return `text` in lower case: letters, digits and apostrophes, one space between words."""
    words = re.sub(r"[^\w']|_", " ", text.lower().replace("\u2019", "'")).split()
    return " ".join(word for word in (word.strip("'") for word in words) if word)
