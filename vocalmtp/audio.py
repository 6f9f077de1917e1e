"""Audio in and out: reading, resampling, trimming, and writing that never leaves half a file.

Samples are float32 in [-1, 1], mono, [N].
"""

import base64
import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vocalmtp.errors import InputError, nearest

FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS")}
BLOCK = 65_536  # samples a write: libsndfile's Vorbis encoder overflows its stack on huge ones


@dataclass(frozen=True)
class Word:
    """One spoken word; times are seconds from the start of the audio."""

    text: str
    start: float
    end: float


@dataclass
class Audio:
    """Speech: `samples` float32 [N] at `sample_rate`, and when each word of it is spoken.

    `truncated` says that the model hit its limit before it came to the end of the text.
    """

    samples: np.ndarray
    sample_rate: int
    words: list[Word] = field(default_factory=list)
    truncated: bool = False

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.sample_rate

    def save(self, path: Path | str, format: str | None = None) -> Path:
        """Write a WAV, FLAC or OGG file; the suffix decides unless `format` is given.

        The file appears whole or not at all. Raises InputError for a format or folder that will
        not do.
        """
        with audio_writer(path, self.sample_rate, format) as write:
            write(self.samples)
        return Path(path)

    def to_bytes(self, format: str = "wav") -> bytes:
        """The audio as the content of a file."""
        buffer = io.BytesIO()
        with open_sound(buffer, self.sample_rate, check_format(format)) as sound:
            write_blocks(sound, self.samples)
        return buffer.getvalue()

    def _repr_html_(self) -> str:
        """A player, in a notebook."""
        data = base64.b64encode(self.to_bytes()).decode()
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'


def later(words: Sequence[Word], seconds: float) -> list[Word]:
    """The words, `seconds` later."""
    return [
        Word(word.text, round(word.start + seconds, 6), round(word.end + seconds, 6))
        for word in words
    ]


def join(parts: Sequence[Audio]) -> Audio:
    """Stretches of audio, one after the other; each one's words are timed from its own start."""
    words: list[Word] = []
    start = 0.0
    for part in parts:
        words += later(part.words, start)
        start += part.duration
    samples = np.concatenate([part.samples for part in parts])
    return Audio(samples, parts[0].sample_rate, words, any(part.truncated for part in parts))


# -- reading ---------------------------------------------------------------------------------------


def read_audio(path: Path | str, sample_rate: int) -> np.ndarray:
    """Read any sound file that libsndfile knows, as mono float32 [N] at `sample_rate`.

    Raises:
        InputError: the file is missing, unreadable, empty, or has samples that are not finite.
    """
    import soundfile

    path = Path(path)
    if not path.is_file():
        raise InputError(f"audio '{path}': no such file; give a WAV, FLAC, OGG or MP3 file")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)  # [N, channels]
    except (soundfile.SoundFileError, OSError) as error:
        raise InputError(
            f"audio '{path}': not readable; give a WAV, FLAC, OGG or MP3 file"
        ) from error
    if not len(samples):
        raise InputError(f"audio '{path}': has no samples; record some speech")
    if not np.isfinite(samples).all():
        raise InputError(f"audio '{path}': has samples that are not finite; export it again")
    return resample(samples.mean(axis=1), rate, sample_rate)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """[N] at `rate` Hz to [N * new_rate / rate] at `new_rate` Hz."""
    if rate == new_rate:
        return samples
    import soxr

    return soxr.resample(samples, rate, new_rate).astype(np.float32)


def trim_silence(
    samples: np.ndarray, sample_rate: int, floor_db: float = -40.0, margin: float = 0.05
) -> np.ndarray:
    """Cut what is before the first and after the last sound, but for a `margin` in seconds.

    Sound is a 20 ms frame that is at most `floor_db` below the loudest one; silence gives [0].
    """
    size = max(1, sample_rate // 50)
    frames = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    level = np.sqrt(np.mean(frames.astype(np.float64) ** 2, axis=1))
    loudest = level.max(initial=0.0)
    if loudest < 1e-4:  # -80 dBFS: nothing was recorded
        return samples[:0]
    loud = np.flatnonzero(level >= loudest * 10 ** (floor_db / 20))
    keep = round(margin * sample_rate)
    return samples[max(0, loud[0] * size - keep) : (loud[-1] + 1) * size + keep]


# -- writing ---------------------------------------------------------------------------------------


def check_format(name: str) -> str:
    """`name` as one of FORMATS, or InputError."""
    known = name.lower().lstrip(".")
    if known not in FORMATS:
        raise InputError(f"format '{name}': not supported; {nearest(known, FORMATS)}")
    return known


def output_format(path: Path, format: str | None = None) -> str:
    """The format to write `path` in; raises InputError if that, or the folder, will not do."""
    if format is None and not path.suffix:
        raise InputError(
            f"output '{path}': has no suffix; name it {path.name}.wav, or give a format"
        )
    found = check_format(format or path.suffix)
    check_folder(path)
    return found


def check_folder(path: Path) -> None:
    """Raise InputError unless a file can be created at `path`."""
    if path.is_dir():
        raise InputError(f"output '{path}': is a folder; give a file's name")
    if not path.parent.is_dir():
        raise InputError(f"output '{path}': folder '{path.parent}' does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"output '{path}': folder '{path.parent}' is not writable; choose another")


def open_sound(target: Path | BinaryIO, sample_rate: int, format: str) -> Any:
    """A mono `soundfile.SoundFile` for writing one of FORMATS."""
    import soundfile

    kind, subtype = FORMATS[format]
    return soundfile.SoundFile(target, "w", sample_rate, 1, subtype=subtype, format=kind)


def write_blocks(sound: Any, samples: np.ndarray) -> None:
    """Write float samples [N] in blocks; what is over full scale is clipped."""
    for start in range(0, len(samples), BLOCK):
        sound.write(np.clip(samples[start : start + BLOCK], -1.0, 1.0))


def to_pcm(samples: np.ndarray) -> bytes:
    """Float samples [N] as 16-bit little-endian PCM without a header."""
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A path beside `path` to write to: renamed to it at the end, removed if that fails."""
    path = Path(path)
    check_folder(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        partial.chmod(mode)  # safetensors lets nobody else read what it writes
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def audio_writer(
    path: Path | str, sample_rate: int, format: str | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends float samples [N] to a sound file while they are made.

    The file grows beside its place under a hidden name ending in `.part`, and takes its own name
    when the block ends without an error. Raises InputError as `output_format`.
    """
    path = Path(path)
    format = output_format(path, format)
    with atomic_path(path) as partial, open_sound(partial, sample_rate, format) as sound:
        yield lambda samples: write_blocks(sound, samples)
