"""Leap heads: each predicts one later step, `stride` steps apart.

L-MTP (arXiv 2505.17505, sections 3.1 and 3.2), whose maps are those of Medusa (arXiv 2401.10774).
Head i of a position predicts the step i x stride after the next. Decoding looks back: the hidden
states of the last `stride` positions fill the gaps between the leaps, so that `steps` heads draft
steps x stride steps in a row from one forward pass. With a stride of 1 they are Medusa's parallel
heads; without maps as well (`mapped: false`), a linear layer for every later token.
Letters: B rows, L positions, D width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.heads.draft.base import DRAFTS, DraftCache, DraftConfig, DraftHead, HeadFactory


class LeapConfig(DraftConfig):
    """Settings: `steps` heads beside the model's own, `stride` steps apart."""

    steps: int = Field(default=3, ge=1)
    stride: int = Field(default=2, ge=1)
    decay: float = Field(
        default=1.0, gt=0, le=1
    )  # the loss of head i is weighted by its power of i
    mapped: bool = True  # h + silu(A h + b) before the grouped head; A starts at zero
    own_heads: bool = True  # a grouped head for every leap, as published, or the model's


@DRAFTS.register("leap")
class LeapDraft(DraftHead):
    """Every state is a map of the hidden state of its own position alone.

    As many hidden states are kept as the stride is long. (The released code trains a stride of 3
    and keeps two, which leaves gaps.)
    """

    Config = LeapConfig
    config: LeapConfig

    def __init__(self, config: LeapConfig, width: int, make_head: HeadFactory):
        own = range(config.steps) if config.own_heads else ()
        super().__init__(config, [make_head() for _ in own])
        self.offsets = tuple(config.stride * i for i in range(1, config.steps + 1))
        self.weights = tuple(config.decay**i for i in range(1, config.steps + 1))
        self.maps = nn.ModuleList(
            nn.Linear(width, width) for _ in range(config.steps if config.mapped else 0)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Make every head predict what the head that it copies predicts."""
        for parameter in self.maps.parameters():
            nn.init.zeros_(parameter)

    def state(self, hidden: Tensor, n: int) -> Tensor:
        """State n of hidden states [.., D]: [.., D]."""
        return hidden + F.silu(self.maps[n](hidden)) if self.config.mapped else hidden

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        """Compute the first `active` states of hidden states [B, L, D]."""
        return [self.state(hidden, n) for n in range(active)]

    def start(self, rows: int, like: Tensor) -> DraftCache:
        """Return the cache of new rows: the last `stride` hidden states."""
        vectors = like.new_zeros(rows, self.config.stride, like.shape[-1])
        return DraftCache(vectors, torch.zeros(rows, dtype=torch.long, device=like.device))

    def read(
        self, cache: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        """Keep the last hidden states."""
        stride = self.config.stride
        both = torch.cat([cache.vectors, hidden], 1)  # [B, stride + L, D]
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        last = counts[:, None] + torch.arange(stride, device=hidden.device)  # [B, stride]
        cache.vectors, cache.seen = both[rows, last], cache.seen + counts
        return cache

    def draft_step(self, cache: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        """Compute the state for the step from the position that predicts it."""
        head, back = look_back(ahead, self.config.stride)
        return self.state(cache.vectors[:, -1 - back], head - 1), head - 1

    def ready(self, cache: DraftCache) -> Tensor:
        """[B] which rows have as many positions as the stride."""
        return cache.seen >= self.config.stride


def look_back(ahead: int, stride: int) -> tuple[int, int]:
    """Find what predicts the step `ahead` after the next: the head, and how many positions back.

    Heads count from 1; head i of the position j back predicts the step i x stride - j after the
    next.
    """
    head = -(-ahead // stride)
    return head, head * stride - ahead
