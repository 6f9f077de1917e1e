"""SEANet (2009.02095) as in EnCodec (2210.13438), with the parameter names of its checkpoints.

What SpeechTokenizer and WavTokenizer share: layers that see both sides and pad by reflection, and a
codebook. Shapes: B batch, C channels, T time at the level of the layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.tokenizers.published.normed import NormedConv1d, NormedConvTranspose1d


class Conv(nn.Module):
    """Convolution padded by reflection: [B, C, T] to [B, C', ceil(T / stride)]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1):
        super().__init__()
        self.conv = nn.ModuleDict({"conv": NormedConv1d(inputs, outputs, kernel, stride=stride)})
        self.stride, self.context = stride, kernel - stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C', ceil(T / stride)]."""
        right = self.context // 2
        left, right = self.context - right, right + -x.shape[-1] % self.stride
        return self.conv["conv"](reflect(x, left, right))


class ConvTranspose(nn.Module):
    """Transposed convolution without its edges: [B, C, T] to [B, C / 2, T * stride]."""

    def __init__(self, inputs: int, stride: int):
        super().__init__()
        layer = NormedConvTranspose1d(inputs, inputs // 2, 2 * stride, stride=stride)
        self.convtr = nn.ModuleDict({"convtr": layer})
        self.right = stride // 2
        self.left = stride - self.right

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C / 2, T * stride]."""
        x = self.convtr["convtr"](x)
        return x[..., self.left : x.shape[-1] - self.right]


class ResidualBlock(nn.Module):
    """Two convolutions through half the channels, added to a pointwise one."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.block = nn.Sequential(
            nn.ELU(), Conv(channels, half, 3), nn.ELU(), Conv(half, channels, 1)
        )
        self.shortcut = Conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T]."""
        return self.shortcut(x) + self.block(x)


class Recurrent(nn.Module):
    """An LSTM over time, added to its input: [B, C, T] to [B, C, T], bidirectional to [B, 2C, T]."""

    def __init__(self, channels: int, layers: int, *, bidirectional: bool = False):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, layers, bidirectional=bidirectional)
        self.repeats = 2 if bidirectional else 1

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C or 2C, T]."""
        x = x.permute(2, 0, 1)  # [T, B, C]
        return (self.lstm(x)[0] + x.repeat(1, 1, self.repeats)).permute(1, 2, 0)


class Codebook(nn.Module):
    """Codes by the distance to the entries `embed`."""

    embed: Tensor

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.register_buffer("embed", torch.randn(size, dim))

    def codes(self, x: Tensor) -> Tensor:
        """Quantise [B, T, D] to codes [B, T]."""
        return (self.embed.square().sum(-1) - 2 * x @ self.embed.T).argmin(-1)

    def values(self, codes: Tensor) -> Tensor:
        """Look up codes [B, T]: [B, T, D]."""
        return F.embedding(codes, self.embed)


def reflect(x: Tensor, left: int, right: int) -> Tensor:
    """Pad `x` [B, C, T] by reflection; input that is too short is extended by zeros first."""
    short = max(left, right) + 1 - x.shape[-1]
    if short <= 0:
        return F.pad(x, (left, right), mode="reflect")
    x = F.pad(F.pad(x, (0, short)), (left, right), mode="reflect")
    return x[..., : x.shape[-1] - short]
