"""A grid that runs in seconds over a corpus of tones, with fast judges."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from helpers.toy_model import BACKBONE, tokenizer_config

from vocalmtp.ablation import train as cells
from vocalmtp.evaluation.judges import MOS_JUDGES, SPEAKER_JUDGES
from vocalmtp.evaluation.statistics import single
from vocalmtp.optional import require


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two voices with four training utterances each, one for validation and one for the test."""
    folder, rows = tmp_path / "corpus", []
    folder.mkdir()
    for place, split in enumerate(["train"] * 4 + ["valid", "test"]):
        for voice, pitch in (("ann", 110), ("bob", 180)):
            seconds, text = 2.2 + place / 10, "hi." if split == "test" else "one two three."
            time = np.arange(round(seconds * 16_000)) / 16_000
            buzz = sum(np.sin(2 * np.pi * pitch * h * time) / h for h in range(1, 6)) * 0.1
            name = f"{split}-{voice}-{place}"
            soundfile.write(folder / f"{name}.wav", buzz, 16_000)
            rows.append(
                {
                    **{"id": name, "audio": f"{name}.wav", "text": text, "voice": voice},
                    **{"split": split, "seconds": seconds, "phones": [["ah", seconds]]},
                    "chars": np.linspace(0.1, seconds, len(text)).tolist(),
                }
            )
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def settings(corpus: Path, tmp_path: Path) -> dict[str, Any]:
    """A grid of one tokenizer and two cells, as in a YAML file."""
    tokenizer = tokenizer_config().model_dump(mode="json", exclude={"kind"})
    return {
        "recipe": "ablation",
        "output": str(tmp_path / "grid"),
        "corpus": str(corpus),
        "tokenizer": {
            "recipe": "tokenizer",
            "model": {**tokenizer, "content_streams": 2},
            **{"steps": 1, "batch_size": 2, "crop_seconds": 1.28, "decode_frames": 16},
        },
        "speech_lm": {
            "model": {"backbone": BACKBONE, "track": {"width": 16, "layers": 1}},
            "optim": {"max_steps": 4, "batch_frames": 120, "warmup_steps": 1, "log_every": 1}
            | {"eval_every": 2, "save_every": 2},
        },
        "tokenizers": {"apart": {"train": {"kind": "decoupled"}}},
        "tokens_per_step": [1, 6],
        "backbones": {"toy": {}},
        "eval": {"sentences": 1, "few": 1, "repeats": 1, "judges": ["test-ones", "test-none"]},
    }


@pytest.fixture
def grid_file(settings: dict[str, Any], tmp_path: Path) -> Path:
    """`settings` in a file."""
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@SPEAKER_JUDGES.register("test-ones")
class Ones:
    """The same embedding for everything."""

    name = description = "ones"

    def __init__(self, *, device: str = "cpu"):
        self.device = device

    def embed(self, samples: np.ndarray) -> np.ndarray:
        return np.ones(256) / 16


@MOS_JUDGES.register("test-none")
class NotInstalled:
    """A MOS judge whose package is missing."""

    name = title = description = "none"

    def __init__(self, *, device: str = "cpu"):
        require("no_such_package")

    def score(self, samples: np.ndarray) -> dict[str, float]:
        raise NotImplementedError


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transcript is the same, and no process is started to measure a cold start."""
    place = "vocalmtp.recognizers.pocketsphinx.PocketsphinxRecognizer.transcribe"
    monkeypatch.setattr(place, lambda self, samples: "one two")
    cold = (single(2.0), single(0.5))
    monkeypatch.setattr("vocalmtp.ablation.evaluate.cold_start", lambda *_: cold)
    monkeypatch.setattr("vocalmtp.ablation.evaluate.LOOP_SECONDS", 0.4)
    monkeypatch.setattr("vocalmtp.bench.speed.SENTENCES", ("Hi.",))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cells whose training has been started, in order."""
    calls, real = [], cells.train

    def train(recipe: Any) -> Path:
        calls.append(Path(recipe.output).parent.name)
        return real(recipe)

    monkeypatch.setattr(cells, "train", train)
    return calls
