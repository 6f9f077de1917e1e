"""MiMo-Audio-Tokenizer: 20 streams at 25 Hz, of transformers over log-mels, with a Vocos-like vocoder.

Only the first eight streams, which MiMo-Audio speaks, are implemented. Both sides halve or double the
rate twice by convolutions, 100 to 25 Hz and back. Keys and shapes are those of the published
model.safetensors. Norms in the decoder depend on the whole utterance.
Shapes: B batch, C channels, T time at the level of the layer, H heads, M mel bands.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.audio.mel import mel_filters
from vocalmtp.tokenizers.base import TOKENIZERS, FixedDtype
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.s3 import rotate
from vocalmtp.tokenizers.published.wavtokenizer import MAX_MAGNITUDE, Window
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.spectra import inverse_stft

SAMPLE_RATE, HOP = 24_000, 960
MEL_HOP, WINDOW = 240, 960  # samples
FLOOR = 1e-7  # of magnitudes
COARSE, FINE = 2, 6  # streams, the first of which have larger codebooks
NAMES = [f"coarse{i + 1}" for i in range(COARSE)] + [f"fine{i + 1}" for i in range(FINE)]
SEGMENT = 60  # seconds that are encoded or decoded at once

Width = Annotated[int, Field(ge=2, le=8192, multiple_of=2)]
Count = Annotated[int, Field(ge=1, le=64)]


class MimoConfig(PublishedConfig):
    """Sizes of the transformers; the defaults are those of the published weights."""

    name: str = "mimo-audio-tokenizer"
    mels: Annotated[int, Field(ge=1, le=512)] = 128
    width: Width = 1280
    hidden: Width = 5120
    heads: Count = 20
    layers: Count = 32  # of either side
    skipped: Annotated[int, Field(ge=1, le=64)] = 3  # layers before the output added to the last
    vocoder_width: Width = 256
    vocoder_hidden: Width = 1024
    vocoder_heads: Count = 16
    vocoder_layers: Count = 16
    before: Annotated[int, Field(ge=0, le=10_000)] = 40  # frames that the vocoder attends to
    after: Annotated[int, Field(ge=0, le=10_000)] = 10
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 1024  # of the first two streams
    small_codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 128

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="coupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=SAMPLE_RATE / HOP,
            streams=tuple(
                StreamSpec(name=name, size=size, role="acoustic")
                for name, size in zip(NAMES, self.sizes, strict=True)
            ),
            licence="MIT",  # of the weights
        )

    @property
    def sizes(self) -> list[int]:
        """Codes of every stream."""
        return [self.codebook_size] * COARSE + [self.small_codebook_size] * FINE


class LogMel(FixedDtype):
    """Logarithms of mel bands of magnitudes, in HTK's scale, of windows centred every 10 ms."""

    window: Tensor
    filters: Tensor

    def __init__(self, mels: int):
        super().__init__()
        window = torch.hann_window(WINDOW, dtype=torch.float32)
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", mel_filters(SAMPLE_RATE, WINDOW, mels), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Map `wav` [B, N] to [B, M, N / 240 + 1]."""
        half = WINDOW // 2
        reach = min(half, wav.shape[-1] - 1)  # of what can be reflected
        wav = F.pad(F.pad(wav.float(), (reach, reach), mode="reflect"), (half - reach,) * 2)
        frames = wav.unfold(-1, WINDOW, MEL_HOP) * self.window
        magnitudes = torch.fft.rfft(frames).abs()  # [B, T, bins]
        return (magnitudes @ self.filters).clamp(min=FLOOR).log().transpose(1, 2)


class Attention(nn.Module):
    """Attention with rotary positions."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(3))
        self.k_proj = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map [B, T, C] to [B, T, C]; `mask` [T, T] is where a position is seen, None: everywhere."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(rotate(q), rotate(k), v, mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """Attention and a feed-forward network, of normalised inputs."""

    def __init__(self, width: int, hidden: int, heads: int):
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm, self.final_layer_norm = (nn.LayerNorm(width) for _ in range(2))
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map [B, T, C] to [B, T, C]."""
        x = x + self.self_attn(self.self_attn_layer_norm(x), mask)
        return x + self.fc2(F.gelu(self.fc1(self.final_layer_norm(x))))


