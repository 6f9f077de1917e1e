"""SpeechTokenizer (2308.16692, section 3): residual codes, the first stream distilled from HuBERT.

Keys and shapes are those of the published SpeechTokenizer.pt.
"""

from collections.abc import Sequence
from functools import reduce
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from vocalmtp.tokenizers.base import TOKENIZERS
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.seanet import (
    Codebook,
    Conv,
    ConvTranspose,
    Recurrent,
    ResidualBlock,
)
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec

SAMPLE_RATE = 16_000
STRIDES = (2, 4, 5, 8)  # their product is the hop of 320 samples
STREAMS = 8

Width = Annotated[int, Field(ge=1, le=4096)]


class SpeechTokenizerConfig(PublishedConfig):
    """Sizes of SpeechTokenizer; the defaults are those of the published weights.

    `streams` below 8 drops the last ones, which hold the finest detail.
    """

    name: str = "speechtokenizer"
    streams: Annotated[int, Field(ge=1, le=STREAMS)] = STREAMS
    width: Annotated[int, Field(ge=2, le=1024, multiple_of=2)] = 64  # channels at the full rate
    dim: Width = 1024
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 1024
    lstm_layers: Annotated[int, Field(ge=1, le=16)] = 2

    @classmethod
    def of(cls, card: TokenizerCard) -> "SpeechTokenizerConfig":
        """See `PublishedConfig.of`."""
        return cls(name=card.name, streams=len(card.stream_specs()))

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        size = self.codebook_size
        streams = [StreamSpec(name="semantic", size=size, role="semantic")]
        for i in range(1, self.streams):
            streams.append(StreamSpec(name=f"acoustic{i}", size=size, role="acoustic"))
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="semi_decoupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=50,
            streams=tuple(streams),
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
        layers += [Recurrent(width, config.lstm_layers, bidirectional=True), nn.ELU()]
        self.model = nn.Sequential(*layers, Conv(2 * width, config.dim, 7))

    def forward(self, wav: Tensor) -> Tensor:
        """Map [B, 1, N] to [B, D, N / 320]."""
        return self.model(wav)


class Decoder(nn.Module):
    """Values [B, D, T] to samples [B, 1, T * 320]."""

    def __init__(self, config: SpeechTokenizerConfig):
        super().__init__()
        width = config.width * 2 ** len(STRIDES)
        layers: list[nn.Module] = [Conv(config.dim, width, 7), Recurrent(width, config.lstm_layers)]
        for stride in STRIDES[::-1]:
            layers += [nn.ELU(), ConvTranspose(width, stride), ResidualBlock(width // 2)]
            width //= 2
        self.model = nn.Sequential(*layers, nn.ELU(), Conv(width, 1, 7))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, D, T] to [B, 1, T * 320]."""
        return self.model(x)


class Quantizer(nn.Module):
    """Codebooks in a row, each of the residual of those before it (2107.03312)."""

    def __init__(self, config: SpeechTokenizerConfig):
        super().__init__()
        books = (Codebook(config.codebook_size, config.dim) for _ in range(STREAMS))
        layers = nn.ModuleList(nn.ModuleDict({"_codebook": book}) for book in books)
        self.vq: Any = nn.ModuleDict({"layers": layers})

    @property
    def books(self) -> list[Codebook]:
        """The codebooks."""
        return [layer["_codebook"] for layer in self.vq["layers"]]

    def codes(self, x: Tensor) -> Tensor:
        """Quantise [B, T, D] to codes [B, 8, T]."""
        found = []
        for book in self.books:
            found.append(book.codes(x))
            x = x - book.values(found[-1])
        return torch.stack(found, dim=1)

    def values(self, codes: Tensor) -> Tensor:
        """Look up codes [B, q, T]: [B, T, D]."""
        parts = zip(self.books, codes.unbind(1), strict=False)
        return reduce(torch.add, (book.values(stream) for book, stream in parts))


@TOKENIZERS.register("speechtokenizer")
class SpeechTokenizerModel(PublishedTokenizer):
    """The published SpeechTokenizer behind the contract of the same name."""

    Config = SpeechTokenizerConfig
    UNUSED = r"transform\..+|quantizer\..+\._codebook\.(inited|cluster_size|embed_avg)"

    def __init__(self, config: SpeechTokenizerConfig | None = None):
        config = config or SpeechTokenizerConfig()
        super().__init__(config)
        self.encoder = Encoder(config)
        self.quantizer = Quantizer(config)
        self.decoder = Decoder(config)

    def stream_counts(self) -> Sequence[int]:
        """See `PublishedTokenizer.stream_counts`."""
        return range(1, len(self.spec.streams) + 1)

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        x = self.encoder(wav[:, None])  # [1, D, T]
        return self.quantizer.codes(x.transpose(1, 2)), None

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        values = self.quantizer.values(codes)  # [1, T, D]
        return self.decoder(values.transpose(1, 2))[:, 0]
