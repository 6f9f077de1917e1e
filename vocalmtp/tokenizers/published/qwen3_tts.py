"""Qwen3-TTS-Tokenizer-12Hz (2601.15621): 16 streams at 12.5 Hz, causal on both sides.

The encoder is Mimi's (2410.00037), from Transformers; the decoder has a transformer and causal
convolutions of its own. Keys and shapes are those of the published
model.safetensors. Shapes: B batch, C channels, T time at the level of the layer, H heads.
"""

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from vocalmtp.tokenizers.base import TOKENIZERS, CodecStream, check_wav
from vocalmtp.tokenizers.huggingface.seanet import drop_cached_codebooks, mimi_encoder
from vocalmtp.tokenizers.published.alias_free import SnakeBeta
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.ecapa import SpeakerEncoder, SpeakerEncoderConfig
from vocalmtp.tokenizers.published.s3 import rotate
from vocalmtp.tokenizers.published.wavtokenizer import ConvNeXt
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.streaming import CausalStage, CausalStream, Function, in_blocks

SAMPLE_RATE, HOP = 24_000, 1920
STREAMS, ENCODED = 16, 32  # codebooks that are used, and that the encoder has
FIRST_STRIDES, STRIDES = (2, 2), (8, 5, 4, 3)  # of the decoder: their product is the hop
DILATIONS = (1, 3, 9)

Width = Annotated[int, Field(ge=1, le=8192)]
Even = Annotated[int, Field(ge=2, le=8192, multiple_of=2)]
Count = Annotated[int, Field(ge=1, le=64)]


class Qwen3TTSConfig(PublishedConfig):
    """Sizes of both sides; the defaults are those of the published weights."""

    name: str = "qwen3-tts-12hz"
    encoder_filters: Width = 64  # channels at the full rate
    encoder_width: Even = 512
    encoder_hidden: Width = 2048
    encoder_layers: Count = 8
    encoder_heads: Count = 8
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 2048
    codebook_dim: Width = 256
    latent: Width = 1024
    width: Width = 512  # of the decoder's transformer
    hidden: Width = 1024
    layers: Count = 8
    heads: Count = 16
    head_dim: Even = 64
    window: Annotated[int, Field(ge=2, le=8000)] = 72  # frames that attention sees
    decoder_width: Annotated[int, Field(ge=16, le=8192, multiple_of=16)] = 1536
    speaker: SpeakerEncoderConfig | None = None  # of a speech LM that clones voices by a vector

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        size = self.codebook_size
        streams = [StreamSpec(name="semantic", size=size, role="semantic")]
        for i in range(1, STREAMS):
            streams.append(StreamSpec(name=f"rvq{i}", size=size, role="acoustic"))
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="semi_decoupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=SAMPLE_RATE / HOP,
            streams=tuple(streams),
            speaker_dim=0 if self.speaker is None else self.speaker.enc_dim,
            lookahead=0,
            licence="Apache-2.0",  # of the weights
        )

    def mimi(self) -> Any:
        """Return the configuration of the encoder for Transformers."""
        from transformers import MimiConfig

        return MimiConfig(
            num_filters=self.encoder_filters,
            hidden_size=self.encoder_width,
            intermediate_size=self.encoder_hidden,
            num_hidden_layers=self.encoder_layers,
            num_attention_heads=self.encoder_heads,
            num_key_value_heads=self.encoder_heads,
            head_dim=self.encoder_width // self.encoder_heads,
            upsample_groups=self.encoder_width,
            codebook_size=self.codebook_size,
            codebook_dim=self.codebook_dim,
            vector_quantization_hidden_dimension=self.codebook_dim,
            num_quantizers=ENCODED,
            sliding_window=1 << 30,  # that of 250 is configured, but not applied by published code
        )


class Conv(nn.Module):
    """Convolution padded with zeros before the first value: [B, C, T] to [B, C', T]."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, groups: int = 1
    ):
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, groups=groups)
        self.past = (kernel - 1) * dilation

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C', T]."""
        return self.conv(F.pad(x, (self.past, 0)))


class ConvTranspose(nn.Module):
    """Transposed convolution without its end: [B, C, T] to [B, C', T * stride]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, kernel, stride)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C', T * stride]."""
        return self.conv(x)[..., : x.shape[-1] * self.stride]


