"""One block for all draft steps, to which its own drafts are fed back.

FastMTP (arXiv 2509.18362, sections 3.1 and 3.2; the module is that of DeepSeek-V3, arXiv
2412.19437). The grouped head and the input embeddings are the model's own.
Letters: B rows, L positions, D width, H attention heads, d size of a head, P positions of room in
the cache, n nodes of a tree.
"""

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.arrays import constant, last_of
from vocalmtp.engines.cache import AlignedCache
from vocalmtp.heads.draft.base import (
    DRAFTS,
    DraftCache,
    DraftConfig,
    DraftHead,
    HeadFactory,
    Paths,
    check_heads,
)
from vocalmtp.models.blocks import THETA, Block, KeyValues, empty_cache

MAX_DRAFTS = 64


class RecursiveConfig(DraftConfig):
    """Settings: the block is trained for `steps` steps in a row.

    Step k is weighted by `decay` to the power of k - 1, normalized to a sum of 1, or by
    `step_weights`. `matched` trains with the attention that decoding has, see RecursiveDraft.
    With `from_hidden`, states begin as the hidden states, like those of a leap head, so that a new head
    predicts what the model predicts one step earlier; otherwise all layers begin at random.
    `epsilon`, of the norms (None: that of torch), and `theta`, of the rotary positions, are the
    backbone's in a head that is to be exported (training/native_mtp.py).
    """

    steps: int = Field(default=3, ge=1)
    decay: float = Field(default=0.6, gt=0, le=1)
    step_weights: tuple[float, ...] | None = None
    heads: int = Field(default=4, ge=1)  # of attention
    matched: bool = True
    from_hidden: bool = False
    epsilon: float | None = Field(default=None, gt=0)
    theta: float = Field(default=THETA, gt=0)

    @model_validator(mode="after")
    def _weights_sum_to_one(self) -> "RecursiveConfig":
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


