"""Linear layers for inference on a CPU, where reading its weights dominates the cost of a step.

Int8Linear and Bf16Linear give each row of a batch the bits that the row gets alone, so that batching
never changes the output; Fp16Linear does so on CPUs with AVX-512. Elsewhere the rows of a batch are
equal to single ones up to rounding, as with float32. Inputs and outputs keep their dtype.
"""

import warnings
from collections.abc import Callable, Iterable
from functools import cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LinearFactory = Callable[[nn.Linear], nn.Module]  # makes the module that replaces a linear layer

MIN_WEIGHTS = 64 * 64  # a smaller layer is not worth the conversion of its input
INT8_MAX = 127  # of an int8 and its negative


def keep_linear(linear: nn.Linear) -> nn.Module:
    """Return a linear layer as it is: the LinearFactory of float weights."""
    return linear


class Int8Linear(nn.Module):
    """A linear layer with int8 weights (a scale per output) and int8 inputs (a scale per row).

    Integers have the same sum in any order, and a row's scale is its own.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=1e-8) / INT8_MAX  # [out]
        self.weight = (weight / scale[:, None]).round().to(torch.int8).t()  # [in, out]
        self.scale = scale
        self.bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        y = self.product(x.reshape(-1, x.shape[-1]).float())
        return y.view(*x.shape[:-1], -1).to(x.dtype)

    def product(self, x: Tensor) -> Tensor:
        """float32 [N, in] -> float32 [N, out]."""
        scale = x.abs().amax(1, keepdim=True).clamp_(1e-8).div_(INT8_MAX)  # [N, 1]
        y = torch._int_mm((x / scale).round_().to(torch.int8), self.weight) * self.scale
        y.mul_(scale)
        return y if self.bias is None else y.add_(self.bias)


class Fp16Linear(nn.Module):
    """A linear layer with float16 weights and float32 inputs and sums, by FBGEMM.

    Nothing is lost if the weights are stored in float16, and half as much is read as in float32.
    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        self.size = weight.numel()
        self.weight = torch.fbgemm_pack_gemm_matrix_fp16(weight)
        self.bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        return self.product(x.float()).to(x.dtype)

    def product(self, x: Tensor) -> Tensor:
        """float32 [.., in] -> float32 [.., out]."""
        y: Tensor = torch.fbgemm_linear_fp16_weight_fp32_activation(x, self.weight, self.bias)
        return y


class TransposedLinear(nn.Module):
    """A linear layer in float32 whose weights are stored transposed: faster for few rows."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.weight = linear.weight.detach().t().contiguous()  # [in, out]
        self.bias = None if linear.bias is None else linear.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        return self.product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)

    def product(self, x: Tensor) -> Tensor:
        """[N, in] -> [N, out]."""
        if self.bias is None:
            return torch.mm(x, self.weight)
        return torch.addmm(self.bias, x, self.weight)


class Bf16Linear(nn.Module):
    """A linear layer with bfloat16 weights, packed once for oneDNN: the fastest for many rows."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().to(torch.bfloat16)
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        bias = linear.bias
        self.bias = None if bias is None else bias.detach().to(torch.bfloat16)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(torch.bfloat16), self.weight, self.bias, "none", [], ""
        )
        return y.to(x.dtype)


class WindowedLinear(nn.Module):
    """A Conv1d with padding "same" as one product of all its windows, for inference.

    Args:
        convolution: the layer that it replaces.
        convert: makes the product of a linear layer over windows.

    """

    def __init__(self, convolution: nn.Conv1d, convert: LinearFactory):
        super().__init__()
        outputs, inputs, self.width = convolution.weight.shape
        linear = nn.Linear(inputs * self.width, outputs, convolution.bias is not None, "meta")
        linear.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
        if convolution.bias is not None:
            linear.bias = nn.Parameter(convolution.bias.detach(), requires_grad=False)
        self.linear = convert(linear)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, L] -> [B, out, L]."""
        before = (self.width - 1) // 2
        x = F.pad(x, (before, self.width - 1 - before))
        windows = x.unfold(2, self.width, 1).transpose(1, 2).flatten(2)  # [B, L, in * width]
        outputs: Tensor = self.linear(windows)
        return outputs.transpose(1, 2)


def has_bf16() -> bool:
    """Whether the CPU has bfloat16 products."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@cache
def has_exact_int8() -> bool:
    """Whether products of int8 are right: without VNNI, oneDNN's saturate at large values."""
    x = torch.full((32, 64), INT8_MAX, dtype=torch.int8, device="cpu")
    try:
        return bool((torch._int_mm(x, x.t().contiguous()) == 64 * INT8_MAX**2).all())
    except RuntimeError:  # a build without that product
        return False


@cache
def has_fp16() -> bool:
    """Whether torch has FBGEMM's products with float16 weights, which it has on x86 alone."""
    try:
        with (
            warnings.catch_warnings()
        ):  # "deprecated"; the op that replaces it is three times slower
            warnings.simplefilter("ignore")
            Fp16Linear(nn.Linear(8, 8, bias=False, device="cpu")).product(torch.zeros(1, 8))
    except (AttributeError, RuntimeError, TypeError):
        return False
    return True


def replace_linears(module: nn.Module, convert: LinearFactory) -> None:
    """Replace the linear layers of `module` in place, except for small ones."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and child.weight.numel() >= MIN_WEIGHTS:
            setattr(module, name, convert(child))
        else:
            replace_linears(child, convert)


def join_linears(linears: Iterable[nn.Module]) -> nn.Linear:
    """Join linear layers of one input into one, for inference, whose outputs are concatenated."""
    layers = [cast(nn.Linear, linear) for linear in linears]
    weight = torch.cat([layer.weight.detach() for layer in layers])
    has_bias = layers[0].bias is not None
    joined = nn.Linear(weight.shape[1], weight.shape[0], has_bias, device="meta")
    joined.weight = nn.Parameter(weight, requires_grad=False)
    if has_bias:
        bias = torch.cat([layer.bias.detach() for layer in layers])
        joined.bias = nn.Parameter(bias, requires_grad=False)
    return joined
