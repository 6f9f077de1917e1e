"""Tiny speech LMs with random weights in the layouts that their publishers use."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from helpers.tiny_codecs import make_tiny

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 32.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 64,
    },
}


def save_text_tokenizer(folder: Path, tokens: Iterable[str], **settings: Any) -> int:
    """Save a tokenizer of bytes and `tokens`; returns the size of its vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({byte: number for number, byte in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in tokens])
    core.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return core.get_vocab_size()


def save_llama(folder: Path, vocabulary: int, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Save a random Llama in shards; returns it."""
    torch.manual_seed(0)
    ids = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **LLAMA, **ids)).eval()
    with torch.no_grad():  # peaked, so that the most likely token is no matter of rounding
        model.get_input_embeddings().weight.mul_(20)
    if dtype is not None:
        model = model.to(dtype)
    model.save_pretrained(folder, max_shard_size="1MB")
    return model


def save_orpheus(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """Save a tiny Orpheus with its SNAC; returns the causal LM."""
    tokens = ["<|begin_of_text|>", "<|eot_id|>"]
    tokens += [f"<custom_token_{number}>" for number in range(10 + 7 * 4096)]
    size = save_text_tokenizer(folder, tokens, bos_token="<|begin_of_text|>")
    make_tiny("snac-24khz").save_pretrained(folder / "tokenizer")
    return save_llama(folder, size, dtype)
