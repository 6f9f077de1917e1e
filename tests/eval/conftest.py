"""A toy model and a toy corpus, and the tests that need the judges of the extra `eval`."""

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.toy_model import save_toy_model

from vocalmtp.tts import TTS, load

HEAVY = ("resemblyzer", "speechmos", "pesq")


def pytest_runtest_setup(item: pytest.Item) -> None:
    missing = [name for name in HEAVY if find_spec(name) is None]
    if missing and item.get_closest_marker("needs_eval"):
        pytest.skip(f"needs the extra 'eval': {', '.join(missing)} not installed")


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory) -> Path:
    return save_toy_model(tmp_path_factory.mktemp("model") / "toy")


@pytest.fixture(scope="session")
def tts(toy_folder) -> TTS:
    return load(toy_folder)


@pytest.fixture
def quick_ears(monkeypatch) -> None:
    """Hear "hi there" in everything, at once; the real recogniser has a test of its own."""
    monkeypatch.setattr("vocalmtp.evaluation.intelligibility.recognise", lambda path: "hi there")


def buzz(pitch: float, seconds: float = 1.0) -> np.ndarray:
    """A gliding buzz [N] at 16 kHz over a little noise: voiced, and with a pitch that moves."""
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
        soundfile.write(tmp_path / f"{number}.wav", buzz(100 if voice == "ann" else 200), 16_000)
        row = {"id": name, "audio": f"{number}.wav", "text": text, "voice": voice, "split": split}
        row |= {"seconds": 1.0, "phones": [["pau", 0.2], [text[0], 0.6], ["ax", 1.0]]}
        lines.append(json.dumps(row) + "\n")
    path = tmp_path / "manifest.jsonl"
    path.write_text("".join(lines))
    return path


TRAINING = [("ann", "one"), ("bob", "one"), ("ann", "two"), ("bob", "two"), ("bob", "three")]
