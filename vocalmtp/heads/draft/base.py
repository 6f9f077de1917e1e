"""The base of all draft heads: predictions of the steps after the next, for verification.

A draft head makes *states*: vectors like the backbone's hidden states, each for a step that is
still to come. A grouped head (heads/base.py) turns a state into the K tokens of its step: the
model's own, or one for every state. So draft heads are independent of slots, layouts and
vocabularies, and work with every grouped head; a text LM's output layer is one with K = 1.
Letters: B rows, L positions, K slots, D width, N states of a position.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import Registry, StrictModel, parse
from vocalmtp.engines.cache import AlignedCache
from vocalmtp.engines.linears import LinearFactory, replace_linears
from vocalmtp.errors import InputError
from vocalmtp.heads.base import SoftTargets, SpeechHead
from vocalmtp.models.layout import IGNORED

DRAFTS: Registry[type["DraftHead"]] = Registry("draft head", package="vocalmtp.heads.draft")

HeadFactory = Callable[[], SpeechHead]  # makes one more head like the model's
Paths = tuple[tuple[int, ...], ...]  # of nodes of a draft tree


class DraftConfig(StrictModel):
    """Settings that all draft heads have.

    `soft_targets` is the share of the loss that is the divergence from what the model itself predicts
    for a step, given the steps before it; the rest is the cross-entropy of the step. Distributions say
    more than single tokens: a head overfits less.
    """

    steps: int = Field(ge=1)  # states that are trained
    loss_weight: float = Field(default=1.0, ge=0)  # beside the loss of the model's own head
    soft_targets: float = Field(default=0.0, ge=0, le=1)


@dataclass
class DraftOutput:
    """Losses of a batch."""

    loss: Tensor  # [] weighted sum over states, to train on
    per_state: Tensor  # [N] mean over slots, times their shares, detached; 0 if inactive


@dataclass
class DraftCache:
    """What a draft head keeps of every row in decoding; rows may come and go."""

    vectors: Tensor  # [B, n, D] of the last verified positions
    seen: Tensor  # [B] verified positions
    past: AlignedCache | None = None  # of heads with attention along the sequence

    def select(self, rows: Tensor) -> None:
        """Keep only these rows [B'], in this order."""
        self.vectors, self.seen = self.vectors[rows], self.seen[rows]
        if self.past is not None:
            self.past.select(rows)

    def join(self, other: "DraftCache") -> None:
        """Append the rows of another cache of the same head."""
        self.vectors = torch.cat([self.vectors, other.vectors])
        self.seen = torch.cat([self.seen, other.seen])
        if self.past is not None and other.past is not None:
            self.past.join(other.past)


class DraftHead(nn.Module):
    """Base of all draft heads.

    State n of a position predicts the hidden state from which the step `offsets[n]` after the next
    is predicted.

    Args:
        config: the head's settings.
        heads: the grouped heads of the states; empty where the model's own is used.

    """

    Config: ClassVar[type[DraftConfig]]
    config: DraftConfig
    offsets: tuple[int, ...]
    weights: tuple[float, ...]  # of the states in the loss

    def __init__(self, config: DraftConfig, heads: Sequence[SpeechHead]):
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(heads)

    @property
    def max_drafts(self) -> int:
        """Most steps that can be drafted from one position."""
        return self.offsets[-1]

    def head_of(self, state: int, own: SpeechHead) -> SpeechHead:
        """Return the grouped head of a state; `own` is the model's."""
        return cast(SpeechHead, self.heads[state]) if self.heads else own

    # -- training ------------------------------------------------------------------------------

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        """Compute the first `active` states [B, L, D] of all positions.

        A state depends on its own position and those before, and on the inputs up to the step
        before its own.

        Args:
            hidden: hidden states of the backbone [B, L, D].
            inputs: the backbone's inputs [B, L, D].
            active: how many states.

        """
        raise NotImplementedError

    def loss(
        self,
        hidden: Tensor,
        inputs: Tensor,
        targets: Tensor,
        own: SpeechHead,
        active: int | None = None,
        shares: Tensor | None = None,
    ) -> DraftOutput:
        """Compute the weighted losses of the states.

        Args:
            hidden: hidden states of the backbone [B, L, D].
            inputs: the backbone's inputs [B, L, D].
            targets: those of the model's own head [B, L, K], the next step of every position.
            own: the model's head.
            active: how many states count; None for all.
            shares: [N, K] factors of the losses of states and slots, see `LossShares`; None for 1.
        """
        count = len(self.offsets) if active is None else active
        total, per_state = hidden.new_zeros(()), hidden.new_zeros(len(self.offsets))
        for n, state in enumerate(self.states(hidden, inputs, count)):
            later = later_targets(targets, self.offsets[n])
            share = None if shares is None else shares[n]
            soft = None
            if self.config.soft_targets:
                ahead = F.pad(hidden[:, self.offsets[n] :], (0, 0, 0, self.offsets[n]))
                soft = SoftTargets(own, ahead, self.config.soft_targets)
            output = self.head_of(n, own).loss(state, later, shares=share, soft=soft)
            total = total + self.weights[n] * output.loss
            per_state[n] = (output.per_slot if share is None else share * output.per_slot).mean()
        return DraftOutput(self.config.loss_weight * total, per_state)

    # -- decoding ------------------------------------------------------------------------------

    def start(self, rows: int, like: Tensor) -> DraftCache:
        """Return the cache of new rows, on the device of `like` [.., D]."""
        raise NotImplementedError

    def read(
        self, cache: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        """Take in verified positions, and forget what was drafted since the last call.

        Args:
            cache: of the rows.
            hidden: hidden states of new positions [B, L, D].
            following: the backbone's inputs one position later [B, L, D].
            counts: [B] how many of the L positions are the row's; before the first draft, 1 or more
                must have been read.

        """
        raise NotImplementedError

    def draft_step(self, cache: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        """Compute the state for one later step; steps are drafted in order.

        Args:
            cache: of the rows.
            ahead: 1, 2, .. for the first, second, .. step after the next.
            fed: the backbone's input for the step before [B, D].

        Returns:
            The state [B, D], and its number.

        """
        raise NotImplementedError

    def branch(
        self, cache: DraftCache, ahead: int, before: Tensor | None, fed: Tensor, path: Paths
    ) -> tuple[Tensor, int]:
        """Compute the states after n nodes of a draft tree, all `ahead` - 1 steps from its root.

        Args:
            cache: of the rows.
            ahead: as for `draft_step`.
            before: the states [B, n, D] from which the nodes were drafted; None for the root.
            fed: the backbone's inputs for the nodes [B, n, D].
            path: [n, ahead] the nodes that lead to each of them, itself last, by their numbers: 0
                is the root, the others count in the order in which their states were computed.

        Returns:
            The states [B, n, D], and their number.

        """
        state, number = self.draft_step(cache, ahead, fed[:, 0])  # the same for any draft
        return state[:, None].expand_as(fed), number

    def ready(self, cache: DraftCache) -> Tensor:
        """[B] which rows have enough positions to draft."""
        return cache.seen > 0

    def optimize_for_inference(self, convert: LinearFactory) -> None:
        """Convert and fuse the layers in place; they cannot be trained or saved then."""
        heads, self.heads = self.heads, nn.ModuleList()  # which convert their own layers
        replace_linears(self, convert)
        self.heads = heads
        for head in self.heads:
            cast(SpeechHead, head).optimize_for_inference(convert)


def later_targets(targets: Tensor, offset: int) -> Tensor:
    """Targets [B, L, K] of `offset` steps later, -100 beyond the end."""
    return F.pad(targets[:, offset:], (0, 0, 0, offset), value=IGNORED)


def build_draft(config: Mapping[str, Any], width: int, make_head: HeadFactory) -> DraftHead:
    """Build a draft head from its settings.

    Args:
        config: `name` selects the class, the other keys are its settings.
        width: D, the size of hidden states.
        make_head: makes the grouped heads of the states.

    Raises:
        InputError: the name, a key or a value is invalid, or does not fit `width`.

    """
    settings = dict(config)
    name = settings.pop("name", "")
    draft: Any = DRAFTS[name]
    return draft(parse(draft.Config, settings, f"draft head '{name}'"), width, make_head)


def check_heads(heads: int, width: int, name: str) -> None:
    """Check that so many attention heads fit the width of the backbone.

    Raises:
        InputError: they do not divide it into even parts.

    """
    if width % (2 * heads):
        fitting = [n for n in range(1, width // 2 + 1) if width % (2 * n) == 0]
        raise InputError(
            f"draft head '{name}': heads {heads} do not divide the backbone's width {width} into "
            f"even parts; choose one of: {', '.join(map(str, fitting))}",
            code="invalid_value",
        )