class Codebooks(nn.Module):
    """Residual quantizers: each has the nearest entry to what the ones before left."""

    def __init__(self, config: MimoConfig):
        super().__init__()
        self.tables = nn.ParameterList(
            nn.Parameter(torch.zeros(size, config.width)) for size in config.sizes
        )

    def encode(self, x: Tensor) -> Tensor:
        """Choose the codes [B, Q, T] of [B, T, C]."""
        rest, codes = x.float(), []
        for table in (own.float() for own in self.tables):
            distance = table.square().sum(1) - 2 * rest @ table.T
            codes.append(distance.argmin(-1))
            rest = rest - F.embedding(codes[-1], table)
        return torch.stack(codes, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Look up codes [B, Q, T]: [B, T, C]."""
        pairs = zip(codes.unbind(1), self.tables, strict=True)
        return torch.stack([F.embedding(own, table) for own, table in pairs]).sum(0)


class Encoder(nn.Module):
    """Log-mels to vectors at 25 Hz."""

    def __init__(self, config: MimoConfig):
        super().__init__()
        width = config.width
        self.skipped = config.skipped
        self.conv1 = nn.Conv1d(config.mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            Layer(width, config.hidden, config.heads) for _ in range(config.layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.down_sample_layer = nn.Sequential(nn.Conv1d(width, width, 2, 2, bias=False))
        self.down_sample_norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor) -> Tensor:
        """Map [B, M, T] to [B, T / 4, C]."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        early: Tensor | float = 0.0
        for number, layer in enumerate(self.layers, start=1):
            x = layer(x)
            early = x if number == self.skipped else early
        x = self.layer_norm(x + early).transpose(1, 2)
        x = self.down_sample_layer(F.pad(x, (0, x.shape[-1] % 2)))
        return self.down_sample_norm(F.gelu(x).transpose(1, 2))


class Upsampling(nn.Module):
    """A transposed convolution that doubles the rate, normalised over the whole utterance."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__()
        self.conv = nn.ConvTranspose1d(inputs, outputs, kernel, 2)
        self.norm = nn.GroupNorm(1, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, C] to [B, 2 T, C]."""
        y = self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return y[:, : 2 * x.shape[1]]


class VocoderHead(nn.Module):
    """Features to magnitudes and phases, and by overlap-add to audio."""

    def __init__(self, width: int):
        super().__init__()
        self.out = nn.Linear(width, WINDOW + 2)
        self.istft = Window(WINDOW)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, C] to wav [B, 240 T] in float32."""
        magnitude, phase = self.out(x).transpose(1, 2).float().chunk(2, dim=1)  # [B, bins, T]
        spectra = torch.polar(magnitude.exp().clamp(max=MAX_MAGNITUDE), phase)
        edge = (WINDOW - MEL_HOP) // 2
        return inverse_stft(spectra, self.istft.window, MEL_HOP)[:, edge:-edge]


class Vocoder(nn.Module):
    """Coarse log-mels to audio, by attention to nearby frames."""

    def __init__(self, config: MimoConfig):
        super().__init__()
        width = config.vocoder_width
        self.before, self.after = config.before, config.after
        self.embeddings = nn.Linear(config.mels, width, bias=False)
        self.layers = nn.ModuleList(
            Layer(width, config.vocoder_hidden, config.vocoder_heads)
            for _ in range(config.vocoder_layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.head = VocoderHead(width)

    def forward(self, mel: Tensor) -> Tensor:
        """Map [B, T, M] to wav [B, 240 T]."""
        x = self.embeddings(mel)
        place = torch.arange(x.shape[1], device=x.device)
        ahead = place - place[:, None]  # [T, T], of what is attended to
        mask = (ahead >= -self.before) & (ahead <= self.after)
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.layer_norm(x))


class Decoder(nn.Module):
    """Vectors at 25 Hz to audio."""

    def __init__(self, config: MimoConfig):
        super().__init__()
        width = config.width
        self.dconv1 = Upsampling(width, width, 2)
        self.layers = nn.ModuleList(
            Layer(width, config.hidden, config.heads) for _ in range(config.layers)
        )
        self.layer_norm = nn.LayerNorm(width)
        self.dconv2 = Upsampling(width, config.mels, 3)
        self.vocoder = Vocoder(config)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, C] to wav [B, 960 T]."""
        x = self.dconv1(x)
        mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        for layer in self.layers:
            x = layer(x, mask)
        return self.vocoder(self.dconv2(self.layer_norm(x)))


@TOKENIZERS.register("mimo_audio_tokenizer")
class MimoTokenizer(PublishedTokenizer):
    """MiMo-Audio-Tokenizer behind the `SpeechTokenizer` contract."""

    Config = MimoConfig
    config: MimoConfig
    UNUSED = (
        r"encoder\.quantizer\.vq\.layers\.((8|9|1\d)\..+"
        r"|\d\._codebook\.(inited|cluster_size|embed_avg))"
    )

    def __init__(self, config: MimoConfig | None = None):
        config = config or MimoConfig()
        super().__init__(config)
        self.log_mel = LogMel(config.mels)
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.codebooks = Codebooks(config)

    @staticmethod
    def published_key(own: str) -> str:
        """See `PublishedTokenizer.published_key`."""
        if own.startswith("codebooks."):
            return f"encoder.quantizer.vq.layers.{own.rpartition('.')[2]}._codebook.embed"
        return own

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        mel = self.log_mel(wav).to(self.dtype)  # [1, M, T]
        parts = mel.split(SEGMENT * SAMPLE_RATE // MEL_HOP, dim=-1)
        return torch.cat([self.codebooks.encode(self.encoder(part)) for part in parts], -1), None

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        parts = codes.split(SEGMENT * SAMPLE_RATE // HOP, dim=-1)
        vectors = (self.codebooks(part).to(self.dtype) for part in parts)
        return torch.cat([self.decoder(x) for x in vectors], -1)
