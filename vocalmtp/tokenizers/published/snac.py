"""SNAC (2410.14411): residual codes at three rates, the coarse ones at a quarter of the fine ones'.

A codec frame here is one of the slowest rate and holds all codes of its duration: 1 coarse, 2
middle and 4 fine ones are seven streams. Codes are [B, 7, T] like those of any other tokenizer,
every combination can be decoded, and the bit rate is the published one; if slow codes were repeated
for four fast frames, a speech LM could predict different ones. Keys and shapes are those of
snac_24khz.
"""

import math
import operator
from collections.abc import Sequence
from functools import reduce
from itertools import accumulate
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from vocalmtp.tokenizers.base import (
    TOKENIZERS,
    CodecStream,
)
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.streaming import WindowStream, dac_reach, frame_noise, in_windows

SAMPLE_RATE = 24_000
STRIDES = (2, 4, 8, 8)  # their product is the hop of 512 samples of the fine codes
LEVELS = {"coarse": 1, "middle": 2, "fine": 4}  # codes per frame
FINEST = max(LEVELS.values())

Width = Annotated[int, Field(ge=1, le=8192)]


class SnacConfig(PublishedConfig):
    """Sizes of SNAC; the defaults are those of the published weights for speech at 24 kHz."""

    name: str = "snac-24khz"
    width: Width = 48  # channels at the full rate, in the encoder
    decoder_width: Annotated[int, Field(ge=16, le=8192, multiple_of=16)] = 1024
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 4096
    codebook_dim: Width = 8

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        names = [
            f"{level}{place + 1}" if count > 1 else level
            for level, count in LEVELS.items()
            for place in range(count)
        ]
        hop = FINEST * math.prod(STRIDES)
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="coupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=SAMPLE_RATE / hop,
            streams=tuple(
                StreamSpec(name=name, size=self.codebook_size, role="acoustic") for name in names
            ),
            lookahead=REACH * hop / SAMPLE_RATE,
            licence="MIT",  # of the weights
        )


