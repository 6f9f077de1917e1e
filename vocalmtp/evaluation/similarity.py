"""Speaker similarity: the cosine of Resemblyzer's embeddings, with another voice as control.

Resemblyzer is GE2E (1710.10467) trained on real people; cosines of synthetic voices are high
throughout, so the control says what a different voice scores.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from vocalmtp.audio.io import read_audio
from vocalmtp.evaluation.statistics import Estimate, bootstrap_mean
from vocalmtp.optional import require

SAMPLE_RATE = 16_000


@cache
def _encoder() -> Any:
    return require("resemblyzer").VoiceEncoder("cpu", verbose=False)


def embed(path: Path) -> np.ndarray:
    """Unit speaker embedding [256] of an audio file. Raises InputError if it cannot be read."""
    samples = read_audio(path, SAMPLE_RATE)
    prepared = require("resemblyzer").preprocess_wav(samples, source_sr=SAMPLE_RATE)
    if len(prepared) < SAMPLE_RATE // 4:  # the voice detector found nothing: take all of it
        prepared = samples
    return _encoder().embed_utterance(prepared)


def centroids(references: dict[str, Sequence[Path]]) -> dict[str, np.ndarray]:
    """Mean unit embedding [256] of every voice's reference recordings."""
    return {voice: centroid([embed(p) for p in paths]) for voice, paths in references.items()}


def centroid(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of unit vectors [D], of length 1 again."""
    mean = np.mean(vectors, 0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)


def compare(
    embeddings: Sequence[np.ndarray | None], voices: Sequence[str], targets: dict[str, np.ndarray]
) -> tuple[Estimate, Estimate]:
    """Mean cosine to the asked voice, and to the nearest other voice (the control).

    What has no embedding counts 0: silence is like nobody. Voices without a target do not count.
    """
    own, other = [], []
    for vector, voice in zip(embeddings, voices, strict=True):
        if voice not in targets:
            continue
        heard = 0.0 if vector is None else vector
        cosines = {name: float(np.sum(heard * target)) for name, target in targets.items()}
        own.append(cosines.pop(voice))
        if cosines:
            other.append(max(cosines.values()))
    return bootstrap_mean(own), bootstrap_mean(other)
