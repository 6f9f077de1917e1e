"""Blocks of the trainable tokenizer: ConvNeXt with explicit state, gradient reversal."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DepthwiseConv(nn.Module):
    """Depthwise convolution over time of [B, T, C]; causal with carried context, or centred."""

    def __init__(self, dim: int, kernel: int, *, causal: bool):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, groups=dim)
        self.context = kernel - 1
        self.causal = causal

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """`past` [B, C, kernel - 1] holds the inputs before `x`; None stands for silence."""
        x = x.transpose(1, 2)  # [B, C, T]
        if not self.causal:
            return self.conv(F.pad(x, (self.context // 2, self.context // 2))).transpose(1, 2), None
        x = F.pad(x, (self.context, 0)) if past is None else torch.cat([past, x], dim=-1)
        return self.conv(x).transpose(1, 2), x[..., x.shape[-1] - self.context :]


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block, optionally modulated by a condition vector (FiLM)."""

    def __init__(self, dim: int, kernel: int, expand: int, *, causal: bool, condition: int = 0):
        super().__init__()
        self.mix = DepthwiseConv(dim, kernel, causal=causal)
        self.norm = nn.LayerNorm(dim)
        self.film = nn.Linear(condition, 2 * dim) if condition else None
        self.up = nn.Linear(dim, expand * dim)
        self.down = nn.Linear(expand * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.3))
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(
        self, x: Tensor, condition: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """`x` [B, T, C], `condition` [B, D_s] -> [B, T, C] and the new past."""
        y, past = self.mix(x, past)
        y = self.norm(y)
        if self.film is not None and condition is not None:
            gain, bias = self.film(condition)[:, None].chunk(2, dim=-1)  # [B, 1, C]
            y = y * (1 + gain) + bias
        y = self.down(F.gelu(self.up(y), approximate="tanh"))
        return x + self.scale * y, past


class ConvNeXtStack(nn.Module):
    """A stack of blocks; `past` is a list with one card per block, passed in and returned."""

    def __init__(
        self, dim: int, layers: int, kernel: int, expand: int, *, causal: bool, condition: int = 0
    ):
        super().__init__()
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(dim, kernel, expand, causal=causal, condition=condition)
            for _ in range(layers)
        )

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None = None,
        past: list[Tensor | None] | None = None,
        mask: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor | None]]:
        """`x` [B, T, C]; frames where `mask` [B, T, 1] is 0 are silence to their neighbours."""
        past = [None] * len(self.blocks) if past is None else past
        new = []
        for block, before in zip(self.blocks, past, strict=True):
            x = x if mask is None else x * mask
            x, after = block(x, condition, before)
            new.append(after)
        return x, new


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """Identity forward, gradient times -`weight` backward (Ganin and Lempitsky, 1409.7495)."""
    return _Reverse.apply(x, weight)
