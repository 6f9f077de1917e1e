"""Torch devices by name, and tensor defaults that do not depend on the calling program."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from vocalmtp.errors import InputError
from vocalmtp.io.read import reason

AUTO = "auto"

_building = threading.RLock()


def resolve_device(name: str | torch.device = AUTO) -> torch.device:
    """Return the torch device called `name`, such as "cpu", "cuda" or "cuda:1".

    Args:
        name: a device of torch, or "auto": CUDA if this machine has it, else the CPU.

    Raises:
        InputError: torch knows no such device (`unknown_name`), or it cannot be used here
            (`unusable`).

    """
    if name == AUTO:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"device '{name}': unknown; give auto, cpu, cuda, or cuda:N for GPU number N",
            code="unknown_name",
        ) from error
    try:
        torch.zeros(1, device=device, dtype=torch.float32).tolist()
    except (RuntimeError, AssertionError, ImportError) as error:  # a build without that device
        raise InputError(
            f"device '{name}': cannot be used ({reason(error)}); give cpu, or auto",
            code="unusable",
        ) from error
    return device


def move(module: Any, device: torch.device) -> None:
    """Move a module of torch to a device, in place."""
    nn.Module.to(module, device)  # a model of Transformers wraps its own


@contextmanager
def float32_on_cpu() -> Iterator[None]:
    """Build modules in float32 on the CPU, whatever defaults the calling program has set.

    The default dtype is global to the process, so that only one thread at a time is in the block.
    """
    with _building, torch.device("cpu"):
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


def _begin_forked() -> None:
    """Prepare a forked child, which has none of its parent's threads; torch would wait for them."""
    _building.release()
    torch.set_num_threads(1)


# No other thread is building modules at a fork: the child would wait for it for ever.
if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_building.acquire, after_in_parent=_building.release, after_in_child=_begin_forked
    )
