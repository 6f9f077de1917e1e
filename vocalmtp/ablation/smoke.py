"""A small synthesized corpus, so that a smoke run of a grid needs no recordings.

The bundled model speaks built-in sentences. Letters stand for phones, and the times of letters are
interpolated within the words of its text track: enough to train on, not to learn from.
"""

import json
from collections.abc import Iterator
from itertools import product

import numpy as np
import torch

from vocalmtp.ablation.grid import Grid
from vocalmtp.audio.io import Audio
from vocalmtp.io.atomic import atomic_path
from vocalmtp.loading import load
from vocalmtp.text import normalize

TRAIN, VALID = 60, 8  # utterances, where the grid takes all
SUBJECTS = ("The old ship", "A quiet bird", "My brother", "The last train", "Every child", "Rain")
VERBS = ("came home", "went away", "was late", "stayed near", "slept well", "turned back")
TIMES = ("before noon", "in the morning", "at night", "after the storm")


def sentences() -> Iterator[str]:
    """Yield the built-in sentences."""
    for time, verb, subject in product(TIMES, VERBS, SUBJECTS):
        yield f"{subject} {verb} {time}."


def write_corpus(grid: Grid) -> None:
    """Write the corpus that the settings of a grid need; an existing one is kept."""
    manifest = grid.corpus / "manifest.jsonl"
    if manifest.is_file():
        return
    torch.set_num_threads(grid.threads)
    tts = load()
    known = sorted(tts.voices)
    voices = sorted({*grid.voices, *grid.eval.voices}) or known[:2]
    speakers = {v: v if v in known else known[n % len(known)] for n, v in enumerate(voices)}
    texts = [normalize(text) for text in sentences()]
    counts = {
        "train": -(-(grid.utterances.train or TRAIN) // len(voices)),
        "valid": -(-(grid.utterances.valid or VALID) // len(voices)),
        grid.eval.split: grid.eval.sentences,
    }
    rows = [
        (f"{split}-{voice}-{number:03d}", split, voice, texts[number % len(texts)])
        for split, count in counts.items()
        for voice in voices
        for number in range(count)
    ]
    grid.corpus.mkdir(parents=True, exist_ok=True)
    audio = tts.batch(
        [text for *_, text in rows], voice=[speakers[voice] for _, _, voice, _ in rows]
    )
    lines = []
    for (name, split, voice, text), made in zip(rows, audio, strict=True):
        made.save(grid.corpus / f"{name}.wav")
        ends = letter_times(text, made)
        row = {"id": name, "audio": f"{name}.wav", "text": text, "voice": voice, "split": split}
        times = {"phones": list(zip(text, ends, strict=True)), "chars": ends}
        lines.append(json.dumps(row | {"seconds": made.duration} | times) + "\n")
    with atomic_path(manifest) as partial:
        partial.write_text("".join(lines), encoding="utf-8")


def letter_times(text: str, audio: Audio) -> list[float]:
    """End times of the characters of `text`, interpolated within the words of `audio`."""
    places, times = [0], [0.0]
    end = 0
    for word in audio.words:
        start = text.index(word.text, end)
        end = start + len(word.text)
        places += [start, end]
        times += [word.start, word.end]
    places, times = [*places, len(text)], [*times, audio.duration]
    found = np.interp(np.arange(1, len(text) + 1), places, np.maximum.accumulate(times))
    return [round(float(time), 4) for time in found]
