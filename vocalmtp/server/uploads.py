"""Recordings that clients send: files that exist for one function, under a name of our own."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np

from vocalmtp.audio.io import FFMPEG_SUFFIXES, Word, read_audio
from vocalmtp.audio.timestamps import aligned_words, spoken_words, written_tokens
from vocalmtp.errors import InputError
from vocalmtp.recognizers.base import SAMPLE_RATE, Recognizer
from vocalmtp.text import normalize

T = TypeVar("T")

LONGEST_ALIGNED = 120.0  # seconds: the cost of an alignment grows with the square of the duration


def with_recording(recording: bytes, file_name: str, key: str, use: Callable[[Path], T]) -> T:
    """Return what `use` makes of a file with a recording.

    Args:
        recording: content of an audio file.
        file_name: what the client calls it; only a suffix that FFmpeg has to read is kept.
        key: the field of the request, for errors.
        use: takes the path of the file.

    Raises:
        InputError: as `use`; its message does not show the path.

    """
    suffix = Path(file_name.replace("\0", "")).suffix.lower()
    with TemporaryDirectory(prefix="vocalmtp-") as folder:
        path = Path(folder) / f"recording{suffix if suffix in FFMPEG_SUFFIXES else ''}"
        path.write_bytes(recording)
        try:
            return use(path)
        except InputError as error:
            message = str(error).replace(str(path), path.name)
            raise InputError(message, code=error.code, key=key) from error


def transcribe(
    recognizer: Recognizer, recording: bytes, file_name: str, longest: float, times: bool
) -> tuple[str, float, list[Word]]:
    """Transcribe a recording.

    Args:
        recognizer: does so.
        recording: content of an audio file.
        file_name: what the client calls it.
        longest: most seconds.
        times: whether to compute when words are spoken.

    Returns:
        The text, the duration in seconds, and the words with their times: none of recordings of more
        than LONGEST_ALIGNED seconds, or if the text cannot be aligned.

    Raises:
        InputError: the recording cannot be read, or is too long.

    """
    samples = with_recording(
        recording, file_name, "file", lambda path: read_audio(path, SAMPLE_RATE, longest)
    )
    text, seconds = recognizer.transcribe(samples).strip(), len(samples) / SAMPLE_RATE
    words = _align(samples, text) if times and seconds <= LONGEST_ALIGNED else []
    return text, seconds, words


def _align(samples: np.ndarray, text: str) -> list[Word]:
    from vocalmtp.models.aligner import load_aligner

    try:
        spoken = normalize(text)
        ends = load_aligner().align(samples, spoken).ends  # [U]
    except InputError:  # no letters, or more of them than fit
        return []
    return aligned_words(spoken, ends, written_tokens(text, spoken_words(spoken)))
