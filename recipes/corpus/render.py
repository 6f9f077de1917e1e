"""One shard: from a list of items to FLAC files and rows, resumable after any interruption."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

import align
from teachers import RATE, Misread, Speech, Teacher, Voice

CEILING = 0.98  # largest sample of a file


@dataclass(frozen=True)
class Item:
    """What to say, by which voice, and which part of the data it belongs to."""

    text: str
    voice: Voice
    split: str
    speed: float = 1.0
    source: str = ""


@dataclass(frozen=True)
class Shard:
    """A named list of items; item ``i`` of shard ``hibari-00017`` is ``hibari-00017-000i``."""

    name: str
    items: list[Item]


def make_row(
    name: str, audio: str, item: Item, teacher: Teacher, aligner: align.Aligner
) -> tuple[dict, np.ndarray]:
    """Speak one item; return its manifest row and its samples. Raises ``Misread``."""
    speech = teacher.speak(item.text, item.voice, item.speed)
    seconds = round(len(speech.samples) / RATE, 3)
    row = {
        "id": name,
        "audio": audio,
        "text": item.text,
        "voice": item.voice.name,
        "split": item.split,
        "seconds": seconds,
        "teacher": teacher.name,
        "source": item.source,
        "speed": item.speed,
        **_times(item.text, speech, aligner, seconds),
        **item.voice.fields,
    }
    peak = float(np.abs(speech.samples).max())
    return row, speech.samples * min(1.0, CEILING / max(peak, 1e-9))


def _times(text: str, speech: Speech, aligner: align.Aligner, seconds: float) -> dict:
    """The fields ``phones`` and ``chars``; none if the teacher has no timings."""
    if not speech.phones:
        return {}
    chars = [min(round(end, 3), seconds) for end in aligner.characters(text, speech)]
    chars[-1] = seconds  # the closing mark takes the silence at the end
    ends = [min(round(end, 3), seconds) for end in speech.ends]
    return {
        "phones": [list(pair) for pair in zip(speech.phones, ends, strict=True)],
        "chars": chars,
    }


def rows_path(output: Path, name: str) -> Path:
    """The rows of a shard, appended as its items are made."""
    return output / "shards" / f"{name}.jsonl"


def render(
    output: Path,
    shard: Shard,
    teacher: Teacher,
    aligner: align.Aligner,
    report: Callable[[float], None] = lambda seconds: None,
) -> float:
    """Make the items of a shard that are not there yet; return the shard's seconds of speech.

    A row is appended after its audio file is complete, so a row always has its audio, and the same
    call continues after an interruption at any time. A text that the teacher reads otherwise than
    it is written is left out: its number stays unused.

    Args:
        report: Called with the seconds of speech of every item, old or new.
    """
    path = rows_path(output, shard.name)
    folder = output / "shards" / shard.name
    folder.mkdir(parents=True, exist_ok=True)
    made = {row["id"]: row["seconds"] for row in repair_rows(path)}
    with path.open("ab", buffering=0) as rows:
        for index, item in enumerate(shard.items):
            name = f"{shard.name}-{index:04d}"
            if name not in made:
                audio = f"shards/{shard.name}/{index:04d}.flac"
                try:
                    row, samples = make_row(name, audio, item, teacher, aligner)
                except Misread:
                    continue
                partial = output / f"{audio}.partial"
                soundfile.write(partial, samples, RATE, subtype="PCM_16", format="FLAC")
                os.replace(partial, output / audio)
                line = json.dumps(row, separators=(",", ":"), ensure_ascii=False)
                rows.write(f"{line}\n".encode())
                made[name] = row["seconds"]
            report(made[name])
    return sum(made.values())


def repair_rows(path: Path) -> list[dict]:
    """The rows of an append-only file; a last line that was cut off is removed from the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def read_rows(path: Path) -> list[dict]:
    """The rows of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
