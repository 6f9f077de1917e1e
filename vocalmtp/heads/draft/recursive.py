"""One block for all draft steps, which is fed what it drafted.

FastMTP (arXiv 2509.18362, sections 3.1 and 3.2; the module is that of DeepSeek-V3, arXiv
2412.19437). The grouped head and the input embeddings are the model's own.
Letters: B rows, L positions, D width, H attention heads.
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

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


class RecursiveConfig(DraftConfig):
    """The block is trained `steps` times over; step k weighs `decay` to the power of k - 1.

    The weights sum to 1; `step_weights` states them instead. `matched` trains with the attention
    that decoding has; without it, as released (see RecursiveDraft).
    """

    steps: int = Field(default=3, ge=1)
    decay: float = Field(default=0.6, gt=0, le=1)
    step_weights: tuple[float, ...] | None = None
    heads: int = Field(default=4, ge=1)  # of attention
    matched: bool = True

    @model_validator(mode="after")
    def _weights_sum(self) -> "RecursiveConfig":
        if self.step_weights is not None:
            if len(self.step_weights) != self.steps:
                raise ValueError(
                    f"step_weights are {len(self.step_weights)}, and steps {self.steps}; "
                    "give one for each"
                )
            if min(self.step_weights) < 0 or abs(sum(self.step_weights) - 1) > 0.02:
                raise ValueError(
                    f"step_weights sum to {sum(self.step_weights):g}; they must be 0 or more "
                    "and sum to 1"
                )
        return self


@register("recursive", DRAFTS)
class RecursiveDraft(DraftHead):
    """State k is block(map of state k - 1 and of the input that follows it by k - 1 positions).

    When decoding, draft step k > 1 of a position stands k - 1 places after it, and sees the first
    states of all positions before and the states that led to itself. The released training lets
    step k see the states k of all earlier positions, and never moves its place: what the block then
    meets in decoding it has not learned. With `matched`, training has the attention of decoding.
    """

    Config = RecursiveConfig

    def __init__(self, config: RecursiveConfig, width: int, make_head: MakeHead):
        super().__init__(config, [])
        check_heads(config.heads, width, "recursive")
        self.offsets = tuple(range(1, config.steps + 1))
        total = sum(config.decay ** (k - 1) for k in self.offsets)
        even = tuple(config.decay ** (k - 1) / total for k in self.offsets)
        self.weights = config.step_weights or even
        self.hidden_norm, self.input_norm = nn.RMSNorm(width), nn.RMSNorm(width)
        self.join = nn.Linear(2 * width, width, bias=False)
        self.block = Block(width, config.heads, 2 * width)
        self.norm = nn.RMSNorm(width)

    @property
    def max_drafts(self) -> int:
        """As many as one likes: the block is the same for all."""
        return 64

    def _joined(self, states: Tensor, inputs: Tensor) -> Tensor:
        """States [B, .., D] with the inputs that follow them, [B, .., D]."""
        return self.join(torch.cat([self.hidden_norm(states), self.input_norm(inputs)], -1))

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        states, last = [], hidden
        places = torch.arange(hidden.shape[1], device=hidden.device)
        pairs: list[tuple[Tensor, Tensor]] = []
        for k in range(active):
            after = F.pad(inputs[:, k + 1 :], (0, 0, 0, k + 1))[:, : hidden.shape[1]]
            x = self._joined(last, after)
            if self.config.matched:
                query, key, value = self.block.ask(x, places + k)
                pairs.append((key, value))
                x = self.block.answer(x, attend_ahead(query, pairs))
            else:
                x, _ = self.block(x)
            last = self.norm(x)
            states.append(last)
        return states

    def start(self, rows: int, like: Tensor) -> DraftCache:
        past = empty_cache(rows, 1, self.block, like)
        vectors = like.new_zeros(rows, 1, like.shape[-1])
        return DraftCache(vectors, torch.zeros_like(past.lengths), past)

    def read(
        self, memory: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        memory.past.lengths = memory.seen  # without what was drafted since
        x = self._follow(memory, self._joined(hidden, following))
        memory.seen = memory.past.lengths = memory.seen + counts
        memory.vectors = self.norm(last_of(x, counts))[:, None]
        return memory

    def draft_step(self, memory: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        if ahead > 1:
            x = self._follow(memory, self._joined(memory.vectors, fed[:, None]))
            memory.past.lengths = memory.past.lengths + 1
            memory.vectors = self.norm(x)
        return memory.vectors[:, 0], min(ahead, len(self.offsets)) - 1

    def branch(
        self, memory: DraftCache, ahead: int, before: Tensor | None, fed: Tensor, path: Tensor
    ) -> tuple[Tensor, int]:
        if ahead == 1:
            return super().branch(memory, ahead, before, fed, path)
        past, verified = memory.past, memory.seen[:, None]  # [B, 1]
        own = verified[..., None] + path[:, 1:] - 1  # [B, n, ahead - 1]: behind what is verified
        past.lengths = memory.seen
        room = torch.arange(past.grow(int(path.max())), device=fed.device)
        leads = (room == own[..., None]).any(2)  # [B, n, P]
        seen = (room < verified[..., None]) | leads
        places = (verified + ahead - 2).expand(fed.shape[:2])
        x, kept = self._joined(before, fed), past.memory[0][:, : len(room)]
        x = self.block.follow(x, kept, places, own[..., -1], seen)
        return self.norm(x), min(ahead, len(self.offsets)) - 1

    def _follow(self, memory: DraftCache, x: Tensor) -> Tensor:
        """[B, L, D] after what is in the cache, which takes in all of it."""
        past, length = memory.past, x.shape[1]
        read = past.grow(length)
        places = past.lengths[:, None] + torch.arange(length, device=x.device)  # [B, L]
        return self.block.follow(x, past.memory[0][:, :read], places)


def attend_ahead(query: Tensor, pairs: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Attention of the last draft step of every position, [B, H, L, d].

    `pairs` are the keys and values [B, H, L, d] of all draft steps so far. A position sees the
    first ones of itself and of all before it, and the later ones of itself alone.
    """
    (first_keys, first_values), *own = pairs
    length, scale = query.shape[-2], query.shape[-1] ** -0.5
    scores = query @ first_keys.transpose(-1, -2)  # [B, H, L, L]
    future = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = scores.masked_fill(future, -torch.inf)
    mine = [(query * keys).sum(-1, keepdim=True) for keys, _ in own]  # [B, H, L, 1] each
    parts = (torch.cat([scores, *mine], -1) * scale).softmax(-1)
    mixed = parts[..., :length] @ first_values
    for n, (_, values) in enumerate(own):
        mixed = mixed + parts[..., length + n, None] * values
    return mixed
