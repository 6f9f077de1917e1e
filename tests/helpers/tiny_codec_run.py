"""Two buzzing utterances, and a recipe that trains a tiny tokenizer on them in a moment."""

import json
from pathlib import Path

import numpy as np
import soundfile

from vocalmtp.tokenizers.neural import NeuralTokenizerConfig
from vocalmtp.training.recipe import TokenizerRecipe

TINY = NeuralTokenizerConfig(
    name="tiny",
    encoder_dim=32,
    encoder_layers=1,
    decoder_dim=32,
    decoder_layers=1,
    frame_dim=32,
    frame_layers=1,
)


def tiny_codec_recipe(folder: Path) -> TokenizerRecipe:
    """A recipe over two buzzing utterances with a glide."""
    (folder / "shards").mkdir()
    rows = []
    for i in range(2):
        time = np.arange(24_000) / 16_000
        phase = 2 * np.pi * np.cumsum(110 + 60 * i + 20 * np.sin(4 * time)) / 16_000
        wav = sum(np.sin(h * phase) / h for h in range(1, 12)) * 0.1
        soundfile.write(folder / f"shards/{i}.wav", wav, 16_000)
        row = {
            "id": str(i),
            "audio": f"shards/{i}.wav",
            "text": "a.",
            "phones": [["a", 0.7], ["b", 1.5]],
        }
        rows.append(json.dumps(row) + "\n")
    (folder / "shards/0.jsonl").write_text("".join(rows))
    return TokenizerRecipe(
        corpus=folder, output=folder / "run", model=TINY, steps=30, batch_size=2,
        crop_seconds=1.28, decode_frames=16, learning_rate=3e-3, warmup_steps=1, ema_decay=0.5,
    )  # fmt: skip
