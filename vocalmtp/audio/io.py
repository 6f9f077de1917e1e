"""Audio with word times, and reading, resampling and trimming of recordings.

Samples are float32 in [-1, 1], mono, [N].
"""

import base64
import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain, count
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vocalmtp.audio.formats import (
    audio_writer,
    check_format,
    check_rate,
    encode,
    native_path,
)
from vocalmtp.errors import InputError

BLOCK = 65_536  # samples per read
ENDLESS = 0x7FFF0000  # sizes from here on in a WAV header are those of a pipe of unknown length
SLOPPY = 4096  # bytes by which writers err in a WAV header
RATES = (1_000, 768_000)  # Hz
FFMPEG_SUFFIXES = (".m4a", ".aac", ".mp4", ".webm", ".wma", ".amr", ".3gp", ".mkv")
_ADDRESS = re.compile(r"(https?|ftp|file|s3|gs|hf):/{1,2}(?=[^/])", re.IGNORECASE)  # Path drops a /


@dataclass(frozen=True)
class Word:
    """One word as written in the text; times are seconds from the start of the audio."""

    text: str
    start: float
    end: float


@dataclass
class Audio:
    """Mono speech.

    Attributes:
        samples: float32 [N] in [-1, 1].
        sample_rate: in Hz.
        words: when each word is spoken; empty if the model has no text track.
        truncated: the limit on steps was reached before the end of the text.

    """

    samples: np.ndarray
    sample_rate: int
    words: list[Word] = field(default_factory=list)
    truncated: bool = False

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.sample_rate

    def save(
        self,
        target: Path | str | BinaryIO,
        format: str | None = None,
        sample_rate: int | None = None,
    ) -> Path | None:
        """Write an audio file: WAV, FLAC, OGG, MP3 or Opus.

        Args:
            target: a path, where the file appears completely or not at all, or a binary file object
                such as `io.BytesIO`.
            format: wav, flac, ogg, mp3 or opus; None: by the suffix of the path, or WAV.
            sample_rate: rate to resample to, in Hz; None: without resampling.

        Returns:
            The path; None for a file object.

        Raises:
            InputError: the format or rate is not supported, or a file cannot be written there.

        """
        audio = self if sample_rate is None else self.resampled(sample_rate)
        if isinstance(target, Path | str):
            with audio_writer(target, audio.sample_rate, format) as write:
                write(audio.samples)
            return Path(target)
        if not hasattr(target, "write"):
            raise InputError(
                f"output '{target}': is a {type(target).__name__}; give a path or a binary file",
                code="invalid_value",
            )
        target.write(audio.to_bytes("wav" if format is None else format))
        return None

    def to_bytes(self, format: str = "wav") -> bytes:
        """Return the content of an audio file; `format` as for `save`."""
        format = check_format(format)
        return encode(self.samples, check_rate(self.sample_rate, format), format)

    def resampled(self, sample_rate: int) -> "Audio":
        """Return the same audio at another sample rate in Hz."""
        check_rate(sample_rate, "wav")
        samples = resample(self.samples, self.sample_rate, sample_rate)
        return Audio(samples, sample_rate, self.words, self.truncated)

    def _repr_html_(self) -> str:
        """A player, in a notebook."""
        data = base64.b64encode(self.to_bytes()).decode()
        return f'<audio controls src="data:audio/wav;base64,{data}"></audio>'


def shift_words(words: Sequence[Word], seconds: float) -> list[Word]:
    """Return the words with `seconds` added to their times."""
    return [
        Word(word.text, round(word.start + seconds, 6), round(word.end + seconds, 6))
        for word in words
    ]


def scale_words(words: list[Word], factor: float) -> list[Word]:
    """Return the words with their times multiplied by `factor`."""
    if factor == 1:
        return words
    return [
        Word(word.text, round(word.start * factor, 6), round(word.end * factor, 6))
        for word in words
    ]


