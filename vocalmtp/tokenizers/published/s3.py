"""S3 tokenizers v2 and v3 of CosyVoice 2 (2412.10117, section 2.1) and 3: semantic, at 25 Hz.

A Whisper-like encoder with rotary positions and memory convolutions (FSMN), trained to recognise
text through FSQ codes. It has no decoder: `cosyvoice2` has one for v2. Keys and shapes
are those of `tokenizer.` in Chatterbox' s3gen.safetensors; v3 has more layers.
"""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.errors import InputError
from vocalmtp.tokenizers.base import (
    TOKENIZERS,
    CodecStream,
    FixedDtype,
)
from vocalmtp.tokenizers.cards import TokenizerCard
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.spectra import slaney_mel_filters

SAMPLE_RATE, WINDOW, HOP, MELS = 16_000, 400, 160, 128  # of the spectrogram, as Whisper's
STRIDE = 4  # spectrogram frames per code
LEVELS = (3,) * 8
SQUEEZE = 0.999  # so that no digit is rounded up to a fourth level (float32: 0.9990000128746033)
LONGEST, EDGE = 750, 50  # codes per window of the encoder; of these, dropped at a cut
# What differs between the published versions, by card.
VERSIONS: dict[str, dict[str, float]] = {"s3-v3": {"layers": 12, "norm_eps": 1e-5}}

Width = Annotated[int, Field(ge=1, le=8192)]


class S3Config(PublishedConfig):
    """Sizes of the encoder; the defaults are those of the published weights of v2."""

    name: str = "s3-v2"
    heads: Annotated[int, Field(ge=1, le=256)] = 20
    head_dim: Annotated[int, Field(ge=2, le=512, multiple_of=2)] = 64
    layers: Annotated[int, Field(ge=1, le=64)] = 6
    kernel: Annotated[int, Field(ge=1, le=255)] = 31  # of the memory convolution
    norm_eps: Annotated[float, Field(gt=0, le=1)] = 1e-6  # of the norm before attention

    @classmethod
    def of(cls, card: TokenizerCard) -> "S3Config":
        """See `PublishedConfig.of`."""
        return cls.model_validate({"name": card.name} | VERSIONS.get(card.name, {}))

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        stream = StreamSpec(name="fsq", size=math.prod(LEVELS), role="semantic", levels=LEVELS)
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="semi_decoupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=SAMPLE_RATE / HOP / STRIDE,
            streams=(stream,),
            licence="Apache-2.0" if self.name == "s3-v3" else "MIT",  # of the weights
        )


