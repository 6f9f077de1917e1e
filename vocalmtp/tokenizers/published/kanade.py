"""Kanade (2602.00594): one stream of content at 25 Hz, and the voice as one vector.

Layers of WavLM are encoded, the lower ones to the vector, the higher ones to codes; transformers
with local attention turn codes and vector into a mel spectrogram, which HiFT makes audible. Keys
and shapes are those of the published model.safetensors, of WavLM Base+ and of hift.pt.
Shapes: B batch, C channels, L frames of WavLM at 50 Hz, T = L / 2 codes, D width.
"""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import TOKENIZERS
from vocalmtp.tokenizers.huggingface.base import usual_defaults
from vocalmtp.tokenizers.published import hift
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.s3 import rotate
from vocalmtp.tokenizers.published.wavtokenizer import ConvNeXt
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec

SAMPLE_RATE, HOP = 16_000, 640  # of the audio to encode
EDGE = 40  # zeros to either side, with which WavLM's convolutions have a frame per 320 samples
LOCAL_LAYERS, GLOBAL_LAYERS = (6, 9), (1, 2, 3, 4)  # of WavLM, counted from 1
LEVELS = (8, 8, 8, 5, 5)
ENCODER_WINDOW, DECODER_WINDOW = 125, 65  # frames that attention sees, in the middle of them
PARTS = {"pytorch_model": "ssl.", "hift": "vocoder."}  # by file: what its keys leave out

Width = Annotated[int, Field(ge=1, le=8192)]
Even = Annotated[int, Field(ge=2, le=8192, multiple_of=2)]
Count = Annotated[int, Field(ge=1, le=64)]


class KanadeConfig(PublishedConfig):
    """Sizes of Kanade; the defaults are those of the published weights."""

    name: str = "kanade-25hz-clean"
    ssl_width: Even = 768  # of WavLM
    ssl_heads: Count = 12
    ssl_hidden: Width = 3072
    ssl_filters: Width = 512
    ssl_positions: tuple[Width, Width] = (128, 16)  # kernel and groups of its convolution
    heads: Count = 12  # of the transformers, which are as wide as WavLM
    hidden: Width = 2048
    layers: Count = 6
    voice_width: Width = 384
    voice_hidden: Width = 1152
    voice_layers: Count = 4
    voice_attention: Width = 128
    speaker_dim: Width = 128
    post_width: Width = 256
    post_layers: Annotated[int, Field(ge=2, le=64)] = 4
    vocoder_width: Annotated[int, Field(ge=8, le=8192, multiple_of=8)] = 512
    pitch_width: Width = 512

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        size = math.prod(LEVELS)
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="decoupled",
            sample_rate=hift.SAMPLE_RATE,
            encoder_sample_rate=SAMPLE_RATE,
            frame_rate=SAMPLE_RATE / HOP,
            streams=(StreamSpec(name="fsq", size=size, role="content", levels=LEVELS),),
            speaker_dim=self.speaker_dim,
            licence="unconfirmed",  # of the weights
        )

    def wavlm(self) -> Any:
        """Return a WavLM without weights, with the layers that are used."""
        from transformers import WavLMConfig, WavLMModel

        kernel, groups = self.ssl_positions
        config = WavLMConfig(
            hidden_size=self.ssl_width,
            intermediate_size=self.ssl_hidden,
            num_hidden_layers=max(LOCAL_LAYERS),
            num_attention_heads=self.ssl_heads,
            conv_dim=(self.ssl_filters,) * 7,
            num_conv_pos_embeddings=kernel,
            num_conv_pos_embedding_groups=groups,
            mask_time_prob=0,
        )
        return WavLMModel(config)


class Attention(nn.Module):
    """Attention to `window` frames around each, with rotary positions of interleaved pairs."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads, self.side = heads, window // 2
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, D] to [B, L, D]."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, L, d]
            for part in (self.wq, self.wk, self.wv)
        )
        q, k = (rotate(y.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)) for y in (q, k))
        place = torch.arange(x.shape[1], device=x.device)
        near = (place - place[:, None]).abs() <= self.side
        return self.wo(F.scaled_dot_product_attention(q, k, v, near).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """A gated feed-forward network: [B, L, D] to [B, L, D]."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.w1, self.w3 = (nn.Linear(width, hidden, bias=False) for _ in range(2))
        self.w2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, D] to [B, L, D]."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class AdaptiveNorm(nn.Module):
    """A layer norm with bias, gain and, if `parts` is 3, gate from a vector (2212.09748)."""

    def __init__(self, width: int, condition: int, parts: int):
        super().__init__()
        self.parts = parts
        self.condition_proj = nn.Sequential(nn.SiLU(), nn.Linear(condition, parts * width))

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """Map [B, L, D] and `condition` [B, 1, D_s] to [B, L, D] and the last part [B, 1, D]."""
        parts = self.condition_proj(condition).chunk(self.parts, dim=-1)
        return F.layer_norm(x, x.shape[-1:]) * (1 + parts[1]) + parts[0], parts[-1]