def join(parts: Sequence[Audio]) -> Audio:
    """Concatenate audio, with the words of every part, which are timed from its own start."""
    words: list[Word] = []
    start = 0.0
    for part in parts:
        words += shift_words(part.words, start)
        start += part.duration
    samples = np.concatenate([part.samples for part in parts])
    return Audio(samples, parts[0].sample_rate, words, any(part.truncated for part in parts))


def add_silence(audio: Audio, before: float, after: float) -> Audio:
    """Return audio with so many seconds of silence before and after it."""
    if not before and not after:
        return audio
    rate = audio.sample_rate
    head, tail = (np.zeros(round(seconds * rate), np.float32) for seconds in (before, after))
    return join([Audio(head, rate), audio, Audio(tail, rate)])


def in_order(numbered: Iterable[tuple[int, Audio]]) -> Iterator[Audio]:
    """Yield numbered audio in the order of the numbers, which are 0, 1, .. in any order."""
    early: dict[int, Audio] = {}
    numbers = count()
    due = next(numbers)
    for number, audio in numbered:
        early[number] = audio
        while due in early:
            yield early.pop(due)
            due = next(numbers)


# -- reading ---------------------------------------------------------------------------------------


def check_no_address(path: Path | str, what: str) -> None:
    """Raise InputError if `path`, which the message calls `what`, is an internet address."""
    match = _ADDRESS.match(str(path))
    if match:
        address = f"{match[1]}://{str(path)[match.end() :]}"
        raise InputError(
            f"{what} '{address}': URLs are not fetched; download the file and give its path",
            code="unsupported",
        )


def read_audio(path: Path | str, sample_rate: int, longest: float | None = None) -> np.ndarray:
    """Read a recording as mono samples.

    Formats that libsndfile does not know, such as M4A, AAC and WebM, are decoded by ffmpeg or by the
    package av, whichever is installed.

    Args:
        path: the file.
        sample_rate: rate of the result in Hz.
        longest: most seconds; None: any length.

    Returns:
        Samples float32 [N].

    Raises:
        InputError: the file is missing, unreadable, empty, truncated, too long, or has samples that
            are not finite.

    """
    import soundfile

    check_no_address(path, "audio")
    path = Path(path)
    try:
        if not path.is_file():
            raise InputError(
                f"audio '{path}': no such file; give a WAV, FLAC, OGG or MP3 file", code="not_found"
            )
        if path.suffix.lower() in FFMPEG_SUFFIXES:
            return _check_samples(_read_compressed(path, sample_rate, longest), path)
        with soundfile.SoundFile(native_path(path)) as sound:
            rate = sound.samplerate
            samples = _read_sound(sound, path, sample_rate, longest)
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a .raw file
        raise InputError(
            f"audio '{path}': not readable; give a WAV, FLAC, OGG or MP3 file", code="unusable"
        ) from error
    return resample(_check_samples(samples, path), rate, sample_rate)


def _check_samples(samples: np.ndarray, path: Path) -> np.ndarray:
    if not len(samples):
        raise InputError(f"audio '{path}': has no samples; record some speech", code="empty")
    if not np.isfinite(samples).all():
        raise InputError(
            f"audio '{path}': has samples that are not finite; export it again", code="damaged"
        )
    return samples


def _read_sound(sound: Any, path: Path, sample_rate: int, longest: float | None) -> np.ndarray:
    """Samples [N] of an open file at its own rate."""
    rate = sound.samplerate
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(
            f"audio '{path}': has {rate} Hz; export it with {sample_rate}", code="out_of_range"
        )
    most = math.inf if longest is None else longest * rate
    samples = np.zeros(0, np.float32)
    if sound.frames <= most:
        samples = _read_mono(sound, most)
    if max(sound.frames, len(samples)) > most:
        raise _too_long(path, max(sound.frames, len(samples)) / rate, most / rate)
    if _is_cut(path) or (len(samples) < sound.frames and sound.format != "MP3"):
        raise InputError(
            f"audio '{path}': is cut off; copy it again, or export it again", code="damaged"
        )
    return samples


