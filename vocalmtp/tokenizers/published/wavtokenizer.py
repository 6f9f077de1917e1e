"""WavTokenizer (2408.16532): one stream of 40 or 75 codes per second.

EnCodec's encoder with one large codebook, and a decoder of attention, ConvNeXt blocks and an
inverse Fourier transform (Vocos, 2306.00814). Keys and shapes are those of the published
checkpoints: small, medium and large.
"""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import (
    TOKENIZERS,
    FixedDtype,
)
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.seanet import Codebook, Conv, Recurrent, ResidualBlock
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.spectra import inverse_stft

SAMPLE_RATE = 24_000
STRIDES = {75: (2, 4, 5, 8), 40: (4, 5, 5, 6)}  # by codes per second
CONDITIONS = 4  # of the adaptive norms; the published models use the first
MAX_MAGNITUDE = 100.0  # of a bin

Width = Annotated[int, Field(ge=1, le=8192)]


class WavTokenizerConfig(PublishedConfig):
    """Sizes of WavTokenizer; the defaults are those of the published weights."""

    name: str = "wavtokenizer-75"
    rate: Literal[40, 75] = 75  # codes per second
    width: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 32  # channels at the full rate
    dim: Width = 512
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 4096
    decoder_width: Annotated[int, Field(ge=1, le=8192)] = 768
    decoder_hidden: Width = 2304
    decoder_layers: Annotated[int, Field(ge=1, le=128)] = 12
    groups: Annotated[int, Field(ge=1, le=1024)] = 32  # of the decoder's group norms

    @classmethod
    def of(cls, card: TokenizerCard) -> "WavTokenizerConfig":
        """See `PublishedConfig.of`."""
        return cls.model_validate({"name": card.name, "rate": round(card.frame_rate)})

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="coupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=self.rate,
            streams=(StreamSpec(name="vq", size=self.codebook_size, role="acoustic"),),
            licence="MIT",  # of the weights
        )

    @property
    def hop(self) -> int:
        """Samples per code."""
        return math.prod(STRIDES[self.rate])


class Encoder(nn.Module):
    """Waveform [B, 1, N] to [B, D, N / hop]."""

    def __init__(self, config: WavTokenizerConfig):
        super().__init__()
        width = config.width
        layers: list[nn.Module] = [Conv(1, width, 7)]
        for stride in STRIDES[config.rate]:
            layers += [ResidualBlock(width), nn.ELU(), Conv(width, 2 * width, 2 * stride, stride)]
            width *= 2
        layers += [Recurrent(width, 2), nn.ELU(), Conv(width, config.dim, 7)]
        self.model = nn.Sequential(*layers)

    def forward(self, wav: Tensor) -> Tensor:
        """Map [B, 1, N] to [B, D, ceil(N / hop)]."""
        return self.model(wav)


class ResidualNorms(nn.Module):
    """Two convolutions, each of its group-normalised input, added to their input."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(groups, width, eps=1e-6) for _ in range(2))
        self.conv1, self.conv2 = (nn.Conv1d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y)))


class Attention(nn.Module):
    """One head of attention over the whole utterance, added to its input."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv1d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        y = self.norm(x)
        q, k, v = (part(y).transpose(1, 2) for part in (self.q, self.k, self.v))  # [B, T, C]
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(attended.transpose(1, 2))