REACH = -(-dac_reach(STRIDES[::-1]) // FINEST)  # frames to either side that codes depend on


def conv(inputs: int, outputs: int, kernel: int, **settings: Any) -> nn.Module:
    """Return a weight-normalised convolution, padded to keep the length unless set otherwise."""
    settings = {"padding": kernel // 2} | settings
    return weight_norm(nn.Conv1d(inputs, outputs, kernel, **settings))


class Snake(nn.Module):
    """x + sin²(a x) / a for every channel (2306.06546, section 3.1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        return x + (self.alpha * x).sin().square() / (self.alpha + 1e-9)


class ResidualUnit(nn.Module):
    """A dilated depthwise convolution and a pointwise one, added to their input."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        depthwise = {"groups": channels, "dilation": dilation, "padding": 3 * dilation}
        self.block = nn.Sequential(
            Snake(channels),
            conv(channels, channels, 7, **depthwise),
            Snake(channels),
            conv(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        return x + self.block(x)


class Down(nn.Module):
    """Block of the encoder: [B, C, T] to [B, 2C, T / stride]."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        half = {"stride": stride, "padding": stride // 2}
        self.block = nn.Sequential(
            *(ResidualUnit(channels, dilation) for dilation in (1, 3, 9)),
            Snake(channels),
            conv(channels, 2 * channels, 2 * stride, **half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, 2C, T / stride]."""
        return self.block(x)


class Noise(nn.Module):
    """Addition of noise, whose level is a linear map of the signal (2410.14411, section 3.2)."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear = conv(channels, channels, 1, bias=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Add `noise` [1, 1, T] to `x` [B, C, T]."""
        return x + noise * self.linear(x)


class Up(nn.Module):
    """Block of the decoder: [B, C, T] to [B, C / 2, T * stride]."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        half = channels // 2
        upward = nn.ConvTranspose1d(channels, half, 2 * stride, stride, padding=stride // 2)
        units = (ResidualUnit(half, dilation) for dilation in (1, 3, 9))
        self.block = nn.ModuleList([Snake(channels), weight_norm(upward), Noise(half), *units])

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Map [B, C, T] and `noise` [1, 1, T * stride] to [B, C / 2, T * stride]."""
        for layer in self.block:
            x = layer(x, noise) if isinstance(layer, Noise) else layer(x)
        return x


class Encoder(nn.Module):
    """Waveform [B, 1, N] to [B, D, N / 512]."""

    def __init__(self, config: SnacConfig):
        super().__init__()
        widths = [config.width * 2**i for i in range(len(STRIDES) + 1)]
        self.block = nn.Sequential(
            conv(1, widths[0], 7),
            *(Down(width, stride) for width, stride in zip(widths, STRIDES, strict=False)),
            conv(widths[-1], widths[-1], 7, groups=widths[-1]),
        )

    def forward(self, wav: Tensor) -> Tensor:
        """Map [B, 1, N] to [B, D, N / 512]."""
        return self.block(wav)


class Decoder(nn.Module):
    """Values [B, D, T] and the noise of every block to samples [B, 1, T * 512]."""

    def __init__(self, config: SnacConfig):
        super().__init__()
        dim = config.width * 2 ** len(STRIDES)
        widths = [config.decoder_width // 2**i for i in range(len(STRIDES) + 1)]
        ups = (Up(width, stride) for width, stride in zip(widths, STRIDES[::-1], strict=False))
        self.model = nn.ModuleList(
            [
                conv(dim, dim, 7, groups=dim),
                conv(dim, widths[0], 1),
                *ups,
                Snake(widths[-1]),
                conv(widths[-1], 1, 7),
                nn.Tanh(),
            ]
        )

    def forward(self, x: Tensor, noises: Sequence[Tensor]) -> Tensor:
        """Map [B, D, T], with noise for every `Up`, to [B, 1, T * 512]."""
        remaining = iter(noises)
        for layer in self.model:
            x = layer(x, next(remaining)) if isinstance(layer, Up) else layer(x)
        return x


class Quantizer(nn.Module):
    """Codes of means over `stride` frames, by the angle to the entries of a narrow codebook."""

    def __init__(self, dim: int, stride: int, config: SnacConfig):
        super().__init__()
        self.stride = stride
        self.in_proj = conv(dim, config.codebook_dim, 1)
        self.out_proj = conv(config.codebook_dim, dim, 1)
        self.codebook = nn.Embedding(config.codebook_size, config.codebook_dim)

    def codes(self, x: Tensor) -> Tensor:
        """Quantise [B, D, T] to codes [B, T / stride]."""
        x = self.in_proj(F.avg_pool1d(x, self.stride)).transpose(1, 2)
        entries = F.normalize(self.codebook.weight, dim=-1)
        return (F.normalize(x, dim=-1) @ entries.T).argmax(-1)

    def values(self, codes: Tensor) -> Tensor:
        """Look up codes [B, T / stride]: [B, D, T]."""
        values = self.out_proj(self.codebook(codes).transpose(1, 2))
        return values.repeat_interleave(self.stride, dim=-1)


@TOKENIZERS.register("snac")
class Snac(PublishedTokenizer):
    """SNAC of 24 kHz behind the `SpeechTokenizer` contract.

    Its noise is drawn for every frame, with the frame's index as the seed: the same codes give the
    same audio as a whole, in a batch, and streamed. The models of 32 and 44.1 kHz, for music,
    attend within windows and are not supported.
    """

    Config = SnacConfig
    block: ClassVar[int] = 256  # frames that are encoded or decoded at once

    def __init__(self, config: SnacConfig | None = None):
        config = config or SnacConfig()
        super().__init__(config)
        dim = config.width * 2 ** len(STRIDES)
        self.encoder = Encoder(config)
        quantizers = (Quantizer(dim, FINEST // count, config) for count in LEVELS.values())
        self.quantizer: Any = nn.ModuleDict({"quantizers": nn.ModuleList(quantizers)})
        self.decoder = Decoder(config)

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        hop = self.spec.hop
        wav = F.pad(wav, (0, -wav.shape[-1] % hop))
        return in_windows(self._codes, wav, hop=hop, reach=REACH, block=self.block), None

    def _codes(self, wav: Tensor) -> Tensor:
        """Encode whole frames: `wav` [B, T * 2048] to codes [B, 7, T]."""
        x, found = self.encoder(wav[:, None]), []
        for quantizer in self.quantizer["quantizers"]:
            codes = quantizer.codes(x)
            x = x - quantizer.values(codes)
            found.append(codes.unflatten(-1, (-1, FINEST // quantizer.stride)))  # [B, T, count]
        return torch.cat(found, dim=-1).transpose(1, 2)

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        stream = WindowStream(self._wav, lambda _: None, REACH, self.spec.hop)
        parts = [stream.push(piece) for piece in codes.split(self.block, dim=-1)]
        return torch.cat([*parts, stream.flush()], dim=-1)

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """See `SpeechTokenizer.stream`."""
        return WindowStream(self._wav, self._check, REACH, self.spec.hop)

    def _wav(self, codes: Tensor, first: int) -> Tensor:
        """Decode `codes` [B, 7, T], which begin with frame `first`, to wav [B, T * 2048]."""
        codes = codes.to(self.device)
        levels = codes.transpose(1, 2).split(list(LEVELS.values()), dim=-1)  # [B, T, count]
        pairs = zip(self.quantizer["quantizers"], levels, strict=True)
        values = reduce(torch.add, (layer.values(level.flatten(1)) for layer, level in pairs))
        noises = [noise.to(values) for noise in block_noise(first, codes.shape[-1])]
        return self.decoder(values, noises)[:, 0].float()


def block_noise(first: int, count: int) -> list[Tensor]:
    """Return the noise of `count` frames from frame `first` for every `Up`: [1, 1, .]."""
    rates = [FINEST * rate for rate in accumulate(STRIDES[::-1], operator.mul)]  # samples per frame
    noise = frame_noise(first, count, sum(rates))
    return [part.reshape(1, 1, -1) for part in noise.split(rates, dim=-1)]
