"""Numbers too small to matter, which would halve the speed of a long run on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take denormal numbers for zero while the block, or the function decorated so, runs."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