class Block(nn.Module):
    """Attention and a feed-forward network, of inputs whose norm may depend on a vector."""

    def __init__(self, config: KanadeConfig, window: int, condition: int):
        super().__init__()
        width = config.ssl_width
        self.attention = Attention(width, config.heads, window)
        self.feed_forward = FeedForward(width, config.hidden)
        self.attention_norm, self.ffn_norm = (norm(width, condition, 3) for _ in range(2))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Map [B, L, D] to [B, L, D]."""
        if condition is None:
            x = x + self.attention(self.attention_norm(x))
            return x + self.feed_forward(self.ffn_norm(x))
        y, gate = self.attention_norm(x, condition)
        x = x + gate * self.attention(y)
        y, gate = self.ffn_norm(x, condition)
        return x + gate * self.feed_forward(y)


def norm(width: int, condition: int, parts: int) -> nn.Module:
    """Return a layer norm, adaptive if `condition`, the size of the vector, is not 0."""
    return AdaptiveNorm(width, condition, parts) if condition else nn.LayerNorm(width)


class Transformer(nn.Module):
    """Blocks and a norm; with an output, a linear map of it, and conditioned by a vector."""

    def __init__(self, config: KanadeConfig, window: int, output: int = 0):
        super().__init__()
        condition = config.speaker_dim if output else 0
        blocks = (Block(config, window, condition) for _ in range(config.layers))
        self.layers = nn.ModuleList(blocks)
        self.norm = norm(config.ssl_width, condition, 2)
        self.output_proj = nn.Linear(config.ssl_width, output) if output else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map [B, L, D], and `condition` [B, 1, D_s] if there is an output, to [B, L, D']."""
        for layer in self.layers:
            x = layer(x, condition)
        x = self.norm(x) if condition is None else self.norm(x, condition)[0]
        return self.output_proj(x)


