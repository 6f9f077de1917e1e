"""Test sentences, and the reference recordings that represent their voices."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vocalmtp.audio.io import Audio, read_audio, trim_silence
from vocalmtp.data.manifest import Utterance, read_manifest
from vocalmtp.data.text_lists import read_fields
from vocalmtp.errors import InputError
from vocalmtp.text import normalize
from vocalmtp.voices import LONGEST, SHORTEST

NO_AUDIO = Path()  # in place of a recording, where there is none
LIST = ".txt"
REFERENCES = 8  # recordings that represent a voice
SAMPLE_RATE = 16_000
MARGIN = 0.1  # seconds that trimming the silence at both ends may remove again


def pick_items(
    source: Path | str,
    split: str | None = "test",
    voices: Sequence[str] = (),
    limit: int | None = None,
    natural: Path | str | None = None,
) -> list[Utterance]:
    """Select the utterances to evaluate.

    Args:
        source: a corpus folder or a manifest, of which the rows of `split` are taken; or a list of
            sentences (.txt).
        split: the split of the manifest; None for all rows.
        voices: only these; a list is spoken by each of them, or by the model's default voice.
        limit: sentences of each voice.
        natural: for a list, a manifest with recordings of its sentences.

    Returns:
        Utterances in their order; `audio` is NO_AUDIO where there is no recording.

    Raises:
        InputError: nothing is left, or a line of the list cannot be read.
    """
    if Path(source).suffix != LIST:
        rows = read_manifest(source, split)
    elif natural is None:
        rows = _unrecorded(read_list(source), voices)
    else:
        wanted = set(read_list(source))
        rows = [row for row in read_manifest(natural) if normalize(row.text) in wanted]
    chosen: list[Utterance] = []
    counts: dict[str, int] = {}
    for row in rows:
        if voices and row.voice not in voices:
            continue
        counts[row.voice] = counts.get(row.voice, 0) + 1
        if limit is None or counts[row.voice] <= limit:
            chosen.append(row)
    if not chosen:
        raise InputError(
            f"voices '{', '.join(voices)}': have no sentences in '{source}'", code="empty"
        )
    return chosen


def first_of_each_voice(items: Sequence[Utterance], count: int) -> list[Utterance]:
    """The first `count` utterances of every voice, in their order."""
    chosen: list[Utterance] = []
    for item in items:
        if sum(other.voice == item.voice for other in chosen) < count:
            chosen.append(item)
    return chosen


def read_list(path: Path | str) -> list[str]:
    """Read and normalize the sentences of a text file, one a line.

    Raises:
        InputError: the file is missing or empty, or a line is not UTF-8 or cannot be spoken.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"list '{path}': no such file; give a text file with a sentence a line",
            code="not_found",
        )
    sentences = []
    for number, fields in read_fields(path):
        where = f"list '{path}' line {number}"
        if isinstance(fields, str):
            raise InputError(f"{where}: {fields}", code="invalid_value")
        try:
            sentences.append(normalize(fields["text"]))
        except InputError as error:
            raise InputError(f"{where}: {error}", code=error.code) from error
    if not sentences:
        raise InputError(f"list '{path}': is empty; write a sentence a line", code="empty")
    return sentences


def _unrecorded(sentences: Sequence[str], voices: Sequence[str]) -> list[Utterance]:
    return [
        Utterance(id=f"{voice or 'own'}-{number:04d}", audio=NO_AUDIO, text=text, voice=voice)
        for voice in voices or ("",)
        for number, text in enumerate(sentences, start=1)
    ]


def pick_references(
    manifest: Path | str,
    voices: Sequence[str],
    items: Sequence[Utterance],
    limit: int = REFERENCES,
    min_seconds: float = 0.0,
) -> list[Utterance]:
    """Select up to `limit` recordings that represent each of `voices`.

    Training recordings come first, then others whose sentences are not among `items`; `items`
    themselves only if there are no others. Voices without any recording are left out.

    Args:
        manifest: a corpus folder or a manifest.
        voices: names of the voices.
        items: the test sentences.
        limit: recordings of each voice.
        min_seconds: shorter recordings are taken only if a voice has no others.
    """
    spoken = {item.text for item in items}
    rows = [row for row in read_manifest(manifest) if row.voice in voices]
    chosen: list[Utterance] = []
    for voice in sorted(set(voices)):
        candidates = [row for row in rows if row.voice == voice]
        candidates = [row for row in candidates if row.text not in spoken] or candidates
        candidates = [row for row in candidates if row.seconds > min_seconds] or candidates
        chosen += sorted(candidates, key=lambda row: row.split != "train")[:limit]
    return chosen


def parse_seconds(text: str) -> float:
    """Parse the length of a reference; raises InputError unless a voice can be made of it."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not SHORTEST <= seconds < LONGEST:
        raise InputError(
            f"reference_seconds '{text}': must be {SHORTEST:g} to {LONGEST:g} seconds, such as 1,3",
            code="out_of_range",
        )
    return seconds


def cut_references(
    references: Sequence[Utterance], seconds: float, folder: Path
) -> list[Utterance]:
    """Write one reference of `seconds` for every voice: its recordings, joined and cut.

    Args:
        references: recordings of the voices.
        seconds: length of the references.
        folder: where they are written.

    Raises:
        InputError: a voice has less speech.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = round((seconds + MARGIN) * SAMPLE_RATE)
    cut = []
    for voice in sorted({row.voice for row in references}):
        rows = [row for row in references if row.voice == voice]
        parts: list[np.ndarray] = []
        for row in rows:
            if sum(map(len, parts)) < wanted:
                parts.append(trim_silence(read_audio(row.audio, SAMPLE_RATE), SAMPLE_RATE))
        samples = np.concatenate(parts)[:wanted]
        if len(samples) < wanted:
            raise InputError(
                f"voice '{voice}': has {len(samples) / SAMPLE_RATE:.1f} s of recordings, not "
                f"{seconds:g}; give a shorter length, or leave the voice out with --voices",
                code="wrong_length",
            )
        path = folder / f"{voice}.wav"
        Audio(samples, SAMPLE_RATE).save(path)
        cut.append(replace(rows[0], id=f"{voice}-{seconds:g}s", audio=path, seconds=seconds))
    return cut
