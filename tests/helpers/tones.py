"""A corpus whose letters are tones, on which an aligner learns in a few seconds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from vocalmtp.config import parse
from vocalmtp.training.recipe import AlignerRecipe

TONES = {"a": 400.0, "b": 1000.0, "c": 2500.0}  # Hz


def tone_speech(
    text: str, generator: np.random.Generator
) -> tuple[np.ndarray, list[float], list[tuple[str, float]]]:
    """Samples, character ends and phones of a text that is spoken in tones; marks are silent."""
    parts, ends, phones = [], [], []
    for character in text:
        seconds = generator.uniform(0.08, 0.2)
        time = np.arange(round(seconds * 16_000)) / 16_000
        parts.append(0.3 * np.sin(2 * np.pi * TONES.get(character, 0.0) * time))
        ends.append(round(sum(map(len, parts)) / 16_000, 4))
        phones.append((character if character in TONES else "pau", ends[-1]))
    return np.concatenate(parts).astype(np.float32), ends, phones


def write_tone_corpus(folder: Path) -> Path:
    """Forty utterances of the split "train"."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    rows = []
    for index in range(40):
        text = "".join(generator.choice(list("abc "), 8)).strip() + "a."
        samples, ends, phones = tone_speech(text, generator)
        soundfile.write(folder / f"{index}.wav", samples, 16_000)
        row = {"id": str(index), "audio": f"{index}.wav", "text": text, "split": "train"}
        row |= {"seconds": ends[-1], "chars": ends, "phones": phones}
        rows.append(json.dumps(row))
    (folder / "manifest.jsonl").write_text("\n".join(rows))
    return folder


def tiny_aligner_recipe(corpus: Path, **changes: Any) -> AlignerRecipe:
    """A recipe for a tiny aligner, written to `corpus`/aligner."""
    recipe = {"corpus": corpus, "output": corpus / "aligner", "steps": 20, "crop_seconds": 1.0}
    recipe |= {
        "model": {"dim": 32, "layers": 2, "kernel": 5},
        "noise_prob": 0.5,
        "reverb_prob": 0.3,
    }
    return parse(AlignerRecipe, recipe | changes)