class AdaptiveNorm(nn.Module):
    """A layer norm whose gain and bias are those of a condition: always the first one."""

    def __init__(self, width: int):
        super().__init__()
        self.scale, self.shift = (nn.Embedding(CONDITIONS, width) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, C] to [B, T, C]."""
        gain, bias = self.scale.weight[0], self.shift.weight[0]
        return F.layer_norm(x, x.shape[-1:], gain, bias, eps=1e-6)


class ConvNeXt(nn.Module):
    """A depthwise convolution and a feed-forward network, added to their input (2306.00814).

    Args:
        width: channels.
        hidden: channels inside the feed-forward network.
        norm: of [B, T, C], before the feed-forward network.
        conv: of [B, C, T], the convolution; None = one that sees three values to either side.

    """

    def __init__(self, width: int, hidden: int, norm: nn.Module, conv: nn.Module | None = None):
        super().__init__()
        self.dwconv = conv or nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = norm
        self.pwconv1, self.pwconv2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        y = self.norm(self.dwconv(x).transpose(1, 2))  # [B, T, C]
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.transpose(1, 2)


class Backbone(nn.Module):
    """Values [B, D, T] to features [B, T, C]."""

    def __init__(self, config: WavTokenizerConfig):
        super().__init__()
        width, groups = config.decoder_width, config.groups
        self.embed = nn.Conv1d(config.dim, width, 7, padding=3)
        self.pos_net = nn.Sequential(
            ResidualNorms(width, groups),
            ResidualNorms(width, groups),
            Attention(width, groups),
            ResidualNorms(width, groups),
            ResidualNorms(width, groups),
            nn.GroupNorm(groups, width, eps=1e-6),
        )
        self.norm = AdaptiveNorm(width)
        self.convnext = nn.ModuleList(
            ConvNeXt(width, config.decoder_hidden, AdaptiveNorm(width))
            for _ in range(config.decoder_layers)
        )
        self.final_layer_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, values: Tensor) -> Tensor:
        """Map [B, D, T] to [B, T, C]."""
        x = self.pos_net(self.embed(values))
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x.transpose(1, 2))


class Window(FixedDtype):
    """The window of the inverse transform under its published name."""

    window: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("window", torch.hann_window(size, dtype=torch.float32))


class Head(nn.Module):
    """Features [B, T, C] to magnitudes and phases, and by overlap-add to wav [B, T * hop]."""

    def __init__(self, config: WavTokenizerConfig):
        super().__init__()
        self.hop, self.size = config.hop, 4 * config.hop  # samples per frame and per window
        self.out = nn.Linear(config.decoder_width, self.size + 2)
        self.istft = Window(self.size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, C] to wav [B, T * hop] in float32."""
        magnitude, phase = self.out(x).transpose(1, 2).float().chunk(2, dim=1)  # [B, bins, T]
        spectra = torch.polar(magnitude.exp().clamp(max=MAX_MAGNITUDE), phase)
        edge = (self.size - self.hop) // 2  # the first hop is the middle of the first frame
        return inverse_stft(spectra, self.istft.window, self.hop)[:, edge:-edge]


@TOKENIZERS.register("wavtokenizer")
class WavTokenizer(PublishedTokenizer):
    """WavTokenizer behind the `SpeechTokenizer` contract.

    Attention and norms of the decoder, and the LSTM of the encoder, depend on the whole utterance.
    """

    Config = WavTokenizerConfig
    PREFIX = "state_dict."
    UNUSED = (
        r"(?!(feature_extractor|backbone|head)\.).+|feature_extractor\.encodec\.decoder\..+"
        r"|.+\._codebook\.(inited|cluster_size|embed_avg)"
    )

    def __init__(self, config: WavTokenizerConfig | None = None):
        config = config or WavTokenizerConfig()
        super().__init__(config)
        self.encoder = Encoder(config)
        self.codebook = Codebook(config.codebook_size, config.dim)
        self.backbone = Backbone(config)
        self.head = Head(config)

    @staticmethod
    def published_key(own: str) -> str:
        """See `PublishedTokenizer.published_key`."""
        part, rest = own.split(".", 1)
        parts = {
            "encoder": "feature_extractor.encodec.encoder",
            "codebook": "feature_extractor.encodec.quantizer.vq.layers.0._codebook",
        }
        return f"{parts.get(part, part)}.{rest}"

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        x = self.encoder(wav[:, None]).transpose(1, 2)  # [1, T, D]
        return self.codebook.codes(x)[:, None], None

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        values = self.codebook.values(codes[:, 0]).transpose(1, 2)  # [1, D, T]
        return self.head(self.backbone(values))
