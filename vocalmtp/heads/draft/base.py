"""What a draft head is: a guess at the steps beyond the next, which a forward pass may verify.

A draft head makes *states*: vectors like the backbone's hidden state, each for a step that is still
to come. A grouped head (heads/base.py) turns a state into the K tokens of that step: the model's
own, or one for every state. So draft heads know nothing of slots, layouts and vocabularies, and
compose with every grouped head; a text LM's output layer is one with K = 1.
Letters: B rows, L positions, K slots, D width, N states of a position.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from vocalmtp.config import StrictModel, parse
from vocalmtp.engines.linears import Make
from vocalmtp.engines.llama import AlignedCache
from vocalmtp.errors import InputError, nearest
from vocalmtp.heads.base import SpeechHead
from vocalmtp.models.layout import IGNORED

DRAFTS: dict[str, type["DraftHead"]] = {}

MakeHead = Callable[[], SpeechHead]  # one more head like the model's


class DraftConfig(StrictModel):
    """What all draft heads have: how many states are trained, and their part in the loss."""

    steps: int = Field(ge=1)
    loss_weight: float = Field(default=1.0, ge=0)  # beside the loss of the model's own head


@dataclass
class DraftOutput:
    """Loss of a batch: the weighted sum to train on, and the plain cross-entropy of every state."""

    loss: Tensor  # []
    per_state: Tensor  # [N], detached, the mean over slots; 0 for a state that is not active


@dataclass
class DraftCache:
    """What a draft head remembers of every row while decoding; rows may come and go."""

    vectors: Tensor  # [B, n, D] of the last verified positions
    seen: Tensor  # [B] verified positions
    past: AlignedCache | None = None  # of heads with attention along the sequence

    def select(self, rows: Tensor) -> None:
        """Keep only these rows [B'], in this order."""
        self.vectors, self.seen = self.vectors[rows], self.seen[rows]
        if self.past is not None:
            self.past.select(rows)

    def join(self, other: "DraftCache") -> None:
        """Take in the rows of another memory of the same head, after those here."""
        self.vectors = torch.cat([self.vectors, other.vectors])
        self.seen = torch.cat([self.seen, other.seen])
        if self.past is not None:
            self.past.join(other.past)


class DraftHead(nn.Module):
    """Base of all draft heads.

    State n of a position is a guess at the hidden state that predicts the step `offsets[n]` beyond
    the next. `heads` are the grouped heads of the states, or empty where the model's own is used.
    """

    Config: ClassVar[type[DraftConfig]]
    offsets: tuple[int, ...]
    weights: tuple[float, ...]  # of the states in the loss

    def __init__(self, config: DraftConfig, heads: list[SpeechHead]):
        super().__init__()
        self.config = config
        self.heads = nn.ModuleList(heads)

    @property
    def max_drafts(self) -> int:
        """Most steps that can be drafted from one position."""
        return self.offsets[-1]

    # -- training ------------------------------------------------------------------------------

    def states(self, hidden: Tensor, inputs: Tensor, active: int) -> list[Tensor]:
        """The first `active` states [B, L, D] of every position, all at once.

        `hidden` [B, L, D] is what the backbone makes of its `inputs` [B, L, D]. A state sees
        neither beyond its own position, but for the inputs up to the step before its own.
        """
        raise NotImplementedError

    def head_of(self, state: int, own: SpeechHead) -> SpeechHead:
        """The grouped head of a state; `own` is the model's."""
        return self.heads[state] if self.heads else own

    def loss(
        self,
        hidden: Tensor,
        inputs: Tensor,
        targets: Tensor,
        own: SpeechHead,
        active: int | None = None,
    ) -> DraftOutput:
        """Weighted cross-entropy of the first `active` states (None: all).

        `targets` [B, L, K] are those of the model's own head: the next step of every position.
        """
        count = len(self.offsets) if active is None else active
        total, per_state = hidden.new_zeros(()), hidden.new_zeros(len(self.offsets))
        for n, state in enumerate(self.states(hidden, inputs, count)):
            later = F.pad(targets[:, self.offsets[n] :], (0, 0, 0, self.offsets[n]), value=IGNORED)
            output = self.head_of(n, own).loss(state, later)
            total = total + self.weights[n] * output.loss
            per_state[n] = output.per_slot.mean()
        return DraftOutput(self.config.loss_weight * total, per_state)

    # -- decoding ------------------------------------------------------------------------------

    def start(self, rows: int, like: Tensor) -> DraftCache:
        """The memory of rows of which nothing has been read, on the device of `like` [.., D]."""
        raise NotImplementedError

    def read(
        self, memory: DraftCache, hidden: Tensor, following: Tensor, counts: Tensor
    ) -> DraftCache:
        """Take in verified positions: the first `counts` [B] of `hidden` [B, L, D].

        `following` [B, L, D] are the backbone's inputs one position later. What was drafted since
        the last call is forgotten. At least one position of every row is new.
        """
        raise NotImplementedError

    def draft_step(self, memory: DraftCache, ahead: int, fed: Tensor) -> tuple[Tensor, int]:
        """The state [B, D] for the step `ahead` (1, 2, ..) beyond the next, and its number.

        Steps are asked for in order; `fed` [B, D] is the backbone's input for the step before.
        """
        raise NotImplementedError

    def branch(
        self, memory: DraftCache, ahead: int, before: Tensor | None, fed: Tensor, path: Tensor
    ) -> tuple[Tensor, int]:
        """As `ahead`, after several steps at once, drafted side by side: states [B, n, D].

        Step `ahead` is asked for after n nodes of a tree of drafts, whose inputs of the backbone
        are `fed` [B, n, D]; they were drafted from the states `before` [B, n, D] (None of the root,
        for which ahead is 1). `path` [n, ahead] leads to each of them: numbers of nodes, from 0 as
        the root in the order in which they were asked for, the node itself last.
        """
        state, number = self.draft_step(memory, ahead, fed[:, 0])  # whatever was drafted
        return state[:, None].expand_as(fed), number

    def ready(self, memory: DraftCache) -> Tensor:
        """[B]: rows of which enough has been read to draft."""
        return memory.seen > 0

    def fuse(self, make: Make) -> None:
        """Join what can be joined for inference; training and saving are over then."""
        for head in self.heads:
            head.fuse(make)


def last_of(x: Tensor, counts: Tensor) -> Tensor:
    """Of [B, L, ..] the position `counts` - 1 of every row, [B, ..]."""
    return x[torch.arange(len(x), device=x.device), counts - 1]


def build_draft(config: dict[str, Any], width: int, make_head: MakeHead) -> DraftHead:
    """The draft head that `config` describes: `name`, and the settings of that class.

    Raises InputError for an unknown name or key, and for settings that do not fit `width`.
    """
    settings = dict(config)
    name = settings.pop("name", None)
    if name not in DRAFTS:
        raise InputError(
            f"draft.name '{name}': no such draft head; {nearest(str(name), DRAFTS)}",
            code="not_found",
        )
    cls = DRAFTS[name]
    return cls(parse(cls.Config, settings, f"draft '{name}'"), width, make_head)


def check_heads(heads: int, width: int, name: str) -> None:
    """Raise InputError if attention of so many heads does not fit the width of the backbone."""
    if width % (2 * heads):
        fitting = [n for n in range(1, width // 2 + 1) if width % (2 * n) == 0]
        raise InputError(
            f"draft '{name}': heads {heads} do not divide the backbone's width {width} into even "
            f"parts; choose one of: {', '.join(map(str, fitting))}",
            code="invalid_value",
        )
