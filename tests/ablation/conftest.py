"""A grid of moments over a corpus of buzzes, and judges that hear at once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from helpers.toy_model import BACKBONE, tokenizer_config

from vocalmtp.ablation import cell, figures
from vocalmtp.evaluation.statistics import once


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two voices; four utterances each to train on, one each to validate and to test."""
    folder, rows = tmp_path / "corpus", []
    folder.mkdir()
    for place, split in enumerate(["train"] * 4 + ["valid", "test"]):
        for voice, pitch in (("ann", 110), ("bob", 180)):
            seconds, text = 2.2 + place / 10, "one two three."
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
    """A grid of one tokenizer and two cells, as YAML would say it."""
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
        "eval": {"sentences": 1, "few": 1, "repeats": 1},
    }


@pytest.fixture
def grid_file(settings: dict[str, Any], tmp_path: Path) -> Path:
    """`settings` in a file."""
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words and voices are heard at once; DNSMOS is not installed; no process is started."""
    vector = np.ones(256) / 16
    monkeypatch.setattr("vocalmtp.evaluation.intelligibility.recognise", lambda path: "one two")
    monkeypatch.setattr("vocalmtp.evaluation.similarity.embed", lambda path: vector)
    monkeypatch.setitem(figures.JUDGES, "words", ("jiwer",))
    monkeypatch.setitem(figures.JUDGES, "voices", ())
    monkeypatch.setitem(figures.JUDGES, "sound", ("no_such_judge",))
    whole = (once(2.0), once(0.5))
    monkeypatch.setattr("vocalmtp.ablation.speed.cold_start", lambda *_: whole)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the cells whose training has been called, as it goes."""
    calls, real = [], cell.train

    def train(recipe: Any) -> Path:
        calls.append(Path(recipe.output).parent.name)
        return real(recipe)

    monkeypatch.setattr(cell, "train", train)
    return calls
