"""Uniform noise of every row of a batch, drawn ahead from sources on the CPU.

A row's numbers depend on its own seed alone, not on the device, the library or the other rows.
Letters: B rows, N numbers drawn so far, n rows that take some.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vocalmtp.arrays import Array, beside, integers, namespace, range_like, take_along

CHUNK = 512  # numbers that are drawn for a row at a time


class RowNoise:
    """Numbers in [0, 1), which every row takes in the order in which its source draws them.

    Args:
        like: an array of the library and on the device that the numbers are to have.
        sources: one for each row, see `noise_source`.

    Attributes:
        values: [B, N] float32.
        used: [B] how many of the N are taken.
        most: an upper bound of `used`, on the host.

    """

    def __init__(self, like: Array, sources: Sequence[Any]):
        self.sources = tuple(sources)
        self.used = integers(like, [0] * len(self.sources))
        self.values: Array = None
        self.most = 0

    @classmethod
    def seeded(cls, like: Array, seeds: Sequence[int]) -> "RowNoise":
        """Return the noise of rows with these seeds."""
        return cls(like, [noise_source(like, seed) for seed in seeds])

    @property
    def room(self) -> int:
        """N, how many numbers were drawn for every row."""
        return 0 if self.values is None else int(self.values.shape[1])

    def take(self, *shape: int, rows: Array | None = None) -> Array:
        """Take numbers of all rows, or of the `rows` [n]: [B, *shape] or [n, *shape]."""
        noise = self.peek(*shape, rows=rows)
        count = math.prod(shape)
        if rows is None:
            self.skip(count, count)
        else:
            self.used, self.most = self.used + 0, self.most + count
            self.used[rows] += count
        return noise

    def peek(self, *shape: int, rows: Array | None = None) -> Array:
        """Return the numbers that `take` would."""
        count = math.prod(shape)
        self.reserve(self.most + count)
        used, values = self.used, self.values
        if rows is not None:
            used, values = used[rows], values[rows]
        place = used[:, None] + range_like(used, count)
        return take_along(values, place, 1).reshape(len(used), *shape)

    def skip(self, counts: Array | int, most: int) -> None:
        """Pass over `counts` numbers of all rows; `most` is an upper bound of them."""
        self.used, self.most = self.used + counts, self.most + most

    def reserve(self, room: int) -> None:
        """Draw numbers until every row has `room` of them or more."""
        missing = room - self.room
        if missing <= 0:
            return
        count = -(-missing // CHUNK) * CHUNK
        xp = namespace(self.used)
        drawn = beside(self.used, xp.stack([uniform(source, count) for source in self.sources]))
        self.values = drawn if self.values is None else xp.concatenate([self.values, drawn], 1)

    def select(self, rows: Array, numbers: Sequence[int]) -> None:
        """Keep only the rows of these `numbers`, in this order; `rows` [B'] has them as an array."""
        self.sources = tuple(self.sources[row] for row in numbers)
        self.used = self.used[rows]
        self.values = None if self.values is None else self.values[rows]

    def join(self, other: "RowNoise") -> None:
        """Append the rows of another."""
        room, xp = max(self.room, other.room, 1), namespace(self.used)
        self.reserve(room)
        other.reserve(self.room)
        self.sources += other.sources
        self.values = xp.concatenate([self.values, other.values])
        self.used = xp.concatenate([self.used, other.used])
        self.most = max(self.most, other.most)


def noise_source(like: Array, seed: int) -> Any:
    """Return a source of noise for `uniform` that draws arrays of the library of `like`.

    The numbers of a seed do not depend on the library: torch's generator on the CPU is a Mersenne
    twister whose seed is the lower half of the one given.
    """
    if isinstance(like, np.ndarray):
        return np.random.RandomState(seed & 0xFFFFFFFF)
    return namespace(like).Generator("cpu").manual_seed(seed)


def uniform(source: Any, *shape: int) -> Array:
    """Draw float32 numbers in [0, 1) on the CPU, the same whatever torch's defaults are."""
    if isinstance(source, np.random.RandomState):
        bits = source.randint(0, 1 << 32, shape, np.uint32) & 0xFFFFFF
        return bits.astype(np.float32) * np.float32(2**-24)
    import torch

    return torch.rand(shape, generator=source, dtype=torch.float32, device="cpu")
