"""One shard: from a plan of items to WAV files and rows, written so that a cut-off leaves none."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

import align
from flite import RATE, Speech
from voices import CROWD, Voice

HEAD, TAIL = 0.060, 0.120  # seconds of silence left before the first phone and after the last
PAUSE = "pau"


@dataclass(frozen=True)
class Item:
    """What to say, by whom, and which part of the data it belongs to."""

    text: str
    voice: Voice
    split: str


@dataclass(frozen=True)
class Shard:
    """A named list of items; item ``i`` of shard ``00017`` is ``00017-000i`` for good."""

    name: str
    items: list[Item]


def trim(speech: Speech) -> Speech:
    """Cut the pauses at both ends down to ``HEAD`` and ``TAIL`` and shift the times with them."""
    spoken = [i for i, phone in enumerate(speech.phones) if phone != PAUSE]
    first, last = spoken[0], spoken[-1]
    onset = speech.ends[first - 1] if first else 0.0
    start = max(0, round((onset - HEAD) * RATE))
    stop = min(len(speech.samples), round((speech.ends[last] + TAIL) * RATE))
    seconds = (stop - start) / RATE
    ends = [min(max(end - start / RATE, 0.0), seconds) for end in speech.ends]
    if speech.phones[-1] == PAUSE:
        ends[-1] = seconds
    return Speech(speech.samples[start:stop], speech.phones, ends, speech.words, speech.tokens)


def make_row(name: str, audio: str, item: Item, aligner: align.Aligner) -> tuple[dict, np.ndarray]:
    """Speak one item; return its manifest row and its samples. Raises ``align.Misread``."""
    speech = trim(item.voice.speak(item.text))
    seconds = round(len(speech.samples) / RATE, 3)
    chars = [min(round(end, 3), seconds) for end in aligner.characters(item.text, speech)]
    chars[-1] = seconds  # the closing mark takes the silence at the end
    row = {
        "id": name,
        "audio": audio,
        "text": item.text,
        "voice": item.voice.name,
        "split": item.split,
        "seconds": seconds,
        "phones": [
            [phone, min(round(end, 3), seconds)]
            for phone, end in zip(speech.phones, speech.ends, strict=True)
        ],
        "chars": chars,
    }
    if item.voice.name == CROWD:
        voice = item.voice
        row |= {"base": voice.base, "warp": voice.warp, "pitch": voice.pitch, "rate": voice.rate}
    return row, speech.samples


def rows_path(output: Path, name: str) -> Path:
    """The rows of a shard; the shard is complete when this file exists."""
    return output / "shards" / f"{name}.jsonl"


def render(output: Path, shard: Shard, aligner: align.Aligner) -> float:
    """Make a shard unless it exists; return its seconds of speech.

    A text that flite reads otherwise than it is written is left out: its number stays unused.
    """
    done = rows_path(output, shard.name)
    if done.exists():
        return sum(row["seconds"] for row in read_rows(done))
    target = output / "shards" / shard.name
    shutil.rmtree(target, ignore_errors=True)  # what an interrupted run left
    target.mkdir(parents=True)
    rows = []
    for index, item in enumerate(shard.items):
        audio = f"shards/{shard.name}/{index:04d}.wav"
        try:
            row, samples = make_row(f"{shard.name}-{index:04d}", audio, item, aligner)
        except align.Misread:
            continue
        soundfile.write(output / audio, samples, RATE, subtype="PCM_16")
        rows.append(row)
    partial = done.with_suffix(".partial")
    lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    partial.write_text("".join(lines), "utf-8")
    os.replace(partial, done)
    return sum(row["seconds"] for row in rows)


def read_rows(path: Path) -> list[dict]:
    """The rows of a JSONL file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
