"""MOSS-Audio-Tokenizer (arXiv 2602.10934): 32 streams at 12.5 Hz, of causal transformers alone.

Both sides have four transformers, at 100, 50, 25 and 12.5 Hz; between them, neighbouring vectors are
joined to one, or one is split. Residual quantizers choose the entry of a codebook that has the nearest
direction. Keys and shapes are those of the published model.safetensors.
Shapes: B batch, C channels, T time at the level of the layer, H heads.
"""

from itertools import chain
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from vocalmtp.tokenizers.base import TOKENIZERS, CodecStream
from vocalmtp.tokenizers.published.base import PublishedConfig, PublishedTokenizer
from vocalmtp.tokenizers.published.s3 import rotate
from vocalmtp.tokenizers.spec import StreamSpec, TokenizerSpec
from vocalmtp.tokenizers.streaming import CausalStream, Function, in_blocks

SAMPLE_RATE, HOP = 24_000, 1920
PATCH, JOINED, RATES = 240, 2, (100.0, 50.0, 25.0, 12.5)  # the first samples, then vectors

Width = Annotated[int, Field(ge=2, le=8192, multiple_of=2)]
Count = Annotated[int, Field(ge=1, le=64)]


class MossConfig(PublishedConfig):
    """Sizes of both sides; the defaults are those of the published weights."""

    name: str = "moss-audio-tokenizer"
    width: Width = 768  # of the transformers at 25 Hz and more
    hidden: Width = 3072
    heads: Count = 12
    layers: Count = 12
    slow_width: Width = 1280  # of the transformer at 12.5 Hz
    slow_hidden: Width = 5120
    slow_heads: Count = 20
    slow_layers: Count = 32
    between: Width = 384  # of the vectors that are joined at 100 and 50 Hz
    latent: Width = 768
    residual: Width = 512  # of what the quantizers split up
    seconds: Annotated[float, Field(gt=0.1, le=60)] = 10.0  # that attention sees
    streams: Annotated[int, Field(ge=1, le=64)] = 32
    codebook_size: Annotated[int, Field(ge=2, le=65_536)] = 1024
    codebook_dim: Annotated[int, Field(ge=1, le=64)] = 8

    def spec(self) -> TokenizerSpec:
        """See `PublishedConfig.spec`."""
        names = [f"rvq{i}" for i in range(1, self.streams + 1)]
        return TokenizerSpec(
            name=self.name,
            codes=self.codes,
            kind="coupled",
            sample_rate=SAMPLE_RATE,
            frame_rate=SAMPLE_RATE / HOP,
            streams=tuple(
                StreamSpec(name=name, size=self.codebook_size, role="acoustic") for name in names
            ),
            lookahead=0,
            licence="Apache-2.0",  # of the weights
        )


