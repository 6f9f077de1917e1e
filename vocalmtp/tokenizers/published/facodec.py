"""FACodec of NaturalSpeech 3 (2403.03100, section 3.2): prosody, content, detail and timbre apart.

Keys and shapes are those of the published ns3_facodec_encoder.bin and ns3_facodec_decoder.bin.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.facodec_layers import Activation, Down, FACodecQuantizer, Up
from vocalmtp.tokenizers.published.facodec_timbre import HEADS, TimbreEncoder
from vocalmtp.tokenizers.published.normed import NormedConv1d

SAMPLE_RATE = 16_000
STRIDES = (2, 4, 5, 5)  # their product is the hop of 200 samples
STREAMS = ("prosody", "content1", "content2", "acoustic1", "acoustic2", "acoustic3")
WITHOUT_DETAIL = 3  # prosody and content

Width = Annotated[int, Field(ge=1, le=4096)]


class FACodecConfig(PublishedConfig):
    """Sizes of FACodec; the defaults are those of the published weights.

    `streams: 3` leaves out acoustic detail, as speech LMs do: prosody, content and timbre remain.
    """

    name: str = "facodec"
    streams: Literal[3, 6] = 6
    width: Width = 32  # channels at the full rate, in the encoder
    dim: Annotated[int, Field(ge=HEADS, le=4096, multiple_of=HEADS)] = 256
    decoder_width: Annotated[int, Field(ge=16, le=8192, multiple_of=16)] = 1024
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 1024
    codebook_dim: Width = 8
    timbre_layers: Annotated[int, Field(ge=1, le=64)] = 4
    timbre_hidden: Width = 1024

    @classmethod
    def of(cls, card: TokenizerCard) -> "FACodecConfig":
        return cls(name=card.name, streams=len(card.stream_specs()))

    def spec(self) -> TokenizerSpec:
        specs = [
            StreamSpec(name=name, size=self.codebook_size, role=name.rstrip("123"))
            for name in STREAMS[: self.streams]
        ]
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="decoupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=80,
            streams=tuple(specs),
            speaker_dim=self.dim,
            licence="Apache-2.0",  # of the weights
        )


class Encoder(nn.Module):
    """Waveform [B, 1, N] to [B, D, N / 200]."""

    def __init__(self, config: FACodecConfig):
        super().__init__()
        widths = [config.width * 2**i for i in range(len(STRIDES) + 1)]
        self.block = nn.Sequential(
            NormedConv1d(1, widths[0], 7, padding=3),
            *(Down(width, stride) for width, stride in zip(widths, STRIDES, strict=False)),
            Activation(widths[-1]),
            NormedConv1d(widths[-1], config.dim, 3, padding=1),
        )

    def forward(self, wav: Tensor) -> Tensor:
        return self.block(wav)


class Decoder(nn.Module):
    """Quantisers, the timbre extractor, and the way back from values and timbre to samples."""

    def __init__(self, config: FACodecConfig):
        super().__init__()
        dim, codebook = config.dim, (config.codebook_size, config.codebook_dim)
        self.quantizer = nn.ModuleList(
            FACodecQuantizer(count, dim, *codebook) for count in (1, 2, 3)
        )
        self.timbre_encoder = TimbreEncoder(dim, config.timbre_layers, config.timbre_hidden)
        self.timbre_linear = nn.Linear(dim, 2 * dim)
        widths = [config.decoder_width // 2**i for i in range(len(STRIDES) + 1)]
        self.model = nn.Sequential(
            NormedConv1d(dim, widths[0], 7, padding=3),
            *(Up(width, stride) for width, stride in zip(widths, STRIDES[::-1], strict=False)),
            Activation(widths[-1]),
            NormedConv1d(widths[-1], 1, 7, padding=3),
            nn.Tanh(),
        )

    def codes(self, x: Tensor) -> Tensor:
        """Encoder output [B, T, D] to codes [B, 6, T].

        Prosody and content each see all of it; acoustic detail is what they both left over.
        """
        prosody, content, detail = self.quantizer
        prosody_codes, _ = prosody.codes(x)
        content_codes, _ = content.codes(x)
        x = x - prosody.values(prosody_codes) - content.values(content_codes)
        return torch.cat([prosody_codes, content_codes, detail.codes(x)[0]], dim=1)

    def values(self, codes: Tensor) -> Tensor:
        """Codes [B, 3 or 6, T] to the sum of their values [B, T, D]."""
        prosody, content, detail = self.quantizer
        x = prosody.values(codes[:, :1]) + content.values(codes[:, 1:WITHOUT_DETAIL])
        if codes.shape[1] > WITHOUT_DETAIL:
            x = x + detail.values(codes[:, WITHOUT_DETAIL:])
        return x

    def forward(self, values: Tensor, timbre: Tensor) -> Tensor:
        """Values [B, T, D] in the voice of `timbre` [B, D] to samples [B, 1, T * 200]."""
        gain, bias = self.timbre_linear(timbre)[:, None].chunk(2, dim=-1)  # [B, 1, D]
        x = F.layer_norm(values, values.shape[-1:]) * gain + bias
        return self.model(x.transpose(1, 2))


class FACodec(PublishedTokenizer):
    """FACodec behind the `SpeechTokenizer` contract.

    To convert a voice, decode the codes of one utterance with the timbre vector of another. Do it
    without the three streams of acoustic detail, `decode(codes[:, :3], speaker)`, since they hold
    some of the first voice.
    """

    TYPE = "facodec"
    Config = FACodecConfig
    UNUSED = r"((res_)?(f0|phone)|x_timbre)_predictor\..+"

    def __init__(self, config: FACodecConfig | None = None):
        super().__init__(config)
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    @staticmethod
    def published_key(own: str) -> str:
        return own.split(".", 1)[1]  # the encoder and the decoder have a file each

    def stream_counts(self) -> Sequence[int]:
        return (WITHOUT_DETAIL, self.config.streams)

    @torch.inference_mode()
    def embed_speaker(self, wav: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The timbre vector [B, D_s] of `wav` [B, N]."""
        return self.encode(wav, lengths).speaker

    def encode_row(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        wav = F.pad(wav, (0, -wav.shape[-1] % self.spec.hop))
        x = self.encoder(wav[:, None]).transpose(1, 2)  # [1, T, D]
        return self.decoder.codes(x), self.decoder.timbre_encoder(x)

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        return self.decoder(self.decoder.values(codes), speaker)[:, 0]
