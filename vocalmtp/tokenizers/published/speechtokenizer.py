"""SpeechTokenizer (2308.16692, section 3): residual codes whose first stream follows HuBERT.

Keys and shapes are those of the published SpeechTokenizer.pt.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from vocalmtp.tokenizers.base import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.seanet import (
    Codebook,
    Conv,
    ConvTranspose,
    Recurrent,
    ResidualBlock,
)

SAMPLE_RATE = 16_000
STRIDES = (2, 4, 5, 8)  # their product is the hop of 320 samples
STREAMS = 8

Width = Annotated[int, Field(ge=1, le=4096)]


class SpeechTokenizerConfig(PublishedConfig):
    """Sizes of SpeechTokenizer; the defaults are those of the published weights.

    `streams` below 8 leaves out the last ones, which hold the finest detail.
    """

    name: str = "speechtokenizer"
    streams: Annotated[int, Field(ge=1, le=STREAMS)] = STREAMS
    width: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 64  # channels at the full rate
    dim: Width = 1024
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 1024
    lstm_layers: Annotated[int, Field(ge=1, le=16)] = 2

    @classmethod
    def of(cls, card: TokenizerCard) -> "SpeechTokenizerConfig":
        return cls(name=card.name, streams=len(card.stream_specs()))

    def spec(self) -> TokenizerSpec:
        names = ["semantic", *(f"acoustic{i}" for i in range(1, STREAMS))]
        specs = [
            StreamSpec(name=name, size=self.codebook_size, role=name.rstrip("1234567"))
            for name in names[: self.streams]
        ]
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="semi_decoupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=50,
            streams=tuple(specs),
            licence="not stated",  # of the weights
        )


class Encoder(nn.Module):
    """Waveform [B, 1, N] to [B, D, N / 320]."""

    def __init__(self, config: SpeechTokenizerConfig):
        super().__init__()
        width = config.width
        layers: list[nn.Module] = [Conv(1, width, 7)]
        for stride in STRIDES:
            layers += [ResidualBlock(width), nn.ELU(), Conv(width, 2 * width, 2 * stride, stride)]
            width *= 2
        layers += [Recurrent(width, config.lstm_layers, both_ways=True), nn.ELU()]
        self.model = nn.Sequential(*layers, Conv(2 * width, config.dim, 7))

    def forward(self, wav: Tensor) -> Tensor:
        return self.model(wav)


class Decoder(nn.Module):
    """[B, D, T] to samples [B, 1, T * 320]."""

    def __init__(self, config: SpeechTokenizerConfig):
        super().__init__()
        width = config.width * 2 ** len(STRIDES)
        layers = [Conv(config.dim, width, 7), Recurrent(width, config.lstm_layers, both_ways=False)]
        for stride in STRIDES[::-1]:
            layers += [nn.ELU(), ConvTranspose(width, stride), ResidualBlock(width // 2)]
            width //= 2
        self.model = nn.Sequential(*layers, nn.ELU(), Conv(width, 1, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Quantizer(nn.Module):
    """Codebooks in a row, each of what the ones before it left over (2107.03312)."""

    def __init__(self, config: SpeechTokenizerConfig):
        super().__init__()
        books = (Codebook(config.codebook_size, config.dim) for _ in range(STREAMS))
        layers = nn.ModuleList(nn.ModuleDict({"_codebook": book}) for book in books)
        self.vq = nn.ModuleDict({"layers": layers})

    @property
    def books(self) -> list[Codebook]:
        return [layer["_codebook"] for layer in self.vq["layers"]]

    def codes(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, 8, T]."""
        found = []
        for book in self.books:
            found.append(book.codes(x))
            x = x - book.values(found[-1])
        return torch.stack(found, dim=1)

    def values(self, codes: Tensor) -> Tensor:
        """[B, q, T] -> [B, T, D]."""
        parts = zip(self.books, codes.unbind(1), strict=False)
        return sum(book.values(stream) for book, stream in parts)


class SpeechTokenizerModel(PublishedTokenizer):
    """SpeechTokenizer behind the contract of the same name."""

    TYPE = "speechtokenizer"
    Config = SpeechTokenizerConfig
    UNUSED = r"transform\..+|quantizer\..+\._codebook\.(inited|cluster_size|embed_avg)"

    def __init__(self, config: SpeechTokenizerConfig | None = None):
        super().__init__(config)
        self.encoder = Encoder(self.config)
        self.quantizer = Quantizer(self.config)
        self.decoder = Decoder(self.config)

    def stream_counts(self) -> Sequence[int]:
        return range(1, self.config.streams + 1)

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        x = self.encoder(wav[:, None])  # [1, D, T]
        return self.quantizer.codes(x.transpose(1, 2)), None

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        values = self.quantizer.values(codes)  # [1, T, D]
        return self.decoder(values.transpose(1, 2))[:, 0]
