"""Leap heads: each predicts a further step of the future, `stride` steps apart.

L-MTP (arXiv 2505.17505, sections 3.1 and 3.2), whose maps are those of Medusa (arXiv 2401.10774).
Head i of a position predicts the step i x stride beyond the next. Decoding looks back: the hidden
states of the last `stride` positions fill the gaps between the leaps, so `steps` heads give
steps x stride drafts in a row from one forward pass. A stride of 1 is Medusa's parallel heads;
without maps too (`mapped: false`) it is a linear layer for every future token.
Letters: B rows, L positions, D width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.heads.base import register
from vocalmtp.heads.draft.base import DRAFTS, DraftCache, DraftConfig, DraftHead, MakeHead


class LeapConfig(DraftConfig):
    """`steps` heads beside the model's own, `stride` steps apart."""

    steps: int = Field(default=3, ge=1)
    stride: int = Field(default=2, ge=1)
    mapped: bool = True  # h + silu(A h + b) before the grouped head; A starts at zero
    own_heads: bool = True  # a grouped head for every leap, as published, or the model's


@register("leap", DRAFTS)
class LeapDraft(DraftHead):
    """Every state is a map of the hidden state of its own position alone.

    The number of hidden states that are kept is the stride, whatever it is. (The released code
    trains a stride of 3 and keeps two, which leaves gaps.)
    """

    Config = LeapConfig

    def __init__(self, config: LeapConfig, width: int, make_head: MakeHead):
        own = range(config.steps) if config.own_heads else ()
        super().__init__(config, [make_head() for _ in own])
        self.offsets = tuple(config.stride * i for i in range(1, config.steps + 1))
        self.weights = (1.0,) * config.steps
        self.maps = nn.ModuleList(
            nn.Linear(width, width) for _ in range(config.steps if config.mapped else 0)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every head starts as the one it is a copy of."""
        for linear in self.maps:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def _state(self, hidden: Tensor, i: int) -> Tensor:
        return hidden + F.silu(self.maps[i](hidden)) if self.config.mapped else hidden

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        return [self._state(hidden, i) for i in range(active)]

    def start(self, rows: int, like: Tensor) -> DraftCache:
        vectors = like.new_zeros(rows, self.config.stride, like.shape[-1])
        return DraftCache(vectors, torch.zeros(rows, dtype=torch.long, device=like.device))

    def read(
        self, memory: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        stride = self.config.stride
        both = torch.cat([memory.vectors, hidden], 1)  # [B, stride + L, D]
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        last = counts[:, None] + torch.arange(stride, device=hidden.device)  # [B, stride]
        memory.vectors, memory.seen = both[rows, last], memory.seen + counts
        return memory

    def draft_step(self, memory: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        head, back = look_back(ahead, self.config.stride)
        return self._state(memory.vectors[:, -1 - back], head - 1), head - 1

    def ready(self, memory: DraftCache) -> Tensor:
        return memory.seen >= self.config.stride


def look_back(ahead: int, stride: int) -> tuple[int, int]:
    """Which head (1, 2, ..) predicts the step `ahead` beyond the next, and how many positions back.

    Head i of the position j back predicts the step i x stride - j beyond the next.
    """
    head = -(-ahead // stride)
    return head, head * stride - ahead
