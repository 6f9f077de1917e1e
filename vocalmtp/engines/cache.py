"""A cache of keys and values whose rows come and go, each with its own length.

Letters: B rows, P positions of room, J key-value heads, d size of a head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

BLOCK = 64  # positions by which a cache grows, and in which it is read


@dataclass(frozen=True, eq=False)
class TreeMask:
    """Which of the L positions of a draft tree attend to which, in depth-first order, root first."""

    visible: Tensor  # [L, L] bool: a position (row) attends to its ancestors and itself
    depths: Tensor  # [L] of the positions, 0 for the root
    deepest: int

    @classmethod
    def of(cls, visible: Tensor, device: torch.device | None = None) -> "TreeMask":
        """Return the mask of `visible` [L, L], which is on the CPU, on a device."""
        depths = visible.sum(1) - 1
        return cls(visible.to(device), depths.to(device), int(depths.max()))


class AlignedCache:
    """Keys and values of all layers, where every row starts at position 0.

    Whole blocks are read, and what is beyond a row's end is masked: that adds zeros to the end of
    its sums and nothing else, so that a row's numbers do not depend on the lengths of the others.

    Attributes:
        key_values: [layers, B, P, 2, J, d].
        lengths: [B] positions of each row.
        longest: an upper bound of `lengths`, on the host: no pass has to wait for the device.
        fixed: whether P never changes, and is always read as a whole.

    """

    def __init__(self, key_values: Tensor, lengths: Tensor, longest: int = 0):
        self.key_values, self.lengths, self.longest = key_values, lengths, longest
        self.fixed = False

    def select(self, rows: Tensor) -> None:
        """Keep only the rows [B'], in that order."""
        self.lengths = self.lengths[rows]
        self.key_values = self.key_values[:, rows, : whole_blocks(self.longest)]

    def join(self, other: "AlignedCache") -> None:
        """Append the rows of another cache."""
        both = join_caches([self, other])
        self.key_values, self.lengths, self.longest = both.key_values, both.lengths, both.longest

    def append(self, positions: int) -> None:
        """Count so many more positions of every row, which have been written."""
        self.lengths, self.longest = self.lengths + positions, self.longest + positions

    def crop(self, positions: Tensor | int) -> None:
        """Remove the last positions of every row: one number, or [B] for each row its own."""
        self.lengths = self.lengths - positions
        if isinstance(positions, int):
            self.longest -= positions

    def keep_path(self, drafted: Tensor, path: Tensor, counts: Tensor) -> None:
        """Keep one path of a draft tree, see KVCache.

        The drafts are behind the positions that their longest path takes.
        """
        longest, last = path.shape[1], self.key_values.shape[2] - 1
        first = (self.lengths - drafted)[:, None]  # [B, 1] position of the path's first draft
        number = torch.arange(longest, device=path.device)
        target = (first + number).clamp(max=last)
        source = torch.where(number < counts[:, None], first + longest + path, target)
        rows = torch.arange(len(path), device=path.device)[:, None]
        self.key_values[:, rows, target] = self.key_values[:, rows, source]
        self.lengths = first[:, 0] + counts

    def layers(self, positions: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield views of every layer.

        They are: its [B, P, 2, J, d], which is to be written; keys and values [B, J, n, d] of its
        first n `positions`, which are read.
        """
        keys, values = self.key_values[:, :, :positions].permute(3, 0, 1, 4, 2, 5)
        return zip(self.key_values.unbind(), keys.unbind(), values.unbind(), strict=True)

    def grow(self, positions: int) -> int:
        """Make room for more positions of every row; returns how many to read then."""
        if self.fixed:
            return self.key_values.shape[2]
        needed = whole_blocks(self.longest + positions)
        if needed > self.key_values.shape[2]:
            self.key_values = _with_room(self.key_values, needed)
        return needed


def join_caches(caches: Sequence[AlignedCache]) -> AlignedCache:
    """Return one cache with the rows of all."""
    room = max(cache.key_values.shape[2] for cache in caches)
    key_values = torch.cat([_with_room(cache.key_values, room) for cache in caches], 1)
    lengths = torch.cat([cache.lengths for cache in caches])
    return AlignedCache(key_values, lengths, max(cache.longest for cache in caches))


def whole_blocks(positions: int) -> int:
    """Round a number of positions up to whole blocks."""
    return -(-positions // BLOCK) * BLOCK


def _with_room(key_values: Tensor, positions: int) -> Tensor:
    if key_values.shape[2] == positions:
        return key_values
    return F.pad(key_values, (0, 0, 0, 0, 0, 0, 0, positions - key_values.shape[2]))
