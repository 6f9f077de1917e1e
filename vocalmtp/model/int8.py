"""Weight-only int8 for decoding on CPU, where reading the weights is what a step costs.

Each output row of a linear layer is stored as int8 with one scale. Activations stay per row, so a
row of a batch still equals the single call (dynamic activation scales would mix the rows).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 64 * 64  # weights; a smaller layer is not worth it
TILE = 32  # torch's int8 kernel reads whole tiles of rows and columns


class Int8Linear(nn.Module):
    """A linear layer with int8 weights; matrix products in bfloat16, in and out as they came."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.outputs = linear.out_features
        weight = linear.weight.detach().float()
        self.missing = -linear.in_features % TILE
        weight = F.pad(weight, (0, self.missing, 0, -self.outputs % TILE))
        scale = weight.abs().amax(1).clamp(min=1e-8) / 127  # [out]
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8))
        self.register_buffer("scale", scale.to(torch.bfloat16))
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> [.., out]."""
        flat = F.pad(x.reshape(-1, x.shape[-1]).to(torch.bfloat16), (0, self.missing))
        y = torch._weight_int8pack_mm(flat, self.weight, self.scale)
        y = y[:, : self.outputs].reshape(*x.shape[:-1], -1).to(x.dtype)
        return y if self.bias is None else y + self.bias


def quantize_linears(module: nn.Module) -> None:
    """Replace, in place, every linear layer of `module` that is worth it. For inference on CPU."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear) and child.weight.numel() >= SMALLEST:
            setattr(module, name, Int8Linear(child))
        else:
            quantize_linears(child)
