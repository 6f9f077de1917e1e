"""S3 tokenizer v2 of CosyVoice 2 (2412.10117, section 2.1): what is said, in one stream at 25 Hz.

A Whisper-like encoder with rotary positions and memory convolutions (FSMN), trained to recognise
text through FSQ codes. It has no decoder: codes become audio by a flow and a vocoder. Keys and
shapes are those of `tokenizer.` in Chatterbox' s3gen.safetensors.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.errors import InputError
from vocalmtp.tokenizers.base import CodecStream, StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer

SAMPLE_RATE, WINDOW, HOP, MELS = 16_000, 400, 160, 128  # of the spectrogram, as Whisper's
STRIDE = 4  # spectrogram frames of a code
LEVELS = (3,) * 8
SQUEEZE = 0.999  # so that no digit is rounded up to a fourth level (float32: 0.9990000128746033)
LONGEST, EDGE = 750, 50  # codes that the encoder hears at once; of these, dropped at a cut

Width = Annotated[int, Field(ge=1, le=8192)]


class S3Config(PublishedConfig):
    """Sizes of the encoder; the defaults are those of the published weights."""

    name: str = "s3-v2"
    heads: Annotated[int, Field(ge=1, le=256)] = 20
    head_dim: Annotated[int, Field(ge=2, le=512, multiple_of=2)] = 64
    layers: Annotated[int, Field(ge=1, le=64)] = 6
    kernel: Annotated[int, Field(ge=1, le=255)] = 31  # of the memory convolution

    def spec(self) -> TokenizerSpec:
        spec = StreamSpec(name="fsq", size=math.prod(LEVELS), role="semantic", levels=LEVELS)
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="semi_decoupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=SAMPLE_RATE / HOP / STRIDE,
            streams=(spec,),
            licence="MIT",  # of the weights
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
        """[B, T, D] -> [B, T, D]."""
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, H, T, D / H]
            for part in (self.query, self.key, self.value)
        )
        made = F.scaled_dot_product_attention(rotate(q), rotate(k), v)
        values = v.transpose(1, 2).flatten(2)  # [B, T, D]
        return self.out(made.transpose(1, 2).flatten(2)) + self.memory(values)

    def memory(self, values: Tensor) -> Tensor:
        """`values` [B, T, D] and a weighted sum of those around each (DFSMN, 1803.05030)."""
        width = self.fsmn_block.kernel_size[0] - 1
        padded = F.pad(values.transpose(1, 2), (width // 2, width - width // 2))
        return self.fsmn_block(padded).transpose(1, 2) + values


class Block(nn.Module):
    """Attention and a feed-forward map, each of its normalised input."""

    def __init__(self, config: S3Config):
        super().__init__()
        width = config.heads * config.head_dim
        self.attn, self.attn_ln = Attention(config), nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
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
        """[B, T, D] -> [B, T]; the first dimension is the least significant digit."""
        digits = (self.project_down(x).float().tanh() * SQUEEZE).round().long() + 1
        weights = [math.prod(LEVELS[:place]) for place in range(len(LEVELS))]
        return (digits * torch.tensor(weights, device=x.device)).sum(-1)


class S3Tokenizer(PublishedTokenizer):
    """The encoder behind the `SpeechTokenizer` contract; `decode` and `stream` say what is missing.

    Audio is filled up with silence to whole codes of 40 ms. The encoder was trained on up to 30 s:
    longer audio is heard in windows of 30 s that overlap by 4 s, cut in the middle of the overlap.
    """

    TYPE = "s3"
    Config = S3Config
    PREFIX = "tokenizer."
    UNUSED = r"_mel_filters|window"  # computed anew

    def __init__(self, config: S3Config | None = None):
        super().__init__(config)
        self.encoder = Encoder(self.config)
        codebook = Codebook(self.config.heads * self.config.head_dim)
        self.quantizer = nn.ModuleDict({"_codebook": codebook})
        self.register_buffer("bank", mel_bank(), persistent=False)  # [MELS, bins]
        self.register_buffer("window", torch.hann_window(WINDOW, device="cpu"), persistent=False)

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        mels = self.log_mels(F.pad(wav, (0, -wav.shape[-1] % self.spec.hop)))
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

    def log_mels(self, wav: Tensor) -> Tensor:
        """`wav` [B, T * 640] to Whisper's log-mel spectrogram [B, 128, 4 T] (2212.04356)."""
        made = torch.stft(wav, WINDOW, HOP, window=self.window, return_complex=True)
        power = made[..., :-1].abs().square()  # [B, bins, 4 T]
        mels = (self.bank @ power).clamp(min=1e-10).log10()
        return (torch.maximum(mels, mels.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def decode(
        self, codes: Tensor, speaker: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Raises InputError: these codes have no decoder here."""
        raise InputError(self._no_decoder(), code="unsupported")

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """Raises InputError: these codes have no decoder here."""
        raise InputError(self._no_decoder(), code="unsupported")

    def _no_decoder(self) -> str:
        return (
            f"tokenizer '{self.spec.name}': has no decoder: its codes become audio by the flow and "
            "vocoder of CosyVoice 2, which are not here; take another card for audio"
        )


def rotate(x: Tensor) -> Tensor:
    """`x` [B, H, T, d] with pairs of its halves turned by an angle for each place (2104.09864)."""
    half, places = x.shape[-1] // 2, torch.arange(x.shape[-2], device=x.device)
    rates = 10_000 ** (-torch.arange(half, device=x.device) / half)
    angles = (places[:, None] * rates).to(x.dtype)  # [T, d / 2]
    cos, sin = angles.cos(), angles.sin()
    one, two = x.chunk(2, dim=-1)
    return torch.cat([one * cos - two * sin, two * cos + one * sin], dim=-1)


def mel_bank() -> Tensor:
    """Whisper's mel filters (Slaney's scale and norm): [128, 201]."""
    from transformers.audio_utils import mel_filter_bank

    bank = mel_filter_bank(
        WINDOW // 2 + 1, MELS, 0, SAMPLE_RATE / 2, SAMPLE_RATE, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(bank).float().T.contiguous()
