"""Devices and processes of a training run.

`torchrun` starts several processes, each with its own part of the data; gradients are averaged. The
Trainer of Transformers averages those of a speech LM, whose processes share every batch (see
`share_of_counts`); `TrainingLoop` averages those of the other models with `average_gradients`, so
that N processes train as one with N times the batch. With one process, the functions here do nothing.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import BeforeValidator
from torch import Tensor, distributed, nn

from vocalmtp.engines.device import resolve_device
from vocalmtp.engines.linears import has_bf16

if TYPE_CHECKING:
    from accelerate import Accelerator


def _precision_of_flag(value: object) -> object:
    """Value of the former key `bf16`."""
    return ("bf16" if value else "fp32") if isinstance(value, bool) else value


# Of the networks in training: float32, or automatic mixed precision with bfloat16.
Precision = Annotated[Literal["fp32", "bf16"], BeforeValidator(_precision_of_flag)]


def select_device(name: str) -> torch.device:
    """Resolve a device, and make it the current one where there are several.

    Raises:
        InputError: torch has no such device on this machine.

    """
    device = resolve_device(name)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def usable_precision(precision: Precision, device: torch.device) -> Precision:
    """Return `precision`, or "fp32" where the CPU has no bfloat16 products, and say so.

    There, oneDNN computes them in float32 between two conversions: an update of recipes/mini takes 17
    times as long as in float32 (AMD EPYC with AVX2).
    """
    if precision == "fp32" or device.type != "cpu" or has_bf16():
        return precision
    _tell_once("precision bf16: this CPU has no bfloat16 products; training in fp32 instead")
    return "fp32"


@cache
def _tell_once(message: str) -> None:
    """Print a message by the first process, once."""
    if is_first():
        print(message, flush=True)


def make_accelerator(device: str, precision: Precision) -> "Accelerator":
    """Accelerate on `device`; under `torchrun`, joins the other processes.

    Raises:
        InputError: this machine has no such device.

    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    place = select_device(device)
    precision = usable_precision(precision, place)
    # One process may train several models in turn, as `recipe: finetune` does.
    AcceleratorState._reset_state(reset_partial_state=True)
    mixed = "no" if precision == "fp32" else precision
    return Accelerator(cpu=place.type == "cpu", mixed_precision=mixed)


def num_processes() -> int:
    """Number of processes that `torchrun` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process is the one that prints and writes files."""
    return os.environ.get("RANK", "0") == "0"


def leave_processes() -> None:
    """End the communication with other processes, which would abort the exit of this one."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def average_gradients(parameters: list[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the processes."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    joined = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(joined)
    joined /= distributed.get_world_size()
    parts = joined.split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def from_first(value: float) -> float:
    """Return the first process's `value`, for decisions that all processes must share."""
    if not distributed.is_initialized():
        return value
    from accelerate.utils import broadcast_object_list

    return float(broadcast_object_list([value])[0])


def share_of_counts(counts: Tensor) -> Tensor:
    """Weight of this process's loss in the mean over the processes; 1 with one process.

    A loss that is a mean over `counts` targets, times this weight, averages over the processes to
    the mean over all of their targets, however unequally these are spread; so do its gradients.

    Args:
        counts: [K] number of targets of each of K losses in this process.

    Returns:
        [K] `counts` over their mean over the processes.

    """
    if not distributed.is_initialized():
        return torch.ones_like(counts, dtype=torch.float32)
    mean = mean_over_processes(counts.float())
    return counts / mean.clamp(min=1e-9)


def mean_over_processes(values: Tensor) -> Tensor:
    """Mean of `values` over the processes."""
    if distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside the block or the decorated function.

    They do not matter to a model and would halve the speed of a long run on a CPU.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
