"""Where a model of Transformers runs."""

from typing import Any

from vocalmtp.errors import InputError
from vocalmtp.io.read import reason


def on_device(model: Any, device: str) -> Any:
    """`model` on the torch device of that name, to be used. Raises InputError if there is none."""
    import torch

    try:
        return model.eval().to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # the latter without CUDA
        said = reason(error)
        raise InputError(
            f"device '{device}': cannot be used ({said}); give cpu", code="unusable"
        ) from error
