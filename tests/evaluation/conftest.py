"""A toy model and a toy corpus, fast judges, and the tests that need the extra `eval`."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.toy_model import save_toy_model

from vocalmtp.evaluation.judges import MOS_JUDGES, SPEAKER_JUDGES
from vocalmtp.loading import load
from vocalmtp.tts import TTS

HEAVY = ("resemblyzer", "speechmos", "pesq")
TRAINING = [("ann", "one"), ("bob", "one"), ("ann", "two"), ("bob", "two"), ("bob", "three")]


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [name for name in HEAVY if find_spec(name) is None]
    if missing and item.get_closest_marker("needs_eval"):
        pytest.skip(f"needs the extra 'eval': {', '.join(missing)} not installed")


@SPEAKER_JUDGES.register("test-loudness")
class Loudness:
    """An embedding of the peak alone: between (1, 0) for silence and (0, 1) for full scale."""

    name, description = "loudness", "the peak level"

    def __init__(self, *, device: str = "cpu"):
        self.device = device

    def embed(self, samples: np.ndarray) -> np.ndarray:
        angle = np.clip(float(np.abs(samples).max()), 0, 1) * np.pi / 2
        return np.array([np.cos(angle), np.sin(angle)])


@MOS_JUDGES.register("test-three")
class Three:
    """An opinion score of 3 for everything."""

    name, title, description = "three", "MOS", "always 3"

    def __init__(self, *, device: str = "cpu"):
        self.device = device

    def score(self, samples: np.ndarray) -> dict[str, float]:
        return {"ovrl": 3.0, "sig": 3.5}


FAST_JUDGES = ["--judge", "test-loudness", "--judge", "test-three"]


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="session")
def tts(toy_folder) -> TTS:
    return load(toy_folder)


@pytest.fixture
def hi_there(monkeypatch) -> None:
    """Every transcript is "hi there"; the recognizers have tests of their own."""
    place = "vocalmtp.recognizers.pocketsphinx.PocketsphinxRecognizer.transcribe"
    monkeypatch.setattr(place, lambda self, samples: "hi there")


def glide(pitch: float, seconds: float = 1.0) -> np.ndarray:
    """A gliding harmonic tone [N] at 16 kHz over a little noise: voiced, with a moving pitch."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    phase = 2 * np.pi * pitch * (time + 0.2 * time**2)
    wave = sum(np.sin(k * phase) / k for k in range(1, 12))
    return 0.1 * wave + np.random.default_rng(0).standard_normal(time.size) * 1e-3


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Three recordings of the split `test`, by ann and bob, and five training ones."""
    rows = [("t/0", "ann", "test", "hi there."), ("t/1", "ann", "test", "good day.")]
    rows += [("t/2", "bob", "test", "hi there.")]
    rows += [(f"r{i}", voice, "train", f"{word}.") for i, (voice, word) in enumerate(TRAINING)]
    lines = []
    for number, (name, voice, split, text) in enumerate(rows):
        soundfile.write(tmp_path / f"{number}.wav", glide(100 if voice == "ann" else 200), 16_000)
        row = {"id": name, "audio": f"{number}.wav", "text": text, "voice": voice, "split": split}
        row |= {"seconds": 1.0, "phones": [["pau", 0.2], [text[0], 0.6], ["ax", 1.0]]}
        lines.append(json.dumps(row) + "\n")
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(lines))
    return path
