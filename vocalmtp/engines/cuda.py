"""Engines with fixed shapes: CUDA graphs in bfloat16, and the same passes without graphs."""

from typing import Any

import torch
from torch import nn

from vocalmtp.engines.base import EngineSettings
from vocalmtp.engines.eager import Optimizable, TorchEngine
from vocalmtp.engines.graphs import Programs
from vocalmtp.errors import InputError


def store_in_bf16(module: nn.Module) -> None:
    """Convert weights and buffers of a module to bfloat16 in place, but for rotary frequencies."""
    kept = {
        name: buffer for name, buffer in module.named_buffers() if name.endswith("inv_freq")
    }  # rounded, they would turn distant positions by other angles
    nn.Module.to(module, torch.bfloat16)  # a model of Transformers wraps its own
    for name, buffer in kept.items():
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, buffer)


class StaticEngine(TorchEngine):
    """Passes of fixed shapes in float32, operation by operation: the passes of `cuda`, on any device.

    Attributes:
        mode: how passes are executed, see `Programs.of`.

    """

    devices: tuple[str, ...] = ("cpu", "cuda")
    mode = "none"

    def optimize(self, model: Optimizable, settings: EngineSettings) -> None:
        """See TorchEngine."""
        if settings.int8:
            raise InputError(
                "int8 'True': engines with fixed shapes have no 8-bit weights; give the engine cpu",
                code="conflict",
            )
        model.use_programs(Programs.of(self.mode))


class CudaEngine(StaticEngine):
    """Whole passes as CUDA graphs, in bfloat16."""

    devices = ("cuda",)
    mode = "graph"
    keeps_half = True

    def optimize(self, model: Optimizable, settings: EngineSettings) -> None:
        """See TorchEngine."""
        module: Any = model
        store_in_bf16(module)
        super().optimize(model, settings)
