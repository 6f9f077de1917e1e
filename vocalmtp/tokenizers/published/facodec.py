"""FACodec of NaturalSpeech 3 (2403.03100, section 3.2): prosody, content, detail and timbre apart.

Version 1 quantises prosody and content of the same latent; version 2 has prosody from the lowest mel
bands, by a transformer of its own. Keys and shapes are those of the published
ns3_facodec_encoder.bin and ns3_facodec_decoder.bin, and of their namesakes in _v2.bin.
Shapes: B batch, N samples, T frames, D width.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import TOKENIZERS
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.published.alias_free import (
    Activation,
    Down,
    FactorisedResidualQuantizer,
    Up,
)
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.normed import NormedConv1d
from vocalmtp.tokenizers.published.seanet import reflect
from vocalmtp.tokenizers.spec import Role, StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.spectra import slaney_mel_filters

SAMPLE_RATE = 16_000
STRIDES = (2, 4, 5, 5)  # their product is the hop of 200 samples
COUNTS: dict[Role, int] = {"prosody": 1, "content": 2, "acoustic": 3}  # streams, as published
# Order of the streams here, by version: that of the speech LMs which use it.
ORDERS: dict[int, tuple[Role, ...]] = {
    1: ("prosody", "content", "acoustic"),
    2: ("content", "prosody", "acoustic"),
}
WITHOUT_DETAIL = 3  # prosody and content
PROSODY_BANDS = 20  # of MELS, the lowest
MELS, FFT_SIZE, WINDOW = 80, 1024, 800
HEADS = 4  # of the transformers
POSITIONS = 5000

Width = Annotated[int, Field(ge=1, le=4096)]


class FACodecConfig(PublishedConfig):
    """Sizes of FACodec; the defaults are those of the published weights.

    `streams: 3` drops acoustic detail, as speech LMs do: prosody, content and timbre remain.
    """

    name: str = "facodec"
    version: Literal[1, 2] = 1
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
        """See `PublishedConfig.of`."""
        version = 2 if "v2" in card.name else 1
        count = len(card.stream_specs())
        return cls.model_validate({"name": card.name, "version": version, "streams": count})

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        streams = [
            StreamSpec(
                name=f"{role}{i + 1}" if count > 1 else role, size=self.codebook_size, role=role
            )
            for role, count in self.counts.items()
            for i in range(count)
        ]
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="decoupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=80,
            streams=tuple(streams[: self.streams]),
            speaker_dim=self.dim,
            licence="Apache-2.0",  # of the weights
        )

    @property
    def counts(self) -> dict[Role, int]:
        """Numbers of streams by role, in the order of the streams."""
        return {role: COUNTS[role] for role in ORDERS[self.version]}


class ProsodyBands(nn.Module):
    """Log-mel spectrogram of whole frames, of which the lowest bands hold the prosody."""

    mel_basis: Tensor
    hann_window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mel_basis", slaney_mel_filters(SAMPLE_RATE, FFT_SIZE, MELS))
        self.register_buffer("hann_window", torch.hann_window(WINDOW))

    def forward(self, wav: Tensor) -> Tensor:
        """Map `wav` [B, T * 200] to [B, T, 20]."""
        hop = math.prod(STRIDES)
        side = (FFT_SIZE - hop) // 2
        padded = reflect(wav[:, None].float(), side, side)[:, 0]
        window = self.hann_window.float()
        spectra = torch.stft(
            padded, FFT_SIZE, hop, WINDOW, window, center=False, return_complex=True
        )
        magnitudes = (torch.view_as_real(spectra).square().sum(-1) + 1e-9).sqrt()  # [B, bins, T]
        mels = (self.mel_basis[:PROSODY_BANDS].float() @ magnitudes).clamp(min=1e-5).log()
        return mels.transpose(1, 2).to(wav.dtype)


class Encoder(nn.Module):
    """Waveform [B, 1, N] to [B, D, N / 200]."""

    def __init__(self, config: FACodecConfig):
        super().__init__()
        if config.version == 2:
            self.mel_transform = ProsodyBands()
        widths = [config.width * 2**i for i in range(len(STRIDES) + 1)]
        self.block = nn.Sequential(
            NormedConv1d(1, widths[0], 7, padding=3),
            *(Down(width, stride) for width, stride in zip(widths, STRIDES, strict=False)),
            Activation(widths[-1]),
            NormedConv1d(widths[-1], config.dim, 3, padding=1),
        )

    def forward(self, wav: Tensor) -> Tensor:
        """Map [B, 1, N] to [B, D, N / 200]."""
        return self.block(wav)


class Positions(nn.Module):
    """Sines and cosines of positions, under their published name.

    The published model adds to each row the entry of the row's place in the batch. A single
    utterance thus always gets the first entry, and so does every row here.
    """

    pe: Tensor

    def __init__(self, dim: int):
        super().__init__()
        rates = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000) / dim))
        angles = torch.arange(POSITIONS)[:, None] * rates
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.register_buffer("pe", table[:, None])  # [POSITIONS, 1, D]

    def forward(self, x: Tensor) -> Tensor:
        """Add the first entry to [B, T, D]."""
        return x + self.pe[0]


class FeedForward(nn.Module):
    """A convolution over time and a linear map: [B, T, D] to [B, T, D]."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.ffn_1 = nn.Conv1d(dim, hidden, 5, padding=2)
        self.ffn_2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        return self.ffn_2(F.relu(self.ffn_1(x.transpose(1, 2))).transpose(1, 2))


