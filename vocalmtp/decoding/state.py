"""Everything mutable of one generation, passed to the model and returned by it.

Letters: B rows, L positions seen so far, S speech steps, G frames per step, U characters, D width.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class DecodeState:
    """Caches and pointers of a batch; two states on one model never mix.

    Only the decode loop sets `generators`, `ended` and `finished`; only the model sets the rest.
    """

    cache: Any  # a Transformers cache
    positions: Tensor  # [B] position id of the next position of each row
    prefix: int  # positions before the first speech step
    attention_mask: Tensor | None = None  # [B, L]; None = no row is padded
    speaker: Tensor | None = None  # [B, D] projected, for models that add it to every step
    encoded: Tensor | None = None  # [B, U, D] text of the track
    character_lengths: Tensor | None = None  # [B]
    pointers: Tensor | None = None  # [B] the character that each row's last frame stands on
    advances: list[Tensor] = field(default_factory=list)  # S times [B, G]
    steps: int = 0  # speech steps taken in
    generators: list[torch.Generator] = field(default_factory=list)  # noise of every row
    ended: Tensor | None = None  # [B] step at which the leading slot said the end, -1 = not yet
    finished: Tensor | None = None  # [B] bool

    def truncate(self, steps: int) -> "DecodeState":
        """Forget all but the first `steps` speech steps; the noise is not rewound."""
        surplus = self.steps - steps
        if surplus <= 0:
            return self
        self.cache.crop(-surplus)
        self.positions = self.positions - surplus
        if self.attention_mask is not None:
            self.attention_mask = self.attention_mask[:, :-surplus]
        if self.pointers is not None:
            del self.advances[steps:]
            moved = [advance.sum(1) for advance in self.advances]
            self.pointers = sum(moved, torch.zeros_like(self.pointers))
        if self.ended is not None:
            kept = self.ended < steps
            self.ended = torch.where(kept, self.ended, -1)
            self.finished = self.finished & kept & (self.ended >= 0)
        self.steps = steps
        return self

    def select(self, rows: list[int]) -> "DecodeState":
        """Keep only these rows, in this order."""
        index = torch.tensor(rows, device=self.positions.device)
        self.cache.batch_select_indices(index)
        for name in (
            "positions",
            "attention_mask",
            "speaker",
            "encoded",
            "character_lengths",
            "pointers",
            "ended",
            "finished",
        ):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, value[index])
        self.advances = [advance[index] for advance in self.advances]
        if self.generators:
            self.generators = [self.generators[row] for row in rows]
        return self
