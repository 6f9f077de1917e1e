"""Data-parallel training under `torchrun`. Without it all of this does nothing.

Every process reads other data, and gradients are averaged. A loop of our own does that itself, so
that N processes train as one with N times the batch. The Trainer of Transformers does it for the
speech LM, whose processes share every batch (see `share_of_counts`).
"""

import os

import torch
from torch import Tensor, distributed, nn


def num_processes() -> int:
    """How many processes `torchrun` has started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this is the process that speaks and writes for all."""
    return os.environ.get("RANK", "0") == "0"


def join_processes() -> tuple[int, int]:
    """This process's number and how many there are; joins the others on the first call."""
    processes = num_processes()
    if processes > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return int(os.environ.get("RANK", "0")), processes


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
    """The first process's `value`, for decisions that all must take alike."""
    if not distributed.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, src=0)
    return shared.item()


def share_of_counts(counts: Tensor) -> Tensor:
    """This process's `counts` [K] over their mean over the processes, [K]; 1 without torchrun.

    A loss that is a mean over `counts` targets, times this, averages over the processes to the mean
    over all of their targets, however unequally they are spread; and so do its gradients.
    """
    if not distributed.is_initialized():
        return torch.ones_like(counts, dtype=torch.float32)
    mean = counts.float().clone()
    distributed.all_reduce(mean)
    mean /= distributed.get_world_size()
    return counts / mean.clamp(min=1e-9)


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of `values` over the processes."""
    if distributed.is_initialized():
        values = values.clone()
        distributed.all_reduce(values)
        values /= distributed.get_world_size()
    return values
