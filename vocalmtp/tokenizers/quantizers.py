"""Quantisers of the trainable tokenizer: every stream on its own, or one on what another left."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass
class Quantised:
    """A latent vector per frame, as Q streams of d digits say it."""

    values: Tensor  # [..., Q * d] for the decoder
    codes: Tensor  # [..., Q] int64
    digits: Tensor  # [..., Q, d] the digits of every stream, in [-1, 1]
    left: Tensor  # scalar: share of the latent's power that a stream leaves, mean over streams


class FiniteScalarQuantizer(nn.Module):
    """FSQ (2309.15505): every dimension is rounded to a few levels; a code is their mixed radix."""

    def __init__(self, levels: tuple[int, ...]):
        super().__init__()
        self.levels = levels
        weights = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("top", torch.tensor(levels) - 1, persistent=False)
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x` [..., d] -> quantised values in [-1, 1] (straight-through gradient), codes [...]."""
        soft = torch.sigmoid(x.float()) * self.top
        digits = soft + (soft.round() - soft).detach()
        codes = (digits.detach().long() * self.weights).sum(-1)
        return 2 * digits / self.top - 1, codes

    def values(self, codes: Tensor) -> Tensor:
        """`codes` [...] -> the same quantised values [..., d]."""
        digits = codes[..., None] // self.weights % (self.top + 1)
        return 2 * digits / self.top - 1


class SplitQuantizer(nn.Module):
    """Every stream has numbers of the latent vector of its own, and cannot say anything else."""

    def __init__(self, streams: int, levels: tuple[int, ...]):
        super().__init__()
        self.streams, self.scalar = streams, FiniteScalarQuantizer(levels)

    def forward(self, latent: Tensor) -> Quantised:
        """`latent` [..., Q * d] to its codes, with a straight-through gradient."""
        digits, codes = self.scalar(latent.unflatten(-1, (self.streams, -1)))  # [..., Q, d]
        return Quantised(digits.flatten(-2), codes, digits, latent.new_zeros(()))

    def values(self, codes: Tensor) -> Tensor:
        """`codes` [..., Q] -> the values [..., Q * d] that they were made of."""
        return self.scalar.values(codes).flatten(-2)


class ResidualQuantizer(nn.Module):
    """Every stream says what those before it left of one latent vector: its codes are joint.

    Residual quantisation (SoundStream, 2107.03312) through narrow projections (DAC, 2306.06546),
    with FSQ digits in the place of a codebook.
    """

    def __init__(self, streams: int, levels: tuple[int, ...]):
        super().__init__()
        size, digits = streams * len(levels), len(levels)
        self.scalar = FiniteScalarQuantizer(levels)
        self.down = nn.ModuleList(nn.Linear(size, digits) for _ in range(streams))
        self.up = nn.ModuleList(nn.Linear(digits, size, bias=False) for _ in range(streams))
        # Orthogonal at first, and `up` the inverse of `down` for small numbers, whose FSQ is half.
        basis = nn.init.orthogonal_(torch.empty(size, size)).split(digits)  # Q times [d, Q * d]
        for down, up, rows in zip(self.down, self.up, basis, strict=True):
            down.weight.data.copy_(2 * rows)
            nn.init.zeros_(down.bias)
            up.weight.data.copy_(rows.T)

    def forward(self, latent: Tensor) -> Quantised:
        """`latent` [..., Q * d] to its codes, with a straight-through gradient."""
        rest, digits, codes, left = latent.float(), [], [], []
        power = rest.detach().square().mean().clamp(min=1e-8)
        for down, up in zip(self.down, self.up, strict=True):
            said, code = self.scalar(down(rest))
            rest = rest - up(said)
            digits.append(said)
            codes.append(code)
            left.append(rest.square().mean() / power)
        values = latent.float() - rest  # [..., Q * d]
        left = torch.stack(left).mean()
        return Quantised(values, torch.stack(codes, -1), torch.stack(digits, -2), left)

    def values(self, codes: Tensor) -> Tensor:
        """`codes` [..., Q] -> the same values [..., Q * d].

        Summed in float64, so that they do not depend on how many frames are asked for at once.
        """
        digits = self.scalar.values(codes).double()  # [..., Q, d]
        parts = [F.linear(digits[..., q, :], up.weight.double()) for q, up in enumerate(self.up)]
        return torch.stack(parts).sum(0).to(self.up[0].weight.dtype)
