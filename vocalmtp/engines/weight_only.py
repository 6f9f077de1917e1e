"""Linear layers with 8-bit weights and bfloat16 inputs, for large models on a CPU.

A step of a language model of 100 M parameters and more reads its weights from memory, and nothing
else matters. Quantized weights are a quarter of the bytes; inputs, whose outliers 8 bits would
distort, keep bfloat16. The kernel needs AVX2 and no integer instructions.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vocalmtp.engines.cpu import linear_times
from vocalmtp.engines.linears import INT8_MAX, Fp16Linear, LinearFactory, has_fp16
from vocalmtp.engines.llama import LlamaRunner


class WeightOnlyLinear(nn.Module):
    """A linear layer with int8 weights (a scale per output), inputs of bfloat16, float32 outputs.

    Args:
        linear: the layer that it replaces.

    """

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()  # [out, in]
        scale = weight.abs().amax(1).clamp(min=1e-8) / INT8_MAX  # [out]
        self.weight = (weight / scale[:, None]).round().to(torch.int8)
        self.scale = scale.to(torch.bfloat16)
        # The kernel's outputs are bfloat16: what its scale lacks is multiplied in afterwards.
        self.correction = scale / self.scale.float()
        self.bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] -> float32 [.., out]."""
        return self.product(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)

    def product(self, x: Tensor) -> Tensor:
        """[N, in] -> float32 [N, out]."""
        y = torch._weight_int8pack_mm(x.to(torch.bfloat16), self.weight, self.scale).float()
        y.mul_(self.correction)
        return y if self.bias is None else y.add_(self.bias)


KINDS: dict[str, LinearFactory] = {"float16": Fp16Linear, "int8 weights": WeightOnlyLinear}
LARGE = 30_000_000  # weights, more than caches hold


def llm_linear(backbone: Any, half: bool) -> LinearFactory:
    """Return the faster kind of linear layers for a causal LM, measured once for a machine.

    Args:
        backbone: a causal LM of Transformers.
        half: whether 16 bits are as good as its weights; else 8-bit weights are taken.

    """
    weights = sum(parameter.numel() for parameter in backbone.parameters())
    if not half or not has_fp16() or weights < LARGE:
        return WeightOnlyLinear
    times = linear_times(tuple(KINDS), backbone.config.hidden_size, KINDS, LARGE)
    return KINDS[min(times, key=lambda name: times[name])]


def fused_runner(backbone: Any, convert: LinearFactory) -> LlamaRunner:
    """Return a runner of a Llama or Qwen2 with converted layers, and free the layers' own.

    Args:
        backbone: a causal LM of Transformers in float32 on the CPU; it cannot run by itself then.
        convert: makes the module that replaces a linear layer.

    """
    runner = LlamaRunner(backbone, convert)
    backbone.base_model.layers = nn.ModuleList()
    return runner
