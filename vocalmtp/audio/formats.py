"""Audio file formats, and writing to files that appear completely or that grow while they are made.

Letters: N samples, n samples of one write.
"""

import os
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from vocalmtp.errors import InputError, nearest
from vocalmtp.io.atomic import atomic_path, check_file, os_errors

BLOCK = 65_536  # samples per write: libsndfile's Vorbis encoder overflows its stack on huge ones
WINDOWS = sys.platform == "win32"
WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")

Write = Callable[[np.ndarray], object]  # appends float samples [n]


@dataclass(frozen=True)
class AudioFormat:
    """A format of libsndfile.

    Attributes:
        kind: its major format.
        subtype: its encoding.
        rates: sample rates in Hz that it supports; empty for any.

    """

    kind: str
    subtype: str
    rates: tuple[int, ...] = ()


LOWEST_RATE, HIGHEST_RATE = 4_000, 384_000  # Hz
FORMATS = {
    "wav": AudioFormat("WAV", "PCM_16"),
    "flac": AudioFormat("FLAC", "PCM_16"),
    "ogg": AudioFormat("OGG", "VORBIS"),
    "mp3": AudioFormat(
        "MP3",
        "MPEG_LAYER_III",
        (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    ),
    "opus": AudioFormat("OGG", "OPUS", (8_000, 12_000, 16_000, 24_000, 48_000)),
}


def check_format(name: str) -> str:
    """Return the key of FORMATS for a format's name or suffix.

    Raises:
        InputError: the format is unknown, or the installed libsndfile lacks it.

    """
    known = str(name).lower().lstrip(".")
    if known not in FORMATS:
        raise InputError(
            f"format '{name}': not supported; {nearest(known, FORMATS)}", code="unsupported"
        )
    import soundfile

    own = FORMATS[known]
    if not soundfile.check_format(own.kind, own.subtype):
        raise InputError(
            f"format '{name}': the installed libsndfile cannot write it; "
            "run: pip install --upgrade soundfile",
            code="not_installed",
        )
    return known


def check_rate(sample_rate: int, format: str) -> int:
    """Return `sample_rate`. Raises InputError unless `format`, a key of FORMATS, supports it."""
    if not isinstance(sample_rate, int) or isinstance(sample_rate, bool) or sample_rate < 1:
        raise InputError(
            f"sample_rate '{sample_rate}': must be a whole number of Hz", code="invalid_value"
        )
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise InputError(
            f"sample_rate '{sample_rate}': must be from {LOWEST_RATE} to {HIGHEST_RATE} Hz",
            code="out_of_range",
        )
    rates = FORMATS[format].rates
    if rates and sample_rate not in rates:
        raise InputError(
            f"sample_rate '{sample_rate}': {format} does not support it; choose one of: "
            f"{', '.join(map(str, rates))}",
            code="unsupported",
        )
    return sample_rate


def output_format(path: Path, format: str | None = None) -> str:
    """Return the format to write `path` in: `format`, or else its suffix.

    Raises:
        InputError: the format is unknown, or a file cannot be created there.

    """
    if format is None and not path.suffix:
        raise InputError(
            f"output '{path}': has no suffix; name it {path.name}.wav, or give a format",
            code="invalid_value",
        )
    found = check_format(path.suffix if format is None else format)
    check_file(path)
    return found


def to_pcm(samples: np.ndarray) -> bytes:
    """Convert float samples [N] to 16-bit little-endian PCM without a header."""
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


def encode(samples: np.ndarray, sample_rate: int, format: str) -> bytes:
    """Encode float samples [N] as the content of a file; `format` is a key of FORMATS."""
    with _memory_file() as file:
        with _write_errors("memory"), _open_sound(file, sample_rate, format) as sound:
            write_blocks(sound, samples)
        file.seek(0)
        return file.read()


def _memory_file() -> IO[bytes]:
    """A file in memory on Linux; elsewhere a temporary one."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("audio"), "r+b")
    return tempfile.TemporaryFile()


@contextmanager
def audio_writer(path: Path | str, sample_rate: int, format: str | None = None) -> Iterator[Write]:
    """Yield a function that appends float samples [n] to a file, which appears when all are written.

    Until the block ends without an error, the file has a hidden name ending in `.part`.

    Raises:
        InputError: see `output_format`; or the disk is full.

    """
    import soundfile

    path = Path(path)
    format = output_format(path, format)
    check_rate(sample_rate, format)
    count = 0
    with atomic_path(path) as partial:

        def write(samples: np.ndarray) -> None:
            nonlocal count
            count += len(samples)
            with _write_errors(path):
                write_blocks(sound, samples)

        with _write_errors(path):
            sound = _open_sound(partial, sample_rate, format)
        with sound:
            yield write
        # The rest of libsndfile's buffers is written on closing, which reports no error.
        with _write_errors(path):
            if soundfile.info(native_path(partial)).frames != count:
                raise soundfile.SoundFileError("the disk is full")


@contextmanager
def resampled(write: Write, sample_rate: int, new_rate: int) -> Iterator[Write]:
    """Yield a function that passes float samples [n] on to `write` at another rate in Hz."""
    if sample_rate == new_rate:
        yield write
        return
    import soxr

    resampler = soxr.ResampleStream(sample_rate, new_rate, 1, dtype="float32")
    yield lambda samples: write(resampler.resample_chunk(samples))
    write(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


@contextmanager
def live_writer(path: Path | str, sample_rate: int, format: str | None = None) -> Iterator[Write]:
    """Yield a function that appends float samples [n] to a file that is valid after every write.

    If the block is interrupted, as by Ctrl-C, the file stays; after an error, it is removed.

    Raises:
        InputError: see `output_format`; or the disk is full.

    """
    path = Path(path)
    format = output_format(path, format)
    check_rate(sample_rate, format)
    count = 0
    with os_errors(path), path.open("wb") as file:
        append = _wav_appender(file, sample_rate)
        sound = None
        if format != "wav":  # libsndfile updates the header of a WAV when it is closed
            sound = _open_sound(file, sample_rate, format)

        def write(samples: np.ndarray) -> None:
            nonlocal count
            count += len(samples)
            if sound is None:
                append(samples)
                return
            with _write_errors(path):
                write_blocks(sound, samples)
                sound.flush()

        try:
            yield write
        except Exception:
            count = 0
            raise
        finally:
            if sound is not None:
                sound.close()
            if not count:
                path.unlink(missing_ok=True)


def _wav_appender(file: BinaryIO, sample_rate: int) -> Write:
    """A function that appends float samples [n] to a 16-bit WAV file and updates its header."""
    size = 0

    def append(samples: np.ndarray) -> None:
        nonlocal size
        file.seek(0, os.SEEK_END) if size else file.write(bytes(WAV_HEADER.size))
        data = to_pcm(samples)
        size += len(data)
        file.write(data)
        file.seek(0)
        byte_rate = 2 * sample_rate
        fields = (b"RIFF", WAV_HEADER.size - 8 + size, b"WAVE", b"fmt ", 16, 1, 1, sample_rate)
        file.write(WAV_HEADER.pack(*fields, byte_rate, 2, 16, b"data", size))
        file.flush()

    return append


def native_path(path: Path) -> str | bytes:
    """Return a path for libsndfile; a name need not be valid text, except on Windows."""
    return str(path) if WINDOWS else os.fsencode(path)


def _open_sound(target: Path | IO[bytes], sample_rate: int, format: str) -> Any:
    """A mono `soundfile.SoundFile` for writing to a path or an open file."""
    import soundfile

    own = FORMATS[format]
    file: Any = target
    if isinstance(target, Path):
        file = native_path(target)
    elif not WINDOWS:  # by its descriptor: in a callback, Ctrl-C would be lost
        file = target.fileno()
    return soundfile.SoundFile(
        file, "w", sample_rate, 1, subtype=own.subtype, format=own.kind, closefd=False
    )


def write_blocks(sound: Any, samples: np.ndarray) -> None:
    """Write float samples [N] in blocks, clipped to full scale."""
    for start in range(0, len(samples), BLOCK):
        sound.write(np.clip(samples[start : start + BLOCK], -1.0, 1.0))


@contextmanager
def _write_errors(path: Path | str) -> Iterator[None]:
    """Convert libsndfile's errors on writing to InputError."""
    import soundfile

    try:
        yield
    except soundfile.SoundFileError as error:
        reason = " ".join(str(error).split()).rstrip(".").lower()
        raise InputError(
            f"output '{path}': cannot be written ({reason}); free some space, or choose another",
            code="unusable",
        ) from error
