"""Quantisers of the trainable tokenizer: each stream by itself, or each the residual of others.

Shapes: Q streams of d FSQ digits, which may be another number for each.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Quantised:
    """A latent vector per frame, quantised to Q streams."""

    values: Tensor  # [..., sum d] for the decoder
    codes: Tensor  # [..., Q] int64
    digits: Tensor  # [..., sum d] digits of all streams in their order, in [-1, 1]
    residual: Tensor  # scalar: share of the latent's power after a stream, mean over streams


class FiniteScalarQuantizer(nn.Module):
    """FSQ (2309.15505): dimensions are rounded to a few levels; a code is their mixed radix."""

    top: Tensor
    weights: Tensor

    def __init__(self, levels: tuple[int, ...]):
        super().__init__()
        self.levels = levels
        weights = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("top", torch.tensor(levels) - 1, persistent=False)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise `x` [..., d] to values in [-1, 1] (straight-through gradient) and codes."""
        soft = torch.sigmoid(x.float()) * self.top
        digits = soft + (soft.round() - soft).detach()
        codes = (digits.detach().long() * self.weights).sum(-1)
        return 2 * digits / self.top - 1, codes

    def values(self, codes: Tensor) -> Tensor:
        """Return the quantised values [..., d] of `codes` [...], in float32."""
        digits = codes[..., None] // self.weights % (self.top + 1)
        return (2 * digits).float() / self.top - 1


class SplitQuantizer(nn.Module):
    """Every stream quantises dimensions of the latent vector of its own.

    Args:
        levels: of the digits of every stream.

    """

    parts: Any  # nn.ModuleList of FiniteScalarQuantizer

    def __init__(self, levels: Sequence[tuple[int, ...]]):
        super().__init__()
        self.sizes = [len(own) for own in levels]
        self.parts = nn.ModuleList(FiniteScalarQuantizer(own) for own in levels)

    def forward(self, latent: Tensor) -> Quantised:
        """Quantise `latent` [..., sum d], with a straight-through gradient."""
        latents = latent.split(self.sizes, dim=-1)
        quantised = [part(x) for part, x in zip(self.parts, latents, strict=True)]
        digits = torch.cat([values for values, _ in quantised], dim=-1)
        codes = torch.stack([codes for _, codes in quantised], dim=-1)
        return Quantised(digits, codes, digits, latent.new_zeros(()))

    def values(self, codes: Tensor) -> Tensor:
        """Return the quantised values [..., sum d] of `codes` [..., Q]."""
        return torch.cat(
            [part.values(own) for part, own in zip(self.parts, codes.unbind(-1), strict=True)],
            dim=-1,
        )


class ResidualQuantizer(nn.Module):
    """Every stream quantises the residual of those before it, so that codes are joint.

    Residual quantisation (SoundStream, 2107.03312) through narrow projections (DAC, 2306.06546),
    with FSQ in the place of a codebook.
    """

    down: Any  # nn.ModuleList of nn.Linear, as `up`
    up: Any

    def __init__(self, streams: int, levels: tuple[int, ...]):
        super().__init__()
        size, digits = streams * len(levels), len(levels)
        self.scalar = FiniteScalarQuantizer(levels)
        self.down = nn.ModuleList(nn.Linear(size, digits) for _ in range(streams))
        self.up = nn.ModuleList(nn.Linear(digits, size, bias=False) for _ in range(streams))
        # Orthogonal at first, with `up` the inverse of `down` for small numbers, which FSQ halves.
        basis = nn.init.orthogonal_(torch.empty(size, size)).split(digits)  # Q times [d, Q * d]
        for down, up, rows in zip(self.down, self.up, basis, strict=True):
            down.weight.data.copy_(2 * rows)
            nn.init.zeros_(down.bias)
            up.weight.data.copy_(rows.T)

    def forward(self, latent: Tensor) -> Quantised:
        """Quantise `latent` [..., Q * d], with a straight-through gradient."""
        rest, digits, codes, left = latent.float(), [], [], []
        power = rest.detach().square().mean().clamp(min=1e-8)
        for down, up in zip(self.down, self.up, strict=True):
            stream_digits, stream_codes = self.scalar(down(rest.to(down.weight.dtype)))
            rest = rest - up(stream_digits.to(up.weight.dtype))
            digits.append(stream_digits)
            codes.append(stream_codes)
            left.append(rest.square().mean() / power)
        values = latent.float() - rest  # [..., Q * d]
        residual = torch.stack(left).mean()
        return Quantised(values, torch.stack(codes, -1), torch.cat(digits, -1), residual)

    def values(self, codes: Tensor) -> Tensor:
        """Return the quantised values [..., Q * d] of `codes` [..., Q].

        Summed in float64, so that they do not depend on how many frames are computed at once.
        """
        digits = self.scalar.values(codes).double()  # [..., Q, d]
        parts = [F.linear(digits[..., q, :], up.weight.double()) for q, up in enumerate(self.up)]
        return torch.stack(parts).sum(0).to(self.up[0].weight.dtype)
