"""Linear layers for inference on a CPU: what a small step costs is reading its weights.

Both kinds give every row of a batch the bits that it gets alone, so batching never changes what is
said (tests/test_linears.py). In and out come as they were.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Make = Callable[[nn.Linear], nn.Module]  # a linear layer to what multiplies in its place

SMALLEST = 64 * 64  # weights; a smaller layer is not worth the conversion of its input
LARGEST = 127  # of an int8 and its negative


class Int8Linear(nn.Module):
    """int8 weights with a scale for every output, times int8 rows with a scale for every row.

    Integers add up the same in any order, and a row's scale is its own.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=1e-8) / LARGEST  # [out]
        self.weight = (weight / scale[:, None]).round().to(torch.int8).t()  # [in, out]
        self.scale = scale
        self.bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        y = self.product(x.reshape(-1, x.shape[-1]).float())
        return y.view(*x.shape[:-1], -1).to(x.dtype)

    def product(self, x: Tensor) -> Tensor:
        """float32 [N, in] -> float32 [N, out]."""
        scale = x.abs().amax(1, keepdim=True).clamp_(1e-8).div_(LARGEST)  # [N, 1]
        y = torch._int_mm((x / scale).round_().to(torch.int8), self.weight) * self.scale
        y.mul_(scale)
        return y if self.bias is None else y.add_(self.bias)


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


class ProductConvolution(nn.Module):
    """A Conv1d with padding "same" as one product of all its windows, for inference."""

    def __init__(self, convolution: nn.Conv1d, make: Make):
        super().__init__()
        outputs, inputs, self.width = convolution.weight.shape
        linear = nn.Linear(inputs * self.width, outputs, convolution.bias is not None, "meta")
        linear.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
        linear.bias = convolution.bias
        self.linear = make(linear)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, L] -> [B, out, L]."""
        before = (self.width - 1) // 2
        x = F.pad(x, (before, self.width - 1 - before))
        windows = x.unfold(2, self.width, 1).transpose(1, 2).flatten(2)  # [B, L, in * width]
        return self.linear(windows).transpose(1, 2)


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
