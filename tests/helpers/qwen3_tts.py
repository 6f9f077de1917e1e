"""Tiny Qwen3-TTS folders in the published layout, with the weights that made the golden outputs."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import pre_tokenizers

from helpers.published_weights import TINY, make_published, scattered

GOLDEN = json.loads((Path(__file__).parents[1] / "published/golden/qwen3_tts.json").read_text())
PIECES = ("as", "ass", "assi", "assis", "assist", "assista", "assistan", "assistant")
MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>")
MARKS += ("<tts_text_eod>",)


def weight_of(key: str, shape: list[int]) -> torch.Tensor:
    """The tensor of a published key; those of layers and heads are large, so that outputs differ."""
    tensor = scattered(key, torch.Size(shape))
    if "codec_head" in key or "lm_head" in key:
        tensor = tensor * 8
    if "layers" in key and len(shape) == 2:
        tensor = tensor * 2
    return tensor


def save_qwen3_tts(folder: Path, kind: str) -> None:
    """Save a model of a kind: "custom_voice", "voice_design" or "base"."""
    published = GOLDEN[kind]
    write_json(folder / "config.json", published["config"])
    save_file(
        {key: weight_of(key, shape) for key, shape in published["shapes"].items()},
        folder / "model.safetensors",
    )
    save_vocabulary(folder)
    save_codec(folder / "speech_tokenizer")


def save_vocabulary(folder: Path) -> None:
    """Save a vocabulary of bytes and the name of a role, in the files of GPT-2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*alphabet, *PIECES]
    write_json(folder / "vocab.json", {word: number for number, word in enumerate(words)})
    merges = [f"{piece[:-1]} {piece[-1]}" for piece in PIECES]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    added = {
        str(len(words) + number): {"content": mark, "special": True, "normalized": False}
        for number, mark in enumerate(MARKS)
    }
    settings = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added}
    write_json(folder / "tokenizer_config.json", settings)


def save_codec(folder: Path) -> None:
    """Save the tiny codec in the published layout."""
    folder.mkdir()
    codec, sizes = make_published("qwen3-tts-12hz"), TINY["qwen3_tts_12hz"]
    tensors = {codec.published_key(key): x.contiguous() for key, x in codec.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    decoder = {
        "codebook_size": sizes.codebook_size,
        "latent_dim": sizes.latent,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "head_dim": sizes.head_dim,
        "sliding_window": sizes.window,
        "decoder_dim": sizes.decoder_width,
    }
    encoder = {
        "num_filters": sizes.encoder_filters,
        "hidden_size": sizes.encoder_width,
        "intermediate_size": sizes.encoder_hidden,
        "num_hidden_layers": sizes.encoder_layers,
        "num_attention_heads": sizes.encoder_heads,
        "codebook_dim": sizes.codebook_dim,
    }
    parts: dict[str, Any] = {"decoder_config": decoder, "encoder_config": encoder}
    write_json(folder / "config.json", {"model_type": "qwen3_tts_tokenizer_12hz"} | parts)


def write_json(file: Path, data: dict[str, Any]) -> None:
    """Write an object."""
    file.write_text(json.dumps(data), encoding="utf-8")
