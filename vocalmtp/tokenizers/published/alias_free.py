"""Blocks of FACodec and BigCodec: alias-free periodic activations, convolutions, factorised codes.

Shapes: B batch, C channels, T time at the level of the block.
"""

import math
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.published.normed import NormedConv1d, NormedConvTranspose1d, NormedLinear

TAPS = 12  # of the low-pass filters around an activation, which runs at twice the rate


def low_pass(cutoff: float = 0.25, half_width: float = 0.3, taps: int = TAPS) -> Tensor:
    """Return a Kaiser-windowed sinc that sums to 1: [1, 1, taps].

    Args:
        cutoff: cycles per sample.
        half_width: of the transition band to either side, for Kaiser's rule of the window's beta.
        taps: length of the filter.

    """
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    else:
        beta = 0.5842 * max(attenuation - 21, 0) ** 0.4 + 0.07886 * max(attenuation - 21, 0)
    window = torch.kaiser_window(taps, periodic=False, beta=beta)
    time = torch.arange(taps) - (taps - 1) / 2
    kernel = window * torch.sinc(2 * cutoff * time)
    return (kernel / kernel.sum()).view(1, 1, taps)


class Filter(nn.Module):
    """A fixed low-pass filter under its published name."""

    filter: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", low_pass())


class SnakeBeta(nn.Module):
    """x + sin²(a x) / b for every channel, with a and b as logarithms (2206.04658)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        alpha, beta = self.alpha.exp()[:, None], self.beta.exp()[:, None]  # [C, 1]
        return x + (x * alpha).sin().square() / (beta + 1e-9)


class Activation(nn.Module):
    """SnakeBeta at twice the rate, so that new overtones are filtered out (2206.04658)."""

    def __init__(self, channels: int):
        super().__init__()
        self.act = SnakeBeta(channels)
        self.upsample = Filter()
        self.downsample = nn.ModuleDict({"lowpass": Filter()})

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        batch, channels, _ = x.shape
        side = TAPS // 2 - 1
        x = F.pad(x.flatten(0, 1)[:, None], (side, side), mode="replicate")  # [B * C, 1, .]
        x = 2 * F.conv_transpose1d(x, self.upsample.filter, stride=2)
        edge = 2 * side + TAPS // 2 - 1
        x = x[..., edge:-edge].view(batch, channels, -1)  # [B, C, 2T]
        x = self.act(x).flatten(0, 1)[:, None]
        x = F.pad(x, (side, side + 1), mode="replicate")
        x = F.conv1d(x, self.downsample["lowpass"].get_buffer("filter"), stride=2)
        return x.view(batch, channels, -1)  # [B, C, T]


class ResidualUnit(nn.Module):
    """A dilated convolution and a pointwise one, added to their input."""

    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.block = nn.Sequential(
            Activation(channels),
            NormedConv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation),
            Activation(channels),
            NormedConv1d(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        return x + self.block(x)


class Down(nn.Module):
    """Block of an encoder: [B, C, T] to [B, 2C, T / stride]."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        self.block = nn.Sequential(
            *(ResidualUnit(channels, dilation) for dilation in (1, 3, 9)),
            Activation(channels),
            NormedConv1d(
                channels, 2 * channels, 2 * stride, stride=stride, padding=(stride + 1) // 2
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, 2C, T / stride]."""
        return self.block(x)


class Up(nn.Module):
    """Block of a decoder: [B, C, T] to [B, C / 2, T * stride]."""

    def __init__(self, channels: int, stride: int):
        super().__init__()
        half = channels // 2
        self.block = nn.Sequential(
            Activation(channels),
            NormedConvTranspose1d(
                channels,
                half,
                2 * stride,
                stride=stride,
                padding=(stride + 1) // 2,
                output_padding=stride % 2,
            ),
            *(ResidualUnit(half, dilation) for dilation in (1, 3, 9)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C / 2, T * stride]."""
        return self.block(x)


class FactorisedQuantizer(nn.Module):
    """Codes by the angle to the entries of a narrow codebook (2110.04627, section 3.2)."""

    def __init__(self, dim: int, size: int, width: int):
        super().__init__()
        self.in_proj = NormedLinear(dim, width)
        self.out_proj = NormedLinear(width, dim)
        self._codebook = nn.Embedding(size, width)

    def codes(self, x: Tensor) -> Tensor:
        """Quantise [B, T, D] to codes [B, T]."""
        entries = F.normalize(self._codebook.weight, dim=-1)
        return (F.normalize(self.in_proj(x), dim=-1) @ entries.T).argmax(-1)

    def values(self, codes: Tensor) -> Tensor:
        """Look up codes [B, T]: [B, T, D]."""
        return self.out_proj(self._codebook(codes))


class FactorisedResidualQuantizer(nn.Module):
    """Quantisers in a row, each of the residual of those before it (2107.03312)."""

    layers: Any  # nn.ModuleList of FactorisedQuantizer

    def __init__(self, count: int, dim: int, size: int, width: int):
        super().__init__()
        self.layers = nn.ModuleList(FactorisedQuantizer(dim, size, width) for _ in range(count))

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise [B, T, D] to codes [B, count, T] and the residual [B, T, D]."""
        found = []
        for layer in self.layers:
            found.append(layer.codes(x))
            x = x - layer.values(found[-1])
        return torch.stack(found, dim=1), x

    def values(self, codes: Tensor) -> Tensor:
        """Look up codes [B, count, T]: [B, T, D]."""
        parts = zip(self.layers, codes.unbind(1), strict=True)
        return reduce(torch.add, (layer.values(stream) for layer, stream in parts))
