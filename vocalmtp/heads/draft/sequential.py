"""Sequential modules: a chain of decoder layers, each of which looks one step further.

VocalNet (arXiv 2504.04060, section 3.3): module k takes the states of module k - 1 at the same
positions and predicts the step k beyond the next. Tokens are not fed back, so a module cannot fall
back on next-token prediction. Letters: B rows, L positions, D width.
"""

import torch
from pydantic import Field
from torch import Tensor, nn

from vocalmtp.heads.base import register
from vocalmtp.heads.draft.base import (
    DRAFTS,
    DraftCache,
    DraftConfig,
    DraftHead,
    MakeHead,
    check_heads,
    last_of,
)
from vocalmtp.models.blocks import Block, empty_cache


class SequentialConfig(DraftConfig):
    """`steps` modules; the loss of module k counts `decay` to the power of k."""

    steps: int = Field(default=5, ge=1)
    decay: float = Field(default=0.8, gt=0, le=1)
    heads: int = Field(default=4, ge=1)  # of attention
    own_heads: bool = True  # a grouped head for every module, as published, or the model's


@register("sequential", DRAFTS)
class SequentialDraft(DraftHead):
    """Decoder layers in a chain, each with a norm and by default a grouped head of its own.

    In decoding every layer has a cache of the chained states that it saw, of the prompt as well.
    The released code gives the backbone's states to the caches of all layers there, which no layer
    but the first has learned.
    """

    Config = SequentialConfig

    def __init__(self, config: SequentialConfig, width: int, make_head: MakeHead):
        own = range(config.steps) if config.own_heads else ()
        super().__init__(config, [make_head() for _ in own])
        check_heads(config.heads, width, "sequential")
        self.offsets = tuple(range(1, config.steps + 1))
        self.weights = tuple(config.decay**k for k in self.offsets)
        self.layers = nn.ModuleList(
            Block(width, config.heads, 2 * width) for _ in range(config.steps)
        )
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(config.steps))

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        states, x = [], hidden
        for layer, norm in zip(self.layers[:active], self.norms, strict=False):
            x, _ = layer(x)
            states.append(norm(x))
        return states

    def start(self, rows: int, like: Tensor) -> DraftCache:
        past = empty_cache(rows, len(self.layers), self.layers[0], like)
        vectors = like.new_zeros(rows, len(self.layers), like.shape[-1])
        return DraftCache(vectors, torch.zeros_like(past.lengths), past)

    def read(
        self, memory: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        past, length = memory.past, hidden.shape[1]
        read = past.grow(length)
        places = memory.seen[:, None] + torch.arange(length, device=hidden.device)  # [B, L]
        states, x = [], hidden
        for layer, norm, kept in zip(self.layers, self.norms, past.memory.unbind(), strict=True):
            x = layer.follow(x, kept[:, :read], places)
            states.append(norm(last_of(x, counts)))
        memory.seen = past.lengths = memory.seen + counts
        memory.vectors = torch.stack(states, 1)
        return memory

    def draft_step(self, memory: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        return memory.vectors[:, ahead - 1], ahead - 1