def _too_long(path: Path, seconds: float, longest: float) -> InputError:
    return InputError(
        f"audio '{path}': lasts {seconds:.0f} s; cut it to {longest:g} s or less",
        code="wrong_length",
    )


def _read_mono(sound: Any, most: float) -> np.ndarray:
    """Samples [N] of an open file, a little more than `most` at most.

    It is read in blocks, as the length in a header need not be true.
    """
    blocks, total = [np.zeros(0, np.float32)], 0
    while total <= most and len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
        blocks.append(block.mean(axis=1))  # [n, channels] -> [n]
        total += len(block)
    return np.concatenate(blocks)


def _is_cut(path: Path) -> bool:
    """Whether a WAV file is shorter than its header says, which libsndfile does not report."""
    with path.open("rb") as file:
        head, length = file.read(8), file.seek(0, os.SEEK_END)
    size = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and length + SLOPPY < size and size < ENDLESS


def _read_compressed(path: Path, sample_rate: int, longest: float | None) -> np.ndarray:
    """Samples [N] at `sample_rate` Hz of a file that FFmpeg decodes, as a program or in av."""
    program = shutil.which("ffmpeg")
    if program is not None:
        samples = _read_by_ffmpeg(program, path, sample_rate, longest)
    elif find_spec("av"):
        samples = _read_by_av(path, sample_rate, longest)
    else:
        raise InputError(
            f"audio '{path}': needs ffmpeg or the package av; install one (pip install av), or give "
            "a WAV, FLAC, OGG or MP3 file",
            code="not_installed",
        )
    if longest is not None and len(samples) > longest * sample_rate:
        raise _too_long(path, len(samples) / sample_rate, longest)
    return samples


def _read_by_ffmpeg(
    program: str, path: Path, sample_rate: int, longest: float | None
) -> np.ndarray:
    """Samples [N] by the program ffmpeg, a second more than `longest` at most."""
    command = [program, "-nostdin", "-v", "error", "-protocol_whitelist", "file,pipe"]
    command += ["-i", f"file:{path}", "-f", "f32le", "-ac", "1", "-ar", str(sample_rate)]
    if longest is not None:
        command += ["-t", str(longest + 1)]
    done = subprocess.run([*command, "pipe:1"], capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise _not_decoded(path, lines[-1] if lines else f"exit status {done.returncode}")
    return np.frombuffer(done.stdout[: len(done.stdout) // 4 * 4], "<f4").astype(np.float32)


def _read_by_av(path: Path, sample_rate: int, longest: float | None) -> np.ndarray:
    """Samples [N] by the package av, little more than `longest` at most."""
    import av

    blocks, total = [np.zeros(0, np.float32)], 0
    most = math.inf if longest is None else longest * sample_rate
    try:
        with path.open("rb") as file, av.open(file) as container:
            resampler = av.AudioResampler("flt", "mono", sample_rate)
            for frame in chain(container.decode(audio=0), [None]):
                for block in resampler.resample(frame):
                    blocks.append(block.to_ndarray()[0])
                    total += block.samples
                if total > most:
                    break
    except (av.FFmpegError, IndexError, ValueError) as error:  # IndexError: no audio
        raise _not_decoded(path, str(error) or "no audio") from error
    return np.concatenate(blocks)


def _not_decoded(path: Path, reason: str) -> InputError:
    return InputError(
        f"audio '{path}': FFmpeg cannot decode it ({' '.join(reason.split())[:120]}); give a WAV, "
        "FLAC, OGG or MP3 file",
        code="unusable",
    )


def resample(samples: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """Resample [N] at `rate` Hz to [N * new_rate / rate] at `new_rate` Hz."""
    if rate == new_rate:
        return samples
    import soxr

    return soxr.resample(samples, rate, new_rate).astype(np.float32)


def trim_silence(
    samples: np.ndarray, sample_rate: int, floor_db: float = -40.0, margin: float = 0.05
) -> np.ndarray:
    """Remove what is before the first and after the last sound, but for a `margin` in seconds.

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
