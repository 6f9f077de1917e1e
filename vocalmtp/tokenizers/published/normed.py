"""Weight-normalised layers (1602.07868) with the parameter names of published checkpoints.

A layer holds the length `weight_g` and the direction `weight_v` of each row of its weight.
"""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class NormedConv1d(nn.Conv1d):
    """Conv1d over [B, C, T] with a weight-normalised weight."""

    def __init__(self, inputs: int, outputs: int, kernel: int, **settings: Any):
        super().__init__(inputs, outputs, kernel, **settings)
        _split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C', T']."""
        weight = _join_weight(self)
        return F.conv1d(x, weight, self.bias, self.stride, self.padding, self.dilation)


class NormedConvTranspose1d(nn.ConvTranspose1d):
    """ConvTranspose1d over [B, C, T] with a weight-normalised weight."""

    def __init__(self, inputs: int, outputs: int, kernel: int, **settings: Any):
        super().__init__(inputs, outputs, kernel, **settings)
        _split_weight(self)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Map [B, C, T] to [B, C', T']."""
        weight = _join_weight(self)
        assert not isinstance(self.padding, str)
        return F.conv_transpose1d(
            x, weight, self.bias, self.stride, self.padding, self.output_padding
        )


class NormedLinear(nn.Linear):
    """Linear over [..., C] with a weight-normalised weight."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        _split_weight(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., C] to [..., C']."""
        return F.linear(x, _join_weight(self), self.bias)


def _split_weight(layer: Any) -> None:
    """Replace the weight of a new layer by its length and direction."""
    weight = layer.weight.detach()
    del layer.weight
    layer.weight_g = nn.Parameter(_lengths(weight))
    layer.weight_v = nn.Parameter(weight)


def _join_weight(layer: Any) -> Tensor:
    return layer.weight_v * (layer.weight_g / _lengths(layer.weight_v))


def _lengths(weight: Tensor) -> Tensor:
    """Return the Euclidean length of each row: [rows, 1, ...]."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1))
