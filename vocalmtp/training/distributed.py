"""Data-parallel training under `torchrun`, for loops that the Trainer of Transformers does not run.

Every process reads other data and averages its gradients with the rest, so N processes train as one
with N times the batch. Without torchrun all of this does nothing.
"""

import os

import torch
from torch import distributed, nn


def join_processes() -> tuple[int, int]:
    """This process's number and how many there are; joins the others on the first call."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
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