class Quantizer(nn.Module):
    """FSQ (2309.15505) with linear maps around it."""

    def __init__(self, width: int):
        super().__init__()
        self.proj_in, self.proj_out = nn.Linear(width, len(LEVELS)), nn.Linear(len(LEVELS), width)

    @staticmethod
    def digits(like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the levels, and the weights of their digits: [5] each, on the device of `like`."""
        levels = torch.tensor(LEVELS, device=like.device)
        weights = [math.prod(LEVELS[:place]) for place in range(len(LEVELS))]
        return levels, torch.tensor(weights, device=like.device)

    def codes(self, x: Tensor) -> Tensor:
        """Quantise [B, T, D] to codes [B, T]; the first dimension is the least significant."""
        levels, weights = self.digits(x)
        half = (levels - 1) * (1 - 1e-3) / 2
        offset = (levels % 2 == 0) * 0.5
        bounded = (self.proj_in(x).float() + (offset / half).tan()).tanh() * half - offset
        return ((bounded.round().long() + levels // 2) * weights).sum(-1)

    def values(self, codes: Tensor) -> Tensor:
        """Look up codes [B, T]: [B, T, D]."""
        levels, weights = self.digits(codes)
        half = levels // 2
        digits = codes[..., None] // weights % levels - half
        return self.proj_out((digits / half).to(self.proj_out.weight.dtype))


class VoiceEncoder(nn.Module):
    """WavLM's features [B, L, D] to the speaker vector [B, D_s]."""

    def __init__(self, config: KanadeConfig):
        super().__init__()
        width, inner = config.voice_width, config.voice_attention
        norms = (nn.LayerNorm(width, eps=1e-6) for _ in range(config.voice_layers))
        self.backbone: Any = nn.ModuleDict(
            {
                "embed": nn.Conv1d(config.ssl_width, width, 7, padding=3),
                "norm": nn.LayerNorm(width, eps=1e-6),
                "convnext": nn.Sequential(
                    *(ConvNeXt(width, config.voice_hidden, norm) for norm in norms)
                ),
                "final_layer_norm": nn.LayerNorm(width, eps=1e-6),
            }
        )
        attention = (nn.Conv1d(width, inner, 1), nn.Tanh(), nn.Conv1d(inner, width, 1))
        self.pooling: Any = nn.ModuleDict(
            {
                "attn": nn.Sequential(*attention),
                "proj": nn.Linear(2 * width, config.speaker_dim),
                "norm": nn.LayerNorm(config.speaker_dim),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, L, D] to [B, D_s]: weighted means and deviations of frames, projected."""
        x = self.backbone["embed"](x.transpose(1, 2)).transpose(1, 2)
        x = self.backbone["convnext"](self.backbone["norm"](x).transpose(1, 2)).transpose(1, 2)
        x = self.backbone["final_layer_norm"](x).transpose(1, 2)  # [B, C, L]
        weights = self.pooling["attn"](x).softmax(-1)
        mean = (weights * x).sum(-1)
        variance = (weights * x.square()).sum(-1) - mean.square()
        moments = torch.cat([mean, variance.clamp(1e-4, 1e4).sqrt()], dim=-1)
        return self.pooling["norm"](self.pooling["proj"](moments))


class ChannelNorm(nn.Module):
    """Layer norm over the channels of [B, C, L], under its published name."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, L] to [B, C, L]."""
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class PostNet(nn.Module):
    """Convolutions that correct the mel spectrogram: [B, 80, L] to [B, 80, L]."""

    def __init__(self, config: KanadeConfig):
        super().__init__()
        widths = [hift.MELS, *[config.post_width] * (config.post_layers - 1), hift.MELS]
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv1d(inputs, outputs, 7, padding=3), ChannelNorm(outputs))
            for inputs, outputs in zip(widths, widths[1:], strict=False)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Map [B, 80, L] to [B, 80, L]."""
        x = mel
        for layer in self.convolutions[:-1]:
            x = layer(x).tanh()
        return mel + self.convolutions[-1](x)


@TOKENIZERS.register("kanade")
class Kanade(PublishedTokenizer):
    """Kanade behind the `SpeechTokenizer` contract.

    To convert a voice, decode the codes of one utterance with the vector of another.
    """

    Config = KanadeConfig
    UNUSED = r"ssl\.(masked_spec_embed|encoder\.layers\.(9|10|11)\..+)"

    def __init__(self, config: KanadeConfig | None = None):
        config = config or KanadeConfig()
        super().__init__(config)
        width = config.ssl_width
        self.ssl = config.wavlm()
        self.local_encoder = Transformer(config, ENCODER_WINDOW)
        self.conv_downsample = nn.Conv1d(width, width, 2, stride=2)
        self.local_quantizer = Quantizer(width)
        self.global_encoder = VoiceEncoder(config)
        self.mel_prenet = Transformer(config, DECODER_WINDOW)
        self.mel_conv_upsample = nn.ConvTranspose1d(width, width, 2, stride=2)
        self.mel_decoder = Transformer(config, DECODER_WINDOW, hift.MELS)
        self.mel_postnet = PostNet(config)
        self.vocoder = hift.HiFT(config.vocoder_width, config.pitch_width)

    @staticmethod
    def checkpoint_key(file: str, key: str) -> str:
        """See `PublishedTokenizer.checkpoint_key`."""
        return PARTS.get(file, "") + key.removeprefix("generator.")  # of the vocoder's training

    @staticmethod
    def published_key(own: str) -> str:
        """See `PublishedTokenizer.published_key`."""
        if own.startswith("ssl."):
            for ending, part in (("0", "g"), ("1", "v")):
                own = own.replace(f"parametrizations.weight.original{ending}", f"weight_{part}")
        return own

    def encode_row(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """See `PublishedTokenizer.encode_row`."""
        wav = F.pad(wav, (EDGE, EDGE + -wav.shape[-1] % HOP))
        with usual_defaults():
            layers = self.ssl(wav, output_hidden_states=True).hidden_states  # [1, L, D] each
        content = torch.stack([layers[i] for i in LOCAL_LAYERS]).mean(0)
        content = (content - content.mean(1, keepdim=True)) / (content.std(1, keepdim=True) + 1e-8)
        x = self.conv_downsample(self.local_encoder(content).transpose(1, 2))
        codes = self.local_quantizer.codes(x.transpose(1, 2))[:, None]
        return codes, self.global_encoder(torch.stack([layers[i] for i in GLOBAL_LAYERS]).mean(0))

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        assert speaker is not None
        x = self.mel_prenet(self.local_quantizer.values(codes[:, 0]))
        x = self.mel_conv_upsample(x.transpose(1, 2)).transpose(1, 2)
        mel = self.mel_decoder(x, speaker[:, None]).transpose(1, 2)  # [1, 80, L]
        return self.vocoder(self.mel_postnet(mel))
