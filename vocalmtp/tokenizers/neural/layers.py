"""Layers of the trainable tokenizer: ConvNeXt blocks with explicit state, gradient reversal."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.base import FixedDtype

M = TypeVar("M", bound=nn.Module)


def as_float64(module: M) -> M:
    """Convert the parameters of a new module, of fixed dtype too, to float64 in place."""
    for parameter in module.parameters():
        parameter.data = parameter.data.double()
    return module


class DepthwiseConv(nn.Module):
    """Depthwise convolution over time of [B, T, C]; causal with carried context, or centred."""

    def __init__(self, dim: int, kernel: int, *, causal: bool):
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, kernel, groups=dim)
        self.context = kernel - 1
        self.causal = causal

    def forward(self, x: Tensor, past: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Convolve `x` [B, T, C].

        Args:
            x: [B, T, C].
            past: [B, C, kernel - 1], the inputs before `x`; None = zeros.

        Returns:
            [B, T, C], and the past of the next call (None if centred).

        """
        x = x.transpose(1, 2)  # [B, C, T]
        if not self.causal:
            x = F.pad(x, (self.context // 2, self.context // 2))
            return self._convolve(x).transpose(1, 2), None
        x = F.pad(x, (self.context, 0)) if past is None else torch.cat([past, x], dim=-1)
        return self._convolve(x).transpose(1, 2), x[..., x.shape[-1] - self.context :]

    def _convolve(self, x: Tensor) -> Tensor:
        """[B, C, T + kernel - 1] -> [B, C, T]."""
        if x.dtype != torch.float64 or self.training:
            convolved: Tensor = self.conv(x)
            return convolved
        # The kernel of torch for float64 runs channel by channel; this one gives the same bits.
        weight, bias = self.conv.weight, self.conv.bias
        assert bias is not None
        frames = x.shape[-1] - self.context
        y = bias[:, None]
        for tap in range(self.context + 1):
            y = y + x[..., tap : tap + frames] * weight[:, 0, tap, None]
        return y


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block, optionally modulated by a condition vector (FiLM)."""

    def __init__(self, dim: int, kernel: int, expand: int, *, causal: bool, condition: int = 0):
        super().__init__()
        self.mix = DepthwiseConv(dim, kernel, causal=causal)
        self.norm = nn.LayerNorm(dim)
        self.film = nn.Linear(condition, 2 * dim) if condition else None
        self.up: Any = nn.Linear(dim, expand * dim)  # or its replacement for inference
        self.down: Any = nn.Linear(expand * dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.3))
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(
        self, x: Tensor, condition: Tensor | None = None, past: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map `x` [B, T, C] and `condition` [B, D_s] to [B, T, C] and the past of the next call."""
        y, past = self.mix(x, past)
        y = self.norm(y)
        if self.film is not None and condition is not None:
            gain, bias = self.film(condition)[:, None].chunk(2, dim=-1)  # [B, 1, C]
            y = y * (1 + gain) + bias
        y = self.down(F.gelu(self.up(y), approximate="tanh"))
        return x + self.scale * y, past


class ConvNeXtStack(nn.Module):
    """ConvNeXt blocks in a row; `past` is a list with one entry per block."""

    blocks: Any  # nn.ModuleList of ConvNeXtBlock

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
        """Map `x` [B, T, C] to [B, T, C] and the past of the next call.

        Frames where `mask` [B, T, 1] is 0 are zeros to their neighbours.
        """
        before = [None] * len(self.blocks) if past is None else past
        after = []
        for block, block_past in zip(self.blocks, before, strict=True):
            x = x if mask is None else x * mask
            x, block_past = block(x, condition, block_past)
            after.append(block_past)
        return x, after


class FixedDtypeLinear(FixedDtype, nn.Linear):
    """Linear layer of fixed dtype."""


class FixedDtypeStack(FixedDtype, ConvNeXtStack):
    """ConvNeXt blocks of fixed dtype."""


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reverse_gradient(x: Tensor, weight: float = 1.0) -> Tensor:
    """Return `x`, whose gradient is multiplied by -`weight` (Ganin and Lempitsky, 1409.7495)."""
    return _Reverse.apply(x, weight)
