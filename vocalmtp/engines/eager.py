"""The engine that runs a model's modules as they are, and the base of the engines in torch."""

from typing import Protocol

import torch

from vocalmtp.engines.base import AUTO, EngineSettings
from vocalmtp.engines.device import resolve_device
from vocalmtp.engines.graphs import Programs
from vocalmtp.engines.linears import LinearFactory
from vocalmtp.errors import InputError


class Optimizable(Protocol):
    """A model that can replace its modules by faster ones."""

    @property
    def width(self) -> int:
        """D, the size of its hidden states."""

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Fuse modules for decoding on a CPU, in place; `convert` replaces linear layers."""

    def use_programs(self, programs: Programs) -> None:
        """Fuse modules, and decode with fixed shapes by `programs`, in place."""


class TorchEngine:
    """An engine for models that torch loads: it changes a loaded model in place.

    Attributes:
        devices: kinds of torch devices that it runs on.
        loader: see Engine.
        fuses: whether LlamaRunner runs the backbones that it supports.
        keeps_half: whether weights that are stored in 16 bits are loaded as they are.

    """

    devices: tuple[str, ...] = ("cpu",)
    fuses = False
    keeps_half = False
    loader = "vocalmtp.loading"

    def check(self, device: str | torch.device) -> None:
        """See Engine."""
        self.place(device)

    def place(self, device: str | torch.device) -> torch.device:
        """Return the device to run on. Raises InputError if it does not exist."""
        if device == AUTO and len(self.devices) == 1:
            device = self.devices[0]
        return resolve_device(device)

    def optimize(self, model: Optimizable, settings: EngineSettings) -> None:
        """Prepare a speech LM, which is on its device, for decoding; it cannot be trained then.

        Raises:
            InputError: the engine cannot run this model, or has no 8-bit weights.

        """
        raise NotImplementedError


class EagerEngine(TorchEngine):
    """The modules as they are, in float32: the reference for all other engines."""

    devices = ("cpu", "cuda", "mps", "xpu")

    def optimize(self, model: Optimizable, settings: EngineSettings) -> None:
        if settings.int8:
            raise InputError(
                "int8 'True': the engine eager has no 8-bit weights; give the engine cpu",
                code="conflict",
            )