class Layer(nn.Module):
    """Attention and a feed-forward network, each of its normalised input."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, HEADS, batch_first=True)
        self.ffn = FeedForward(dim, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        y = self.ln_1(x)
        x = x + self.self_attn(y, y, y, need_weights=False)[0]
        return x + self.ffn(self.ln_2(x))


class Transformer(nn.Module):
    """A small transformer over the whole utterance: [B, T, D] to [B, T, D]."""

    def __init__(self, dim: int, layers: int, hidden: int):
        super().__init__()
        self.position_emb = Positions(dim)
        self.layers = nn.ModuleList(Layer(dim, hidden) for _ in range(layers))
        self.last_ln = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        x = self.position_emb(x)
        for layer in self.layers:
            x = layer(x)
        return self.last_ln(x)


class Decoder(nn.Module):
    """Quantisers, the timbre encoder, and values with timbre to samples."""

    quantizer: Any  # nn.ModuleList of FactorisedResidualQuantizer

    def __init__(self, config: FACodecConfig):
        super().__init__()
        dim, codebook = config.dim, (config.codebook_size, config.codebook_dim)
        self.quantizer = nn.ModuleList(
            FactorisedResidualQuantizer(count, dim, *codebook) for count in COUNTS.values()
        )
        self.timbre_encoder = Transformer(dim, config.timbre_layers, config.timbre_hidden)
        self.timbre_linear = nn.Linear(dim, 2 * dim)
        if config.version == 2:
            self.melspec_linear = nn.Linear(PROSODY_BANDS, dim)
            self.melspec_encoder = Transformer(dim, config.timbre_layers, config.timbre_hidden)
        self.order = tuple(config.counts)
        widths = [config.decoder_width // 2**i for i in range(len(STRIDES) + 1)]
        self.model = nn.Sequential(
            NormedConv1d(dim, widths[0], 7, padding=3),
            *(Up(width, stride) for width, stride in zip(widths, STRIDES[::-1], strict=False)),
            Activation(widths[-1]),
            NormedConv1d(widths[-1], 1, 7, padding=3),
            nn.Tanh(),
        )

    def codes(self, x: Tensor, bands: Tensor | None) -> Tensor:
        """Quantise an utterance to codes [B, 6, T].

        Content is quantised from all of the latent, and so is prosody in version 1; acoustic detail
        is the residual of both.

        Args:
            x: [B, T, D], the encoder's output.
            bands: [B, T, 20], the mel bands of version 2.

        """
        prosody, content, detail = self.quantizer
        latent = x if bands is None else self.melspec_encoder(self.melspec_linear(bands))
        codes: dict[Role, Tensor] = {
            "prosody": prosody.codes(latent)[0],
            "content": content.codes(x)[0],
        }
        x = x - prosody.values(codes["prosody"]) - content.values(codes["content"])
        codes["acoustic"] = detail.codes(x)[0]
        return torch.cat([codes[role] for role in self.order], dim=1)

    def values(self, codes: Tensor) -> Tensor:
        """Look up codes [B, 3 or 6, T]: the sum of their values [B, T, D]."""
        prosody, content, detail = self.quantizer
        counts = [COUNTS[role] for role in self.order[:2]]
        parts = dict(zip(self.order, codes[:, :WITHOUT_DETAIL].split(counts, dim=1), strict=False))
        x = prosody.values(parts["prosody"]) + content.values(parts["content"])
        if codes.shape[1] > WITHOUT_DETAIL:
            x = x + detail.values(codes[:, WITHOUT_DETAIL:])
        return x

    def timbre(self, x: Tensor) -> Tensor:
        """Return the timbre vector [B, D] of the encoder's output [B, T, D]."""
        return self.timbre_encoder(x).mean(1)

    def forward(self, values: Tensor, timbre: Tensor) -> Tensor:
        """Map values [B, T, D] and the vector `timbre` [B, D] to samples [B, 1, T * 200]."""
        gain, bias = self.timbre_linear(timbre)[:, None].chunk(2, dim=-1)  # [B, 1, D]
        x = F.layer_norm(values, values.shape[-1:]) * gain + bias
        return self.model(x.transpose(1, 2))


@TOKENIZERS.register("facodec")
class FACodec(PublishedTokenizer):
    """FACodec behind the `SpeechTokenizer` contract.

    To convert a voice, decode the codes of one utterance with the timbre vector of another. Do it
    without the three streams of acoustic detail, `decode(codes[:, :3], speaker)`, since they hold
    some of the first voice.
    """

    Config = FACodecConfig
    config: FACodecConfig
    UNUSED = r"((res_)?(f0|phone)|x_timbre)_predictor\..+"

    def __init__(self, config: FACodecConfig | None = None):
        config = config or FACodecConfig()
        super().__init__(config)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    @staticmethod
    def published_key(own: str) -> str:
        """See `PublishedTokenizer.published_key`."""
        return own.split(".", 1)[1]  # the encoder and the decoder have a file each

    def stream_counts(self) -> Sequence[int]:
        """See `PublishedTokenizer.stream_counts`."""
        return (WITHOUT_DETAIL, len(self.spec.streams))

    def encode_row(self, wav: Tensor) -> tuple[Tensor, Tensor]:
        """See `PublishedTokenizer.encode_row`."""
        wav = F.pad(wav, (0, -wav.shape[-1] % self.spec.hop))
        x = self.encoder(wav[:, None]).transpose(1, 2)  # [1, T, D]
        bands = self.encoder.mel_transform(wav) if self.config.version == 2 else None
        return self.decoder.codes(x, bands), self.decoder.timbre(x)

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        return self.decoder(self.decoder.values(codes), speaker)[:, 0]
