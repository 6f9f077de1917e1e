"""A model folder with random weights, whole in every part and small enough to speak in no time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vocalmtp.models.config import SpeechLMConfig
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.text import ALPHABET
from vocalmtp.tokenizers.neural import NeuralTokenizer, NeuralTokenizerConfig
from vocalmtp.voices import Voice

BACKBONE = {
    "model_type": "llama",
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


def tokenizer_config(name: str = "toy") -> NeuralTokenizerConfig:
    """The toy tokenizer: all of the real one's parts, few of its weights."""
    return NeuralTokenizerConfig(
        name=name,
        encoder_dim=16,
        encoder_layers=1,
        decoder_dim=16,
        decoder_layers=1,
        frame_dim=16,
        frame_layers=1,
    )


def save_toy_model(folder: Path, **settings: Any) -> Path:
    """Write a model folder with two voices, `ann` and `bob`; `settings` go to SpeechLMConfig."""
    torch.manual_seed(0)
    tokenizer = NeuralTokenizer(tokenizer_config()).eval()
    spec = tokenizer.spec
    config = SpeechLMConfig(
        **{
            "backbone": BACKBONE,
            "streams": [s.model_dump(include={"name", "size", "levels"}) for s in spec.streams],
            "frames_per_step": 2,
            "track": {"width": 16, "layers": 1, "kernel": 3},
            "alphabet": ALPHABET,
            "speaker_dim": spec.speaker_dim,
            "tokenizer": spec.reference(),
        }
        | settings
    )
    SpeechLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder / "tokenizer")
    (folder / "voices").mkdir()
    for seed, name in enumerate(("ann", "bob")):
        vector = np.random.default_rng(seed).standard_normal(spec.speaker_dim).astype(np.float32)
        voice = Voice(
            name, vector / np.linalg.norm(vector), f"drawn at random: {name}", spec.name, spec.hash
        )
        voice.save(folder / "voices" / f"{name}.safetensors")
    text = json.dumps(
        {"name": "toy", "licence": "Apache-2.0", "default_voice": "bob", "sampling": {"top_k": 50}}
    )
    (folder / "card.json").write_text(text)
    return folder