class Scale(nn.Module):
    """A learned gain for every channel (2103.17239)."""

    def __init__(self, width: int):
        super().__init__()
        self.scale = nn.Parameter(torch.full((width,), 0.01))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, T, C] to [B, T, C]."""
        return self.scale * x


class Attention(nn.Module):
    """Causal attention to the newest positions, with rotary positions of interleaved pairs."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads, self.window = heads, window
        self.in_projs = nn.ModuleList([nn.Linear(width, 3 * width, bias=False)])
        self.out_projs = nn.ModuleList([nn.Linear(width, width, bias=False)])

    def forward(self, x: Tensor, first: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map [B, T, C], whose first position is `first`, to [B, T, C].

        Args:
            x: the positions.
            first: index of the first of them.
            past: [2, B, H, t, d], keys and values before, as the last call returned.

        """
        qkv = self.in_projs[0](x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = (rotate(halves(y), first) for y in qkv[:2])  # [B, H, T, d]
        new = torch.stack([k, qkv[2]])  # [2, B, H, T, d]
        known = new if past is None else torch.cat([past, new], dim=-2)
        place = torch.arange(known.shape[-2], device=x.device)
        distance = place[-x.shape[1] :, None] - place
        mask = (distance >= 0) & (distance < self.window)
        y = F.scaled_dot_product_attention(q, known[0], known[1], mask)
        kept = max(0, known.shape[-2] - self.window + 1)
        return self.out_projs[0](y.transpose(1, 2).flatten(2)), known[..., kept:, :]


class Layer(nn.Module):
    """Attention and a feed-forward network, of normalised inputs."""

    def __init__(self, width: int, hidden: int, heads: int, window: int):
        super().__init__()
        self.self_attn = Attention(width, heads, window)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, hidden, bias=False)
        self.linear2 = nn.Linear(hidden, width, bias=False)
        self.layer_scale_1, self.layer_scale_2 = Scale(width), Scale(width)

    def forward(self, x: Tensor, first: int, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map [B, T, C] to [B, T, C], see Attention."""
        y, past = self.self_attn(self.norm1(x), first, past)
        x = x + self.layer_scale_1(y)
        y = self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return x + self.layer_scale_2(y), past


class Transformer(nn.Module):
    """Causal layers over [B, C, T] between two projections, which equal widths do without."""

    def __init__(self, inputs: int, outputs: int, config: MossConfig, rate: float):
        super().__init__()
        slow = rate == RATES[-1]
        width, hidden = (config.width, config.hidden)
        heads, layers = (config.heads, config.layers)
        if slow:
            width, hidden = (config.slow_width, config.slow_hidden)
            heads, layers = (config.slow_heads, config.slow_layers)
        window = int(rate * config.seconds)
        self.input_proj, self.output_proj = project(inputs, width), project(width, outputs)
        stack = (Layer(width, hidden, heads, window) for _ in range(layers))
        self.transformer = nn.ModuleDict({"layers": nn.ModuleList(stack)})

    def stage(self) -> Function:
        """Return a function of [B, C, T] whose calls continue each other."""
        layers: list[Layer] = list(self.transformer["layers"])  # type: ignore[call-overload]
        pasts: list[Tensor | None] = [None] * len(layers)
        first = 0

        def apply(x: Tensor) -> Tensor:
            nonlocal first
            x = self.input_proj(x.transpose(1, 2))
            for index, layer in enumerate(layers):
                x, pasts[index] = layer(x, first, pasts[index])
            first += x.shape[1]
            return self.output_proj(x).transpose(1, 2)

        return apply


class Quantizer(nn.Module):
    """A codebook of directions, in fewer dimensions than its input."""

    def __init__(self, config: MossConfig):
        super().__init__()
        self.in_proj = pointwise(config.residual, config.codebook_dim)
        self.out_proj = pointwise(config.codebook_dim, config.residual)
        self.codebook = nn.Embedding(config.codebook_size, config.codebook_dim)

    def encode(self, x: Tensor) -> Tensor:
        """Choose the codes [B, T] of [B, C, T]: the nearest directions."""
        directions = F.normalize(self.in_proj(x), dim=1)
        entries = F.normalize(self.codebook.weight)
        near = torch.einsum("bct,vc->btv", directions, entries)
        return near.argmax(-1)

    def forward(self, codes: Tensor) -> Tensor:
        """Look up codes [B, T]: [B, C, T]."""
        return self.out_proj(self.codebook(codes).transpose(1, 2))


class ResidualQuantizer(nn.Module):
    """Quantizers of which each has what the ones before left."""

    def __init__(self, config: MossConfig):
        super().__init__()
        self.input_proj = pointwise(config.latent, config.residual)
        self.output_proj = pointwise(config.residual, config.latent)
        self.quantizers = nn.ModuleList(Quantizer(config) for _ in range(config.streams))

    def encode(self, x: Tensor) -> Tensor:
        """Choose the codes [B, Q, T] of [B, C, T]."""
        rest, codes = self.input_proj(x), []
        for quantizer in self.quantizers:
            assert isinstance(quantizer, Quantizer)
            codes.append(quantizer.encode(rest))
            rest = rest - quantizer(codes[-1])
        return torch.stack(codes, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Look up codes [B, Q, T]: [B, C, T]."""
        pairs = zip(self.quantizers, codes.unbind(1), strict=True)
        return self.output_proj(torch.stack([quantizer(own) for quantizer, own in pairs]).sum(0))


@TOKENIZERS.register("moss_audio_tokenizer")
class MossTokenizer(PublishedTokenizer):
    """MOSS-Audio-Tokenizer behind the `SpeechTokenizer` contract."""

    Config = MossConfig
    config: MossConfig
    block: ClassVar[int] = 100  # frames that are encoded or decoded at once

    def __init__(self, config: MossConfig | None = None):
        config = config or MossConfig()
        super().__init__(config)
        # what leaves the transformers of the encoder; those of the decoder are its mirror image
        ends = (config.between, config.between, config.slow_width // JOINED, config.latent)
        starts = (PATCH, *(JOINED * width for width in ends[:-1]))
        pairs = list(zip(starts, ends, RATES, strict=True))
        up = [Transformer(end, start, config, rate) for start, end, rate in reversed(pairs)]
        down = [Transformer(start, end, config, rate) for start, end, rate in pairs]
        # the places of what joins and splits vectors, which has no weights, are counted
        self.encoder = nn.ModuleList(chain.from_iterable((nn.Identity(), part) for part in down))
        self.decoder = nn.ModuleList(chain.from_iterable((part, nn.Identity()) for part in up))
        self.quantizer = ResidualQuantizer(config)

    def encode_row(self, wav: Tensor) -> tuple[Tensor, None]:
        """See `PublishedTokenizer.encode_row`."""
        stages = [part.stage() for part in self.encoder if isinstance(part, Transformer)]
        patches = (PATCH, *[JOINED] * (len(stages) - 1))

        def encode(x: Tensor) -> Tensor:
            for stage, patch in zip(stages, patches, strict=True):
                x = stage(joined(x, patch))
            return self.quantizer.encode(x)

        wav = F.pad(wav, (0, -wav.shape[-1] % HOP))[:, None]
        return in_blocks(encode, wav, self.block * HOP), None

    def decode_row(self, codes: Tensor, speaker: Tensor | None) -> Tensor:
        """See `PublishedTokenizer.decode_row`."""
        return in_blocks(self._decoding(), codes, self.block)

    def stream(self, speaker: Tensor | None = None) -> CodecStream:
        """See `SpeechTokenizer.stream`."""
        decode = self._decoding()
        return CausalStream(lambda codes: decode(codes.to(self.device)), self._check)

    def _decoding(self) -> Function:
        """Return a function of codes [B, Q, t], whose calls continue each other, to wav [B, n]."""
        stages = [part.stage() for part in self.decoder if isinstance(part, Transformer)]
        patches = (*[JOINED] * (len(stages) - 1), PATCH)

        def apply(codes: Tensor) -> Tensor:
            x = self.quantizer(codes)
            for stage, patch in zip(stages, patches, strict=True):
                x = split(stage(x), patch)
            return x[:, 0].float()

        return apply


def halves(x: Tensor) -> Tensor:
    """Put the first of all pairs of [.., d] before the second ones, as `rotate` expects them."""
    return x.unflatten(-1, (-1, 2)).transpose(-1, -2).flatten(-2)


def project(inputs: int, outputs: int) -> nn.Module:
    """Return a layer from one width to another; none between equal ones."""
    return nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs, bias=False)


def pointwise(inputs: int, outputs: int) -> nn.Module:
    """Return a weight-normalised layer over [B, C, T]; none between equal widths."""
    return nn.Identity() if inputs == outputs else weight_norm(nn.Conv1d(inputs, outputs, 1))


def joined(x: Tensor, count: int) -> Tensor:
    """Join the vectors of `count` neighbours: [B, C, T * count] to [B, C * count, T]."""
    return x.unflatten(-1, (-1, count)).transpose(-1, -2).flatten(1, 2)


def split(x: Tensor, count: int) -> Tensor:
    """Split vectors into those of `count` neighbours: [B, C * count, T] to [B, C, T * count]."""
    return x.unflatten(1, (-1, count)).transpose(-1, -2).flatten(-2)