class Attention(nn.Module):
    """Self-attention with rotary positions (2104.09864), and a convolution over its values."""

    def __init__(self, config: S3Config):
        super().__init__()
        self.heads, width = config.heads, config.heads * config.head_dim
        self.query, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)
        self.fsmn_block = nn.Conv1d(width, width, config.kernel, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
            for part in (self.query, self.key, self.value)
        )
        attended = F.scaled_dot_product_attention(rotate(q), rotate(k), v)
        values = v.transpose(1, 2).flatten(2)  # [B, T, D]
        return self.out(attended.transpose(1, 2).flatten(2)) + self.memory(values)

    def memory(self, values: Tensor) -> Tensor:
        """Add a weighted sum over time to `values` [B, T, D] (DFSMN, 1803.05030)."""
        width = self.fsmn_block.kernel_size[0] - 1
        padded = F.pad(values.transpose(1, 2), (width // 2, width - width // 2))
        return self.fsmn_block(padded).transpose(1, 2) + values


class Block(nn.Module):
    """Attention and a feed-forward network, each of its normalised input."""

    def __init__(self, config: S3Config):
        super().__init__()
        width = config.heads * config.head_dim
        self.attn, self.attn_ln = Attention(config), nn.LayerNorm(width, eps=config.norm_eps)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, D] to [B, T, D]."""
        x = x + self.attn(self.attn_ln(x))
        return x + self.mlp(self.mlp_ln(x))


class Encoder(nn.Module):
    """Log-mel spectrogram [B, 128, t] to [B, t / 4, D]."""

    def __init__(self, config: S3Config):
        super().__init__()
        width = config.heads * config.head_dim
        self.conv1 = nn.Conv1d(MELS, width, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))

    def forward(self, mels: Tensor) -> Tensor:
        """Map [B, 128, t] to [B, t / 4, D]."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mels)))).transpose(1, 2)  # [B, T, D]
        for block in self.blocks:
            x = block(x)
        return x


class Codebook(nn.Module):
    """FSQ (2309.15505) with three levels in each of eight dimensions."""

    def __init__(self, width: int):
        super().__init__()
        self.project_down = nn.Linear(width, len(LEVELS))

    def codes(self, x: Tensor) -> Tensor:
        """Quantise [B, T, D] to codes [B, T]; the first dimension is the least significant."""
        digits = (self.project_down(x).float().tanh() * SQUEEZE).round().long() + 1
        weights = [math.prod(LEVELS[:place]) for place in range(len(LEVELS))]
        return (digits * torch.tensor(weights, device=x.device)).sum(-1)


class LogMel(FixedDtype):
    """Whisper's log-mel spectrogram (2212.04356) in float32."""

    filters: Tensor
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        bank = slaney_mel_filters(SAMPLE_RATE, WINDOW, MELS)  # [MELS, bins]
        self.register_buffer("filters", bank, persistent=False)
        self.register_buffer("window", torch.hann_window(WINDOW, device="cpu"), persistent=False)

    def forward(self, wav: Tensor) -> Tensor:
        """Map `wav` [B, T * 640] to [B, 128, 4 T]."""
        wav = wav.to(self.window.dtype)
        spectra = torch.stft(wav, WINDOW, HOP, window=self.window, return_complex=True)
        power = spectra[..., :-1].abs().square()  # [B, bins, 4 T]
        mels = (self.filters @ power).clamp(min=1e-10).log10()
        return (torch.maximum(mels, mels.amax((1, 2), keepdim=True) - 8) + 4) / 4


@TOKENIZERS.register("s3")
class S3Tokenizer(PublishedTokenizer):
    """The encoder behind the `SpeechTokenizer` contract; `decode` and `stream` are unsupported.

    Audio is padded with zeros to whole codes of 40 ms. The encoder was trained on up to 30 s:
    longer audio is encoded in windows of 30 s that overlap by 4 s, cut in the middle of the overlap.
    """

    Config = S3Config
    PREFIX = "tokenizer."
    UNUSED = r"_mel_filters|window"  # computed anew

    def __init__(self, config: S3Config | None = None):
        config = config or S3Config()
        super().__init__(config)
        self.encoder = Encoder(config)
        self.quantizer: Any = nn.ModuleDict({"_codebook": Codebook(config.heads * config.head_dim)})
        self.log_mel = LogMel()

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        mels = self.log_mel(F.pad(wav, (0, -wav.shape[-1] % self.spec.hop))).to(wav.dtype)
        total, parts = mels.shape[-1] // STRIDE, []
        for first in range(0, total, LONGEST - 2 * EDGE):
            last = min(first + LONGEST, total)
            hidden = self.encoder(mels[..., first * STRIDE : last * STRIDE])
            codes = self.quantizer["_codebook"].codes(hidden)  # [1, last - first]
            begin = EDGE if first else 0
            if last == total:
                parts.append(codes[:, begin:])
                break
            parts.append(codes[:, begin:-EDGE])
        return torch.cat(parts, dim=-1)[:, None], None

    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Raise InputError: there is no decoder (`unsupported`)."""
        raise self._no_decoder()

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """Raise InputError: there is no decoder (`unsupported`)."""
        raise self._no_decoder()

    def _no_decoder(self) -> InputError:
        return InputError(
            f"tokenizer '{self.spec.name}': has no decoder, it encodes only; tokenizer 'cosyvoice2' "
            "decodes the codes of S3 v2",
            code="unsupported",
        )


def rotate(x: Tensor, first: int = 0) -> Tensor:
    """Rotate pairs of the halves of `x` [B, H, T, d] by an angle per position (2104.09864).

    Args:
        x: queries or keys.
        first: position of the first of them.

    """
    half = x.shape[-1] // 2
    places = first + torch.arange(x.shape[-2], dtype=torch.float32, device=x.device)
    exponents = torch.arange(half, dtype=torch.float32, device=x.device) / half
    angles = (places[:, None] * 10_000**-exponents).to(x.dtype)  # [T, d / 2]
    cos, sin = angles.cos(), angles.sin()
    one, two = x.chunk(2, dim=-1)
    return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)
