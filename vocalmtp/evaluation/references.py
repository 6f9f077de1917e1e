"""Recordings of a length, to make voices of: how much of a person a voice needs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vocalmtp.audio.io import Audio, read_audio, trim_silence
from vocalmtp.data.manifest import Utterance
from vocalmtp.errors import InputError
from vocalmtp.voices import LONGEST, SHORTEST

RATE = 16_000
EDGE = 0.1  # seconds more than asked for, which trimming the silence at both ends may take again


def parse_seconds(text: str) -> float:
    """A length that can make a voice; raises InputError for any other."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not SHORTEST <= seconds < LONGEST:
        raise InputError(
            f"reference_seconds '{text}': must be {SHORTEST:g} to {LONGEST:g} seconds, such as 1,3",
            code="invalid_value",
        )
    return seconds


def cut_references(
    references: Sequence[Utterance], seconds: float, folder: Path
) -> list[Utterance]:
    """One recording of `seconds` for every voice, in `folder`: its recordings joined, then cut.

    Raises InputError if a voice has not so much speech.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cut = []
    for voice in sorted({row.voice for row in references}):
        rows = [row for row in references if row.voice == voice]
        parts: list[np.ndarray] = []
        wanted = round((seconds + EDGE) * RATE)
        for row in rows:
            if sum(map(len, parts)) < wanted:
                parts.append(trim_silence(read_audio(row.audio, RATE), RATE))
        samples = np.concatenate(parts)[:wanted]
        if len(samples) < wanted:
            raise InputError(
                f"voice '{voice}': {len(samples) / RATE:.1f} s of recordings, not {seconds:g}; "
                "ask for less, or leave the voice out with --voices",
                code="invalid_value",
            )
        path = Audio(samples, RATE).save(folder / f"{voice}.wav")
        cut.append(replace(rows[0], id=f"{voice}-{seconds:g}s", audio=path, seconds=seconds))
    return cut