class ResidualUnit(nn.Module):
    """A dilated convolution and a pointwise one, added to their input."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.act1, self.act2 = SnakeBeta(width), SnakeBeta(width)
        self.conv1, self.conv2 = Conv(width, width, 7, dilation=dilation), Conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        return x + self.conv2(self.act2(self.conv1(self.act1(x))))


class Up(nn.Module):
    """Block of the decoder: [B, C, T] to [B, C / 2, T * stride]."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        half = width // 2
        self.block = nn.Sequential(
            SnakeBeta(width),
            ConvTranspose(width, half, 2 * stride, stride),
            *(ResidualUnit(half, dilation) for dilation in DILATIONS),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C / 2, T * stride]."""
        return self.block(x)


class Scale(nn.Module):
    """A learned gain for every channel (2103.17239)."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, C] to [B, T, C]."""
        return self.scale * x


class Layer(nn.Module):
    """Attention to the newest frames and a gated feed-forward network, of normalised inputs."""

    def __init__(self, config: Qwen3TTSConfig):
        super().__init__()
        width, inner = config.width, config.heads * config.head_dim
        self.heads, self.window = config.heads, config.window
        parts = {f"{part}_proj": nn.Linear(width, inner, bias=False) for part in "qkv"}
        self.self_attn = nn.ModuleDict({**parts, "o_proj": nn.Linear(inner, width, bias=False)})
        gates = {
            f"{part}_proj": nn.Linear(width, config.hidden, bias=False) for part in ("gate", "up")
        }
        down = nn.Linear(config.hidden, width, bias=False)
        self.mlp = nn.ModuleDict({**gates, "down_proj": down})
        self.input_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=1e-5)
        self.self_attn_layer_scale, self.mlp_layer_scale = Scale(width), Scale(width)

    def forward(self, x: Tensor, first: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map [B, T, C], whose first frame is `first`, to [B, T, C].

        Args:
            x: the frames.
            first: index of the first of them.
            past: [2, B, H, t, d], keys and values of the frames before, as the last call returned.

        """
        y = self.input_layernorm(x)
        q, k, v = (
            self.self_attn[f"{part}_proj"](y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in "qkv"
        )
        new = torch.stack([rotate(k, first), v])  # [2, B, H, T, d]
        known = new if past is None else torch.cat([past, new], dim=-2)
        place = torch.arange(known.shape[-2], device=x.device)
        distance = place[-x.shape[1] :, None] - place
        mask = (distance >= 0) & (distance < self.window)
        y = F.scaled_dot_product_attention(rotate(q, first), known[0], known[1], mask)
        y = self.self_attn["o_proj"](y.transpose(1, 2).flatten(2))
        x = x + self.self_attn_layer_scale(y)
        y = self.post_attention_layernorm(x)
        y = F.silu(self.mlp["gate_proj"](y)) * self.mlp["up_proj"](y)
        x = x + self.mlp_layer_scale(self.mlp["down_proj"](y))
        return x, known[..., 1 - self.window :, :]


class Transformer(nn.Module):
    """The decoder's transformer over [B, C, T]."""

    def __init__(self, config: Qwen3TTSConfig):
        super().__init__()
        self.input_proj = nn.Linear(config.latent, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-5)
        self.output_proj = nn.Linear(config.width, config.latent)

    def stage(self) -> Function:
        """Return a function of [B, C, T] whose calls continue each other."""
        pasts: list[Tensor | None] = [None] * len(self.layers)
        first = 0

        def apply(x: Tensor) -> Tensor:
            nonlocal first
            x = self.input_proj(x.transpose(1, 2))
            for index, layer in enumerate(self.layers):
                x, pasts[index] = layer(x, first, pasts[index])
            first += x.shape[1]
            return self.output_proj(self.norm(x)).transpose(1, 2)

        return apply


class Codebook(nn.Module):
    """Entries as sums over how often they were used, as in training."""

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.cluster_usage = nn.Parameter(torch.ones(size))
        self.embedding_sum = nn.Parameter(torch.zeros(size, dim))

    def forward(self, codes: Tensor) -> Tensor:
        """Look up codes [B, T]: [B, T, D]."""
        usage = F.embedding(codes, self.cluster_usage[:, None].clamp(min=1e-5))
        return F.embedding(codes, self.embedding_sum) / usage


class Values(nn.Module):
    """Sum of codebook entries, projected."""

    def __init__(self, count: int, config: Qwen3TTSConfig):
        super().__init__()
        size, dim = config.codebook_size, config.codebook_dim
        books = (nn.ModuleDict({"_codebook": Codebook(size, dim)}) for _ in range(count))
        self.vq: Any = nn.ModuleDict({"layers": nn.ModuleList(books)})
        self.output_proj = nn.Conv1d(dim, 2 * dim, 1, bias=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Look up codes [B, count, T]: [B, 2 D, T]."""
        pairs = zip(self.vq["layers"], codes.unbind(1), strict=True)
        values = torch.stack([layer["_codebook"](stream) for layer, stream in pairs]).sum(0)
        return self.output_proj(values.transpose(1, 2))


class Decoder(nn.Module):
    """Codes to samples."""

    def __init__(self, config: Qwen3TTSConfig):
        super().__init__()
        latent, widths = config.latent, [config.decoder_width // 2**i for i in range(5)]
        first, rest = Values(1, config), Values(STREAMS - 1, config)
        self.quantizer = nn.ModuleDict({"rvq_first": first, "rvq_rest": rest})
        self.pre_conv = Conv(2 * config.codebook_dim, latent, 3)
        self.pre_transformer = Transformer(config)
        self.upsample = nn.ModuleList(
            nn.Sequential(
                ConvTranspose(latent, latent, stride, stride),
                ConvNeXt(
                    latent,
                    4 * latent,
                    nn.LayerNorm(latent, eps=1e-6),
                    Conv(latent, latent, 7, groups=latent),
                ),
            )
            for stride in FIRST_STRIDES
        )
        self.decoder = nn.Sequential(
            Conv(latent, widths[0], 7),
            *(Up(width, stride) for width, stride in zip(widths, STRIDES, strict=False)),
            SnakeBeta(widths[-1]),
            Conv(widths[-1], 1, 7),
        )

    def stage(self) -> Function:
        """Return a function of codes [B, 16, t], whose calls continue each other, to wav [B, n]."""
        before = CausalStage(self.pre_conv, 2)
        attention = self.pre_transformer.stage()
        layers = nn.Sequential(*self.upsample, self.decoder)
        after = CausalStage(layers, reach(), up=HOP)

        def apply(codes: Tensor) -> Tensor:
            values = self.quantizer["rvq_first"](codes[:, :1])
            values = values + self.quantizer["rvq_rest"](codes[:, 1:])  # [B, 2 D, t]
            return after(attention(before(values)))[:, 0].clamp(-1, 1).float()

        return apply


def reach() -> int:
    """Return how many earlier frames the convolutions behind the transformer see."""
    frames, rate = 0.0, 1
    for stride in FIRST_STRIDES:
        rate *= stride
        frames += 6 / rate
    frames += 6 / rate
    for stride in STRIDES:
        frames += 1 / rate
        rate *= stride
        frames += 6 * sum(DILATIONS) / rate
    return math.ceil(frames + 6 / rate)


@TOKENIZERS.register("qwen3_tts_12hz")
class Qwen3TTSTokenizer(PublishedTokenizer):
    """Qwen3-TTS-Tokenizer-12Hz behind the `SpeechTokenizer` contract."""

    Config = Qwen3TTSConfig
    config: Qwen3TTSConfig
    unit_speaker = False
    UNUSED = r"decoder\.quantizer\.rvq_(first|rest)\.input_proj\.weight"
    block: ClassVar[int] = 1000  # frames that are encoded or decoded at once

    def __init__(self, config: Qwen3TTSConfig | None = None):
        config = config or Qwen3TTSConfig()
        super().__init__(config)
        from transformers import MimiModel

        self.mimi = config.mimi()
        model: Any = MimiModel(self.mimi)
        self.encoder: Any = nn.ModuleDict(
            {
                "encoder": model.encoder.encoder_seanet,
                "encoder_transformer": model.encoder.encoder_transformer,
                "downsample": model.encoder.downsample,
                "quantizer": model.quantizer,
            }
        )
        self.decoder = Decoder(config)
        self.speaker_encoder: SpeakerEncoder | None = None
        if config.speaker is not None:
            self.speaker_encoder = SpeakerEncoder(config.speaker)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        drop_cached_codebooks(self)
        return self

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        wav = F.pad(wav, (0, -wav.shape[-1] % HOP))[:, None]
        encoder, transformer = self.encoder["encoder"], self.encoder["encoder_transformer"]
        encode = mimi_encoder(encoder, transformer, self.encoder["downsample"], self.mimi)
        latents = in_blocks(encode, wav, self.block * HOP)
        return self.encoder["quantizer"].encode(latents, STREAMS).transpose(0, 1), None

    @torch.inference_mode()
    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See `SpeechTokenizer.embed_speaker`."""
        if self.speaker_encoder is None:
            return super().embed_speaker(wav, lengths)
        wav, lengths = check_wav(self.spec, wav, lengths, self.device)
        rows = zip(wav, lengths.tolist(), strict=True)
        return torch.cat([self.speaker_encoder(row[None, :count]) for row, count in rows])

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        return in_blocks(self.decoder.stage(), codes, self.block)

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """See `SpeechTokenizer.stream`."""
        stage = self.decoder.stage()
        return CausalStream(lambda codes: stage(codes.to(self.device)), self._check)
