"""The engine that runs a model's ONNX graphs with onnxruntime, on the CPU and without torch.

What the graphs are, and what runs them, is in the package vocalmtp.onnx.
"""

from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.optional import ONNX, require

DEVICES = ("cpu",)


class OnnxEngine:
    """Graphs beside a model's weights, which `vocalmtp export --onnx` writes.

    Attributes:
        devices: kinds of torch devices that it runs on.
        loader: see Engine.

    """

    devices = DEVICES
    loader = "vocalmtp.onnx.loading"

    def check(self, device: Any) -> None:
        """See Engine."""
        require("onnxruntime", ONNX)
        kind = str(device).partition(":")[0]
        known = (*DEVICES, "auto", "cuda", "mps", "xpu")
        if kind not in known:
            raise InputError(
                f"device '{device}': unknown; the engine onnx runs on cpu", code="unknown_name"
            )
