"""Linear layers for inference on a CPU: what a small step costs is reading its weights.

Both kinds give every row of a batch the bits that it gets alone, so batching never changes what is
said (tests/test_linears.py). Products are in bfloat16; in and out come as they were.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Make = Callable[[nn.Linear], nn.Module]  # a linear layer to what multiplies in its place

SMALLEST = 64 * 64  # weights; a smaller layer is not worth the conversion of its input
TILE = 32  # torch's int8 kernel reads whole tiles of rows and columns


class Int8Linear(nn.Module):
    """Weights in int8 with one scale a row: the fastest for few rows, which wait for memory."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.outputs = linear.out_features
        weight = linear.weight.detach().float()
        self.missing = -linear.in_features % TILE
        weight = F.pad(weight, (0, self.missing, 0, -self.outputs % TILE))
        scale = weight.abs().amax(1).clamp(min=1e-8) / 127  # [out]
        self.weight = (weight / scale[:, None]).round().to(torch.int8)
        self.scale = scale.to(torch.bfloat16)
        self.bias = None if linear.bias is None else linear.bias.detach().to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        y = self.product(x.reshape(-1, x.shape[-1]).to(torch.bfloat16))
        return y.view(*x.shape[:-1], -1).to(x.dtype)

    def product(self, x: Tensor) -> Tensor:
        """bfloat16 [N, in] -> bfloat16 [N, out]."""
        if self.missing:
            x = F.pad(x, (0, self.missing))
        y = torch._weight_int8pack_mm(x, self.weight, self.scale)
        if y.shape[1] != self.outputs:
            y = y[:, : self.outputs]
        return y if self.bias is None else y + self.bias


class Bf16Linear(nn.Module):
    """Weights in bfloat16, packed once for oneDNN: the fastest for many rows, which compute."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().to(torch.bfloat16)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        bias = linear.bias
        self.bias = None if bias is None else bias.detach().to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        y = torch.ops.mkldnn._linear_pointwise(
            x.to(torch.bfloat16), self.weight, self.bias, "none", [], ""
        )
        return y.to(x.dtype)


def has_bf16() -> bool:
    """Whether this machine has bfloat16 products on its CPU."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def replace_linears(module: nn.Module, make: Make) -> None:
    """Replace, in place, every linear layer of `module` that is worth it."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and child.weight.numel() >= SMALLEST:
            setattr(module, name, make(child))
        else:
            replace_linears(child, make)


def join_linears(linears: list[nn.Linear]) -> nn.Linear:
    """One linear layer, for inference, whose output is that of all, one after the other."""
    weight = torch.cat([linear.weight.detach() for linear in linears])
    has_bias = linears[0].bias is not None
    joined = nn.Linear(weight.shape[1], weight.shape[0], has_bias, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if has_bias:
        bias = torch.cat([linear.bias.detach() for linear in linears])
        joined.bias = nn.Parameter(bias, requires_grad=False)
    return joined
