"""Several steps per forward pass with a draft head, verified by no one: `DraftOnly`.

Letters: B rows, L positions, M steps, n drafts, K slots, D hidden size, V vocabulary of a slot.
"""

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.strategies import StepBatch
from vocalmtp.errors import InputError
from vocalmtp.heads.draft.base import DraftCache, DraftHead, last_of
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState


@dataclass
class DraftState:
    """What a strategy that drafts keeps of every row between two forward passes."""

    memory: DraftCache
    inputs: Tensor  # [B, L, D] of positions that the draft head has not read
    hidden: Tensor  # [B, L, D]
    counts: Tensor  # [B] how many of the L
    tried: Tensor  # [B] of these, the last so many are drafts to be verified
    tokens: Tensor  # [B, n, K] the drafts
    probs: list[Tensor] = field(default_factory=list)  # [B, n, V] of K slots: drawn from these
    noise: Tensor | None = None  # [B, n + 1, K] of the next steps, where it is the seed's own
    drawn: Tensor | None = None  # [B, n] log-probability that each draft was drawn with, as a whole
    states: Tensor | None = None  # [B, n, D] of the draft head, from which they were drawn
    numbers: list[int] = field(default_factory=list)  # [n] of these states
    ended: Tensor | None = None  # [B, N] as the state's, after each of the N nodes of a tree
    pointers: Tensor | None = None  # [B, N] likewise

    def select(self, rows: Tensor) -> None:
        """Keep only these rows [B'], in this order."""
        self.memory.select(rows)
        for name in self._tensors():
            setattr(self, name, getattr(self, name)[rows])
        self.probs = [x[rows] for x in self.probs]

    def join(self, other: "DraftState") -> None:
        """Take in the rows of another generation, after those here."""
        self.memory.join(other.memory)
        for name in self._tensors():
            one, more = getattr(self, name), getattr(other, name)
            if name in ("inputs", "hidden"):
                longest = max(one.shape[1], more.shape[1])
                one, more = (F.pad(x, (0, 0, 0, longest - x.shape[1])) for x in (one, more))
            setattr(self, name, torch.cat([one, more]))
        self.probs = [torch.cat(pair) for pair in zip(self.probs, other.probs, strict=True)]

    def _tensors(self) -> list[str]:
        return [f.name for f in fields(self) if isinstance(getattr(self, f.name), Tensor)]


def begin_ahead(
    inputs: Tensor, hidden: Tensor, state: DecodeState, model: SpeechLM, drafts: int
) -> DraftState:
    """Prompts as what the draft head has still to read; raises InputError if that is not there."""
    check_drafts(model, drafts)
    counts = state.cache.lengths
    length = hidden.shape[1]
    place = length - counts[:, None] + torch.arange(length, device=hidden.device)
    place = place.clamp(max=length - 1)[..., None].expand_as(hidden)  # to the left
    memory = model.draft.start(len(hidden), hidden)
    shape = (len(hidden), drafts, model.layout.tokens_per_step)
    return DraftState(
        memory,
        inputs.gather(1, place),
        hidden.gather(1, place),
        counts,
        torch.zeros_like(counts),
        torch.zeros(shape, dtype=torch.long, device=hidden.device),
    )


def check_drafts(model: SpeechLM, drafts: int) -> None:
    """Raise InputError if the model cannot draft so many steps."""
    if model.draft is None:
        raise InputError(
            f"drafts '{drafts}': the model has no draft head; train one (draft: in a recipe), or "
            "leave drafts out",
            code="missing",
        )
    if not 0 <= drafts <= model.draft.max_drafts:
        raise InputError(
            f"drafts '{drafts}': this model's draft head guesses at most {model.draft.max_drafts}",
            code="invalid_value",
        )


