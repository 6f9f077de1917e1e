"""Tiny speech LMs with random weights in the layouts that their publishers use."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CsmConfig,
    CsmForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from helpers.published_weights import scattered
from helpers.tiny_codecs import make_model, make_tiny

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
        for weight in model.model.layers.parameters():  # and so that the prompt matters
            weight.mul_(6 if weight.dim() > 1 else 1)
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


MARKS = ("TEXT_PROMPT", "TEXT_UNDERSTANDING", "SPEECH_GENERATION")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
    "{{ m.content | trim }}<|eot_id|>{% endfor %}"
)


def save_flat(folder: Path, code: str, codec: str) -> PreTrainedModel:
    """Save a tiny Llasa or NeuTTS with its codec; returns the causal LM."""
    tokens = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    tokens += [f"<|{mark}_{place}|>" for mark in MARKS for place in ("START", "END")]
    tokens += [code.format(number) for number in range(65_536)]
    settings = {"bos_token": "<|begin_of_text|>", "chat_template": CHAT_TEMPLATE}
    size = save_text_tokenizer(folder, tokens, **settings)
    make_tiny(codec).save_pretrained(folder / "tokenizer")
    return save_llama(folder, size)


def save_csm(folder: Path) -> CsmForConditionalGeneration:
    """Save a tiny CSM, whose weights include a tiny Mimi; returns it."""
    tokens = ["<|begin_of_text|>", "<|end_of_text|>"]
    size = save_text_tokenizer(folder, tokens, bos_token="<|begin_of_text|>")
    small = {name: LLAMA[name] for name in LLAMA if name not in ("tie_word_embeddings",)}
    ids = dict.fromkeys(("bos_token_id", "eos_token_id"))
    depth = small | ids | {"hidden_size": 16, "max_position_embeddings": 33, "head_dim": 4}
    codec = make_model("mimi-32")
    config = CsmConfig(
        text_vocab_size=size,
        codec_config=codec.config.to_dict(),
        depth_decoder_config=depth | {"backbone_hidden_size": 32},
        head_dim=8,
        **small,
        **ids,
        pad_token_id=0,
        audio_token_id=0,
        audio_eos_token_id=1,
    )
    torch.manual_seed(0)
    model = CsmForConditionalGeneration(config).eval()
    model.codec_model.load_state_dict(codec.state_dict())
    with torch.no_grad():
        for weight in model.backbone_model.layers.parameters():
            weight.mul_(6 if weight.dim() > 1 else 1)
        for table in (model.embed_text_tokens, model.depth_decoder.model.embed_tokens):
            table.weight.mul_(50)
        for heads in (model.lm_head.weight, model.depth_decoder.codebooks_head.weight):
            heads.mul_(20)
        model.lm_head.weight[2048:] = 0  # ids that are no codes are never the most likely
        model.depth_decoder.codebooks_head.weight[..., 2048:] = 0
    model.save_pretrained(folder, max_shard_size="2MB")
    return model


def save_vocalnet(folder: Path, settings: dict[str, Any], shapes: dict[str, list[int]]) -> None:
    """Save a tiny VocalNet, whose weights are the same everywhere, with its codec."""
    tokens = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    chat = {"bos_token": "<|begin_of_text|>", "chat_template": CHAT_TEMPLATE}
    assert save_text_tokenizer(folder, tokens, **chat) == settings["vocab_size"]
    weights = {name: scattered(name, torch.Size(shape)) for name, shape in shapes.items()}
    config = settings | {"model_type": "omni_speech2s_llama"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights["model.speech_encoder.conv1.bias"] = torch.zeros(4)  # of what is not read
    save_file(weights, folder / "model.safetensors")
    make_tiny("cosyvoice2").save_pretrained(folder / "tokenizer")


MOSS_MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MOSS_SPEECH = ("start", "end", "user_slot", "assistant_gen_slot", "assistant_delay_slot")
MOSS_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_parts(
    folder: Path, settings: dict[str, Any], weights: dict[str, torch.Tensor], codec: str
) -> None:
    """Save the configuration and the weights of a model, and a tiny codec beside them."""
    (folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    save_file(weights, folder / "model.safetensors")
    make_tiny(codec).save_pretrained(folder / "tokenizer")


def save_moss(folder: Path, settings: dict[str, Any], shapes: dict[str, list[int]]) -> None:
    """Save a tiny MOSS-TTS, whose weights are the same everywhere, with its codec."""
    tokens = [*MOSS_MARKS, *(f"<|audio_{name}|>" for name in MOSS_SPEECH)]
    size = save_text_tokenizer(folder, tokens, chat_template=MOSS_TEMPLATE)
    assert size == settings["language_config"]["vocab_size"]
    weights = {name: moss_weight(name, shape) for name, shape in shapes.items()}
    save_parts(folder, settings, weights, "moss-audio-tokenizer")


def moss_weight(name: str, shape: list[int]) -> torch.Tensor:
    """The weight of a published name; those of layers and heads are large, so that outputs differ."""
    weight = scattered(name, torch.Size(shape))
    if "layers" in name and len(shape) == 2:
        weight = weight * 2
    if name == "lm_heads.0.weight":
        weight = weight.roll(4, 0)  # so that speech ends after some frames
    factor = {"lm_heads": 8, "emb_ext": 5}.get(name.partition(".")[0], 1)
    return weight * factor


def save_slm(folder: Path, case: dict[str, Any], grouped: bool) -> None:
    """Save a tiny SLM-Decoupled-MTP, whose weights are the same everywhere, with its codec."""
    marks = ["[Human]", "[Assistant]", "<sosp>", "<|placeholder|>"]
    codes = [f"<{name}{number}>" for name in "abc" for number in range(1024)]
    added = [*marks, *codes, "<eosp>", "<|speech_pad|>"]
    if not grouped:
        added = [*codes, "<sosp>", "<eosp>", "[Human]", "[Assistant]", "<|placeholder|>"]
    save_former_tokenizer(folder, ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *added])
    weights = {name: scattered(name, torch.Size(size)) for name, size in case["shapes"].items()}
    save_parts(folder, case["config"], weights, "facodec-v2-3")


def save_former_tokenizer(folder: Path, tokens: list[str]) -> None:
    """Save a tokenizer of bytes and `tokens` as Qwen2's was saved before tokenizer.json."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    files = {
        "vocab.json": {byte: number for number, byte in enumerate(alphabet)},
        "added_tokens.json": {token: len(alphabet) + n for n, token in enumerate(tokens)},
        "tokenizer_config.json": {"tokenizer_class": "Qwen2Tokenizer"},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")


MIMO_MARKS = ("sosp", "eosp", "empty", "sostm", "eostm", "eot", "im_start", "im_end")


def save_mimo(folder: Path, settings: dict[str, Any], shapes: dict[str, list[int]]) -> None:
    """Save a tiny MiMo-Audio, whose weights are the same everywhere, with its codec."""
    size = save_text_tokenizer(folder, [f"<|{name}|>" for name in MIMO_MARKS])
    assert size == settings["vocab_size"]
    weights = {name: mimo_weight(name, shape) for name, shape in shapes.items()}
    save_parts(folder, settings, weights, "mimo-audio-tokenizer")


def mimo_weight(name: str, shape: list[int]) -> torch.Tensor:
    """The weight of a published name; those of layers and heads are large, so that outputs differ."""
    weight = scattered(name, torch.Size(shape))
    if "layers" in name and len(shape) == 2:
        weight = weight * 2
    large = {"local_transformer_lm_heads": 8, "lm_head": 8, "speech_embeddings": 5}
    return weight * (5 if "embed_tokens" in name else large.get(name.partition(".")[0], 1))
