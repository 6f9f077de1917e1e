"""Tiny random codecs of every card, with its streams, codebooks and strides, and few channels."""

from functools import cache
from typing import Any

import torch
import transformers
from torch import nn

from helpers.published_weights import make_published
from vocalmtp.tokenizers import TOKENIZERS, SpeechTokenizer, TokenizerCard, find_card
from vocalmtp.tokenizers.convert import published_types
from vocalmtp.tokenizers.huggingface.dac import higgs_model_class
from vocalmtp.tokenizers.neural import NeuralTokenizer, NeuralTokenizerConfig

STRIDES = {16_000: (2, 4, 5, 8), 24_000: (2, 4, 5, 8), 44_100: (2, 4, 8, 8)}
# By the end of a parameter's name: so that audio is neither silent nor clipped, and codes vary.
DAC_SCALES = {"conv1.weight": ("times", 4.0), "conv2.weight": ("times", 4.0)}
XCODEC2_SCALES = {
    "conv.weight": ("times", 10.0),
    "conv1.weight": ("times", 10.0),
    "conv2.weight": ("times", 10.0),
    "project_in.weight": ("times", 100.0),
    "project_out.weight": ("times", 20.0),
}
SCALES = {
    "dac": DAC_SCALES,
    "encodec": {"weight.original0": ("times", 1.7), ".embed": ("noise", 0.02)},
    "mimi": {".embed_sum": ("noise", 1.0)},
    "xcodec": {**DAC_SCALES, ".embed": ("noise", 0.2)},
    "higgs_audio_v2_tokenizer": {
        **DAC_SCALES,
        ".embed": ("noise", 0.2),
        "project_in.weight": ("times", 20.0),
        "project_out.weight": ("times", 5.0),
    },
    "xcodec2": XCODEC2_SCALES,
    "neucodec": XCODEC2_SCALES,
}
SEMANTIC = {
    "conv_dim": (8,) * 7,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


def make_tiny(name: str) -> SpeechTokenizer:
    """A new tokenizer of card `name` with tiny random weights, the same every time."""
    card = find_card(name)
    if card.type == "neural":
        return make_neural(name)
    if card.type in published_types():
        return make_published(name)
    return TOKENIZERS[card.type](make_model(name), card)


def make_neural(name: str) -> NeuralTokenizer:
    """A tiny trainable tokenizer of the kind of card `name`."""
    torch.manual_seed(0)
    small = dict.fromkeys(("encoder_dim", "decoder_dim", "frame_dim"), 16)
    card = find_card(name)
    config = NeuralTokenizerConfig(
        name=name,
        kind=card.kind,
        sample_rate=card.sample_rate,
        prosody_levels=card.streams[-1].levels if card.kind == "decoupled" else None,
        encoder_layers=1,
        decoder_layers=2,
        frame_layers=2,
        **small,
    )
    return NeuralTokenizer(config).eval()


def make_model(name: str) -> nn.Module:
    """A new model of Transformers for card `name`, its weights the same every time."""
    card = find_card(name)
    model = BUILDERS[card.type](card)
    model.load_state_dict(model_weights(name), assign=False)
    return model.eval().requires_grad_(False)


@cache
def model_weights(name: str) -> dict[str, torch.Tensor]:
    """Random weights for card `name`, scaled by SCALES."""
    card = find_card(name)
    torch.manual_seed(0)
    weights = BUILDERS[card.type](card).state_dict()
    for key, tensor in weights.items():
        for end, (kind, size) in SCALES[card.type].items():
            if key.endswith(end):
                tensor.normal_(std=size) if kind == "noise" else tensor.mul_(size)
    return weights


def encodec(card: TokenizerCard) -> nn.Module:
    causal = card.sample_rate == 24_000
    config = transformers.EncodecConfig(
        sampling_rate=card.sample_rate,
        target_bandwidths=[24.0] if causal else [2.2],
        upsampling_ratios=[8, 5, 4, 2] if causal else [8, 5, 4, 4],
        use_causal_conv=causal,
        codebook_size=card.streams[0].size,
        hidden_size=8,
        num_filters=2,
        num_lstm_layers=1,
    )
    return transformers.EncodecModel(config)


def dac(card: TokenizerCard) -> nn.Module:
    config = transformers.DacConfig(
        sampling_rate=card.sample_rate,
        downsampling_ratios=STRIDES[card.sample_rate],
        n_codebooks=card.streams[0].count,
        encoder_hidden_size=2,
        decoder_hidden_size=32,
        codebook_dim=4,
    )
    return transformers.DacModel(config)


def mimi(card: TokenizerCard) -> nn.Module:
    config = transformers.MimiConfig(
        hidden_size=16,
        num_filters=2,
        vector_quantization_hidden_dimension=8,
        codebook_dim=8,
        upsample_groups=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=16,
        sliding_window=7,
        layer_scale_initial_scale=0.5,
    )
    return transformers.MimiModel(config)


def xcodec(card: TokenizerCard) -> nn.Module:
    kind = transformers.WavLMConfig if "wavlm" in card.name else transformers.HubertConfig
    config = transformers.XcodecConfig(
        acoustic_model_config=transformers.DacConfig(**acoustic_sizes([8, 5, 4, 2])),
        semantic_model_config=kind(**SEMANTIC),
    )
    return transformers.XcodecModel(config)


def higgs(card: TokenizerCard) -> nn.Module:
    config = transformers.HiggsAudioV2TokenizerConfig(
        target_bandwidths=[0.5, 1, 1.5, 2],
        codebook_dim=8,
        acoustic_model_config=transformers.DacConfig(**acoustic_sizes([8, 5, 4, 2, 3])),
        semantic_model_config=transformers.HubertConfig(**SEMANTIC),
    )
    return higgs_model_class()(config)


def acoustic_sizes(ratios: list[int]) -> dict[str, Any]:
    return {
        "encoder_hidden_size": 2,
        "downsampling_ratios": ratios,
        "upsampling_ratios": ratios,
        "decoder_hidden_size": 32,
        "hidden_size": 16,
    }


def xcodec2_sizes() -> dict[str, Any]:
    semantic = transformers.Wav2Vec2BertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    return {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "encoder_hidden_size": 2,
        "quantization_dim": 48,
        "semantic_model_config": semantic,
    }


def xcodec2(card: TokenizerCard) -> nn.Module:
    return transformers.Xcodec2Model(transformers.Xcodec2Config(**xcodec2_sizes()))


def neucodec(card: TokenizerCard) -> nn.Module:
    return transformers.NeuCodecModel(transformers.NeuCodecConfig(**xcodec2_sizes()))


BUILDERS = {
    "dac": dac,
    "encodec": encodec,
    "higgs_audio_v2_tokenizer": higgs,
    "mimi": mimi,
    "neucodec": neucodec,
    "xcodec": xcodec,
    "xcodec2": xcodec2,
}