@DRAFTS.register("recursive")
class RecursiveDraft(DraftHead):
    """State k is the block's output for state k - 1, joined with the input of the step after it.

    In decoding, draft step k > 1 of a position has the position k - 1 places later, and attends to
    the first states of all positions before and to the states that led to itself. The released
    training lets step k attend to the states k of all earlier positions, at unshifted positions,
    which decoding never does. With `matched`, training has the attention of decoding.
    """

    Config = RecursiveConfig
    config: RecursiveConfig

    def __init__(self, config: RecursiveConfig, width: int, make_head: HeadFactory):
        super().__init__(config, [])
        check_heads(config.heads, width, "recursive")
        self.offsets = tuple(range(1, config.steps + 1))
        total = sum(config.decay ** (k - 1) for k in self.offsets)
        decayed = tuple(config.decay ** (k - 1) / total for k in self.offsets)
        self.weights = config.step_weights or decayed
        epsilon = config.epsilon
        self.hidden_norm, self.input_norm = nn.RMSNorm(width, epsilon), nn.RMSNorm(width, epsilon)
        self.join = nn.Linear(2 * width, width, bias=False)
        self.block = Block(width, config.heads, 2 * width, epsilon, config.theta)
        self.norm = nn.RMSNorm(width, epsilon)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """See `from_hidden` of the settings; the parts are initialized before."""
        if not self.config.from_hidden:
            return
        state, _ = self.join.weight.detach().chunk(2, 1)  # [D, D] of the states, and of the inputs
        for weight in (self.join.weight, self.block.out.weight, self.block.down.weight):
            nn.init.zeros_(weight)
        nn.init.eye_(state)

    @property
    def max_drafts(self) -> int:
        """Most steps that can be drafted: more than are trained, since the block is the same."""
        return MAX_DRAFTS

    def _joined(self, states: Tensor, inputs: Tensor) -> Tensor:
        """Join states [B, .., D] with the inputs after them [B, .., D]."""
        joined: Tensor = self.join(
            torch.cat([self.hidden_norm(states), self.input_norm(inputs)], -1)
        )
        return joined

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        """Run the block `active` times over hidden states [B, L, D]."""
        states, last = [], hidden
        places = torch.arange(hidden.shape[1], device=hidden.device)
        pairs: list[KeyValues] = []
        for k in range(active):
            after = F.pad(inputs[:, k + 1 :], (0, 0, 0, k + 1))[:, : hidden.shape[1]]
            x = self._joined(last, after)
            if self.config.matched:
                query, key, value = self.block.project_qkv(x, places + k)
                pairs.append((key, value))
                x = self.block.add_attention(x, matched_attention(query, pairs))
            else:
                x, _ = self.block(x)
            last = self.norm(x)
            states.append(last)
        return states

    def start(self, rows: int, like: Tensor) -> DraftCache:
        """Return the cache of new rows: keys and values of the block, and the last state."""
        past = empty_cache(rows, 1, self.block, like)
        vectors = like.new_zeros(rows, 1, like.shape[-1])
        return DraftCache(vectors, torch.zeros_like(past.lengths), past)

    def read(
        self, cache: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        """Run the block over new positions."""
        assert cache.past is not None
        cache.past.lengths = cache.seen  # without drafts
        x = self._run(cache.past, self._joined(hidden, following))
        cache.past.append(hidden.shape[1])
        cache.seen = cache.past.lengths = cache.seen + counts
        cache.vectors = self.norm(last_of(x, counts))[:, None]
        return cache

    def draft_step(self, cache: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        """Run the block over the state before and the input after it."""
        assert cache.past is not None
        if ahead > 1:
            x = self._run(cache.past, self._joined(cache.vectors, fed[:, None]))
            cache.past.append(1)
            cache.vectors = self.norm(x)
        return cache.vectors[:, 0], min(ahead, len(self.offsets)) - 1

    def branch(
        self, cache: DraftCache, ahead: int, before: Tensor | None, fed: Tensor, path: Paths
    ) -> tuple[Tensor, int]:
        """Run the block over the nodes of a tree, each of which attends to its ancestors."""
        if ahead == 1 or before is None:
            return super().branch(cache, ahead, before, fed, path)
        past, verified = cache.past, cache.seen[:, None]  # [B, 1]
        assert past is not None
        numbers = constant(fed, [node for own in path for node in own]).view(len(path), -1)
        numbers = numbers[:, 1:] - 1  # [n, ahead - 1] of the path's states
        slots = verified[..., None] + numbers  # [B, n, ahead - 1] behind what is verified
        past.lengths = cache.seen
        room = torch.arange(past.grow(max(map(max, path))), device=fed.device)
        is_ancestor = (room == slots[..., None]).any(2)  # [B, n, P]
        visible = (room < verified[..., None]) | is_ancestor
        places = (verified + ahead - 2).expand(fed.shape[:2])
        key_values = past.key_values[0][:, : len(room)]
        x = self._joined(before, fed)
        x = self.block.forward_cached(x, key_values, places, slots[..., -1], visible)
        return self.norm(x), min(ahead, len(self.offsets)) - 1

    def _run(self, past: AlignedCache, x: Tensor) -> Tensor:
        """Run the block over [B, L, D] after what is in the cache."""
        length = x.shape[1]
        read = past.grow(length)
        places = past.lengths[:, None] + torch.arange(length, device=x.device)  # [B, L]
        return self.block.forward_cached(x, past.key_values[0][:, :read], places)


def matched_attention(query: Tensor, pairs: list[KeyValues]) -> Tensor:
    """Attention of the last draft step of every position, as in decoding: [B, H, L, d].

    A position attends to the first step of itself and of all positions before, and to its own later
    steps.

    Args:
        query: [B, H, L, d].
        pairs: keys and values [B, H, L, d] of all draft steps so far.

    """
    (first_keys, first_values), *own = pairs
    length, scale = query.shape[-2], query.shape[-1] ** -0.5
    scores = query @ first_keys.transpose(-1, -2)  # [B, H, L, L]
    future = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
    scores = scores.masked_fill(future, -torch.inf)
    own_scores = [(query * keys).sum(-1, keepdim=True) for keys, _ in own]  # [B, H, L, 1] each
    shares = (torch.cat([scores, *own_scores], -1) * scale).softmax(-1)
    mixed = shares[..., :length] @ first_values
    for n, (_, values) in enumerate(own):
        mixed = mixed + shares[..., length + n, None] * values
    return mixed