def draft_ahead(
    model: SpeechLM, state: DecodeState, tokens: Tensor, pickers: list[type[ConstrainedSampler]]
) -> tuple[Tensor, Tensor, list[ConstrainedSampler]]:
    """Draft steps after `tokens` [B, K], which follow all that the backbone has seen.

    `pickers` make the picker of each from the layout and the state. All steps enter the state.
    Returns their inputs [B, n + 1, D], the drafts [B, n, K] and the pickers; the draft head's
    states go to `state.draft`, if it keeps them.
    """
    ahead, draft = state.draft, model.draft
    fed = model.embed_step(state, tokens)
    read_verified(draft, ahead, fed)
    inputs, drafts, used = [fed], [], []
    for k, make in enumerate(pickers, start=1):
        pick = make(model.layout, state)
        vector, number = draft.draft_step(ahead.memory, k, inputs[-1])
        proposed = draft.head_of(number, model.drafting_head).propose(vector, pick).tokens[:, 0]
        if ahead.states is not None:
            ahead.states[:, k - 1] = vector
            ahead.numbers = [*ahead.numbers[: k - 1], number]
        state.ended = pick.ended
        inputs.append(model.embed_step(state, proposed))
        drafts.append(proposed)
        used.append(pick)
    made = torch.stack(drafts, 1) if drafts else tokens[:, None][:, :0]
    return torch.stack(inputs, 1), made, used


def read_verified(draft: DraftHead, ahead: DraftState, fed: Tensor) -> None:
    """Let the draft head read what it has not; `fed` [B, D] is the input after that."""
    rows = torch.arange(len(fed), device=fed.device)
    following = F.pad(ahead.inputs[:, 1:], (0, 0, 0, 1))
    following[rows, ahead.counts - 1] = fed
    ahead.memory = draft.read(ahead.memory, ahead.hidden, following, ahead.counts)


@dataclass
class DraftOnly:
    """Each forward emits the next step and `drafts` more, as the draft head guesses them.

    VocalNet's decoding (arXiv 2504.04060, section 3.3): fewer passes, learned so, and not lossless.
    The backbone then reads all of them at once. A row of which too little has been read to draft
    (LeapDraft) emits one step.
    """

    drafts: int
    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)

    def begin(self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: SpeechLM) -> None:
        state.draft = begin_ahead(inputs, hidden, state, model, self.drafts)
        self.statistics.drafts, self.statistics.slots = self.drafts, model.layout.tokens_per_step

    def emit(self, model: SpeechLM, state: DecodeState) -> StepBatch:
        ahead, first = state.draft, state.steps
        with self.statistics.timed("heads"):
            pick = ConstrainedSampler(model.layout, state)
            hidden = last_of(ahead.hidden, ahead.counts)
            tokens = model.head.propose(hidden, pick).tokens  # [B, 1, K]
        state.ended = pick.ended
        with self.statistics.timed("drafts"):
            inputs, drafts, _ = draft_ahead(
                model, state, tokens[:, 0], [ConstrainedSampler] * self.drafts
            )
        ready = model.draft.ready(ahead.memory)
        ahead.inputs = inputs  # [B, M, D]
        ahead.counts = torch.where(ready, inputs.shape[1], 1)
        kept = ready[:, None].expand(-1, self.drafts)
        inside = before_the_end(model.layout, state, first + 1, self.drafts)
        self.statistics.count(kept, inside)
        return StepBatch(torch.cat([tokens, drafts], 1), first, ahead.counts)

    def forward(self, model: SpeechLM, state: DecodeState, said: StepBatch) -> None:
        ahead = state.draft
        with self.statistics.timed("backbone"):
            ahead.hidden = model.steps(state, ahead.inputs)
        state.rewind(ahead.inputs.shape[1] - ahead.counts)


def before_the_end(layout: TokenLayout, state: DecodeState, first: Tensor, count: int) -> Tensor:
    """Which of `count` steps, numbered from `first` [B] on, come before the row's end: [B, n]."""
    number = first[:, None] + torch.arange(count, device=first.device)
    ended = state.ended[:, None]
    over = (ended >= 0) & (number > ended + layout.steps_after_end)
    return ~over & (number < state.limits[:, None])
