"""Sequential modules: a chain of decoder layers, each of which predicts one step further.

VocalNet (arXiv 2504.04060, section 3.3): module k maps the states of module k - 1 at the same
positions to those that predict the step k after the next. Tokens are not fed back, so a module
cannot reduce to next-token prediction.
Letters: B rows, L positions, D width.
"""

from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from vocalmtp.arrays import last_of
from vocalmtp.heads.draft.base import (
    DRAFTS,
    DraftCache,
    DraftConfig,
    DraftHead,
    HeadFactory,
    check_heads,
)
from vocalmtp.models.blocks import Block, empty_cache


class SequentialConfig(DraftConfig):
    """Settings: `steps` modules; the loss of module k is weighted by `decay` to the power of k.

    Attributes:
        steps: modules.
        decay: of the weights.
        heads: of attention.
        hidden: width of the feed-forward layers; None: twice the backbone's.
        epsilon: of the norms inside the layers; None: that of torch.
        own_heads: whether every module has a grouped head of its own, as published, or the model's.
        normed: whether states are normed before the head; not where heads have norms of their own
            (heads/normed.py).

    """

    steps: int = Field(default=5, ge=1)
    decay: float = Field(default=0.8, gt=0, le=1)
    heads: int = Field(default=4, ge=1)
    hidden: int | None = Field(default=None, ge=1)
    epsilon: float | None = Field(default=None, gt=0)
    own_heads: bool = True
    normed: bool = True


@DRAFTS.register("sequential")
class SequentialDraft(DraftHead):
    """Decoder layers in a chain, each with a norm and by default a grouped head of its own.

    In decoding, every layer has a cache of the chained states of all positions, of the prompt as
    well. (The released code caches the backbone's states for all layers, which only the first has
    learned.)
    """

    Config = SequentialConfig

    def __init__(self, config: SequentialConfig, width: int, make_head: HeadFactory):
        own = range(config.steps) if config.own_heads else ()
        super().__init__(config, [make_head() for _ in own])
        check_heads(config.heads, width, "sequential")
        self.offsets = tuple(range(1, config.steps + 1))
        self.weights = tuple(config.decay**k for k in self.offsets)
        hidden = 2 * width if config.hidden is None else config.hidden
        self.layers = nn.ModuleList(
            Block(width, config.heads, hidden, config.epsilon) for _ in range(config.steps)
        )
        self.norms = nn.ModuleList(
            nn.RMSNorm(width) if config.normed else nn.Identity() for _ in range(config.steps)
        )

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        """Run the first `active` layers over hidden states [B, L, D]."""
        states, x = [], hidden
        for layer, norm in zip(self.layers[:active], self.norms, strict=False):
            x, _ = layer(x)
            states.append(norm(x))
        return states

    def start(self, rows: int, like: Tensor) -> DraftCache:
        """Return the cache of new rows: keys and values of every layer, and the last states."""
        past = empty_cache(rows, len(self.layers), cast(Block, self.layers[0]), like)
        vectors = like.new_zeros(rows, len(self.layers), like.shape[-1])
        return DraftCache(vectors, torch.zeros_like(past.lengths), past)

    def read(
        self, cache: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        """Run the layers over new positions."""
        past, length = cache.past, hidden.shape[1]
        assert past is not None
        read = past.grow(length)
        places = cache.seen[:, None] + torch.arange(length, device=hidden.device)  # [B, L]
        states, x = [], hidden
        modules = zip(self.layers, self.norms, past.key_values.unbind(), strict=True)
        for layer, norm, key_values in modules:
            x = cast(Block, layer).forward_cached(x, key_values[:, :read], places)
            states.append(norm(last_of(x, counts)))
        past.append(length)
        cache.seen = past.lengths = cache.seen + counts
        cache.vectors = torch.stack(states, 1)
        return cache

    def draft_step(self, cache: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        """Return the state of layer `ahead`, which does not depend on drafts."""
        return cache.vectors[:, ahead - 1], ahead - 1
