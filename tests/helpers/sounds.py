"""Sounds that stand for recordings."""

import numpy as np


def buzz(seconds: float = 2.0, rate: int = 16_000, pitch: float = 120.0) -> np.ndarray:
    """Harmonics of a steady pitch, float32 [N]: the least that passes for a voice."""
    time = np.arange(round(seconds * rate)) / rate
    waves = (np.sin(2 * np.pi * pitch * h * time) / h for h in range(1, 6))
    return (0.1 * sum(waves)).astype(np.float32)
