"""Audio in and out: reading, resampling, trimming, and writing that never leaves half a file.

Samples are float32 in [-1, 1], mono, [N].
"""

import base64
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.errors import InputError, nearest
from vocalmtp.io.atomic import atomic_path, check_file

FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_16"), "ogg": ("OGG", "VORBIS")}
BLOCK = 65_536  # samples a write: libsndfile's Vorbis encoder overflows its stack on huge ones
ENDLESS = 0x7FFF0000  # bytes in a WAV header: those of a pipe, whose length was not known, say more
SLOPPY = 4096  # bytes by which a writer may err in it
RATES = (1_000, 768_000)  # Hz
_ADDRESS = re.compile(r"(https?|ftp|file|s3|gs|hf):/{1,2}(?=[^/])", re.IGNORECASE)  # Path drops a /


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
        format = check_format(format)
        # In memory, but no BytesIO: that is written by a callback, where Ctrl-C would be lost.
        with open(os.memfd_create("audio"), "r+b") as file:
            with _told("memory"), open_sound(file.fileno(), self.sample_rate, format) as sound:
                write_blocks(sound, self.samples)
            file.seek(0)
            return file.read()

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


def check_no_address(path: Path | str, what: str) -> None:
    """Raise InputError if `path` is an internet address, which `what` cannot be read from."""
    match = _ADDRESS.match(str(path))
    if match:
        address = f"{match[1]}://{str(path)[match.end() :]}"
        raise InputError(
            f"{what} '{address}': addresses are not fetched; download it, and give the file",
            code="unsupported",
        )


def read_audio(path: Path | str, sample_rate: int, longest: float | None = None) -> np.ndarray:
    """Read any sound file that libsndfile knows, as mono float32 [N] at `sample_rate`.

    What lasts over `longest` seconds is refused by its header, or where the reading comes to it.

    Raises:
        InputError: the file is missing, unreadable, empty, cut off, too long, or has samples that
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
        with soundfile.SoundFile(os.fsencode(path)) as sound:
            rate = sound.samplerate
            if not RATES[0] <= rate <= RATES[1]:
                raise InputError(
                    f"audio '{path}': has {rate} Hz; export it with {sample_rate}",
                    code="invalid_value",
                )
            most = math.inf if longest is None else longest * rate
            samples = np.zeros(0, np.float32)
            if sound.frames <= most:
                samples = _read_mono(sound, most)
            if max(sound.frames, len(samples)) > most:
                seconds = max(sound.frames, len(samples)) / rate
                raise InputError(
                    f"audio '{path}': lasts {seconds:.0f} s; cut it to {longest:g} s or less",
                    code="wrong_length",
                )
            if _is_cut(path) or (len(samples) < sound.frames and sound.format != "MP3"):
                raise InputError(
                    f"audio '{path}': is cut off; copy it again, or export it again", code="damaged"
                )
    except (soundfile.SoundFileError, OSError, TypeError) as error:  # TypeError: a .raw file
        raise InputError(
            f"audio '{path}': not readable; give a WAV, FLAC, OGG or MP3 file", code="unusable"
        ) from error
    if not len(samples):
        raise InputError(f"audio '{path}': has no samples; record some speech", code="empty")
    if not np.isfinite(samples).all():
        raise InputError(
            f"audio '{path}': has samples that are not finite; export it again", code="damaged"
        )
    return resample(samples, rate, sample_rate)


def _read_mono(sound: Any, most: float) -> np.ndarray:
    """The samples [N] of an open file, in blocks: what a header says may be no length at all.

    Ends soon after `most` samples.
    """
    blocks, count = [np.zeros(0, np.float32)], 0
    while count <= most and len(block := sound.read(BLOCK, dtype="float32", always_2d=True)):
        blocks.append(block.mean(axis=1))  # [n, channels] -> [n]
        count += len(block)
    return np.concatenate(blocks)


def _is_cut(path: Path) -> bool:
    """Whether a WAV file ends before its header says; libsndfile is silent about that."""
    with path.open("rb") as file:
        head, length = file.read(8), file.seek(0, os.SEEK_END)
    size = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and length + SLOPPY < size and size < ENDLESS


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
        raise InputError(
            f"format '{name}': not supported; {nearest(known, FORMATS)}", code="unsupported"
        )
    return known


def output_format(path: Path, format: str | None = None) -> str:
    """The format to write `path` in; raises InputError if that, or the folder, will not do."""
    if format is None and not path.suffix:
        raise InputError(
            f"output '{path}': has no suffix; name it {path.name}.wav, or give a format",
            code="invalid_value",
        )
    found = check_format(format or path.suffix)
    check_file(path)
    return found


def open_sound(target: Path | int, sample_rate: int, format: str) -> Any:
    """A mono `soundfile.SoundFile` for writing one of FORMATS to a path or an open descriptor."""
    import soundfile

    kind, subtype = FORMATS[format]
    if isinstance(target, Path):
        target = os.fsencode(target)  # a name need not be UTF-8
    return soundfile.SoundFile(
        target, "w", sample_rate, 1, subtype=subtype, format=kind, closefd=False
    )


def write_blocks(sound: Any, samples: np.ndarray) -> None:
    """Write float samples [N] in blocks; what is over full scale is clipped."""
    for start in range(0, len(samples), BLOCK):
        sound.write(np.clip(samples[start : start + BLOCK], -1.0, 1.0))


def to_pcm(samples: np.ndarray) -> bytes:
    """Float samples [N] as 16-bit little-endian PCM without a header."""
    return np.rint(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()


@contextmanager
def audio_writer(
    path: Path | str, sample_rate: int, format: str | None = None
) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends float samples [N] to a sound file while they are made.

    The file grows beside its place under a hidden name ending in `.part`, and takes its own name
    when the block ends without an error. Raises InputError as `output_format`, or if the disk is
    full.
    """
    import soundfile

    path = Path(path)
    format = output_format(path, format)
    count = 0
    with atomic_path(path) as partial:

        def write(samples: np.ndarray) -> None:
            nonlocal count
            count += len(samples)
            with _told(path):
                write_blocks(sound, samples)

        with _told(path):
            sound = open_sound(partial, sample_rate, format)
        with sound:
            yield write
        # What is left in libsndfile's buffers is written on closing, which tells of no error.
        with _told(path):
            if soundfile.info(os.fsencode(partial)).frames != count:
                raise soundfile.SoundFileError("the disk is full")


@contextmanager
def _told(path: Path | str) -> Iterator[None]:
    """Raise what libsndfile has against writing as an InputError."""
    import soundfile

    try:
        yield
    except soundfile.SoundFileError as error:
        reason = " ".join(str(error).split()).rstrip(".").lower()
        raise InputError(
            f"output '{path}': cannot be written ({reason}); free some space, or choose another",
            code="unusable",
        ) from error


def in_order(numbered: Iterable[tuple[int, Audio]]) -> Iterator[Audio]:
    """Numbered audio, from 0 on and none missing, in the order of the numbers."""
    early: dict[int, Audio] = {}
    wanted = count()
    due = next(wanted)
    for number, audio in numbered:
        early[number] = audio
        while due in early:
            yield early.pop(due)
            due = next(wanted)
