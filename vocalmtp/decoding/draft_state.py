"""State of draft decoding, and `DraftOnly`: several steps per forward pass without verification.

Letters: B rows, L positions, M steps, n drafts, K slots, D hidden size, V vocabulary of a slot.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.arrays import last_of
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.strategies import DraftOutcome, StepBatch
from vocalmtp.errors import InputError
from vocalmtp.heads.draft.base import DraftCache, DraftHead
from vocalmtp.models.base import GenerativeModel
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState

AnySampler = TypeVar("AnySampler", bound=ConstrainedSampler)


@dataclass
class DraftState:
    """What a drafting strategy keeps of every row between two forward passes."""

    head: DraftHead
    cache: DraftCache
    inputs: Tensor  # [B, N, D] of positions that the draft head has not read yet
    hidden: Tensor  # [B, N, D] of the same positions
    counts: Tensor  # [B] how many of the N are valid, the first ones
    tried: Tensor  # [B] how many of these, the last ones, are drafts to be verified
    tokens: Tensor  # [B, n, K] the drafts
    probs: list[Tensor] = field(default_factory=list)  # [B, n, V] draft distributions of K slots
    noise: Tensor | None = None  # [B, n + 1, K] of the next steps, if drafts share the model's
    log_probs: Tensor | None = None  # [B, n] with which each draft was sampled, as a whole
    states: Tensor | None = None  # [B, n, D] of the draft head, from which they were sampled
    numbers: list[int] = field(default_factory=list)  # [n] of these states
    ended: Tensor | None = None  # [B, N] `DecodeState.ended` after each of the N nodes of a tree
    pointers: Tensor | None = None  # [B, N] `DecodeState.pointers` after each of them

    def settle(self, positions: int) -> None:
        """Set an upper bound of the positions that the draft head has read."""
        if self.cache.past is not None:
            self.cache.past.longest = positions

    def select(self, rows: Tensor) -> None:
        """Keep only these rows [B'], in this order."""
        self.cache.select(rows)
        for name in self._tensors():
            setattr(self, name, getattr(self, name)[rows])
        self.probs = [x[rows] for x in self.probs]

    def join(self, other: "DraftState") -> None:
        """Append the rows of another state."""
        self.cache.join(other.cache)
        for name in self._tensors():
            setattr(self, name, torch.cat([getattr(self, name), getattr(other, name)]))
        self.probs = [torch.cat(pair) for pair in zip(self.probs, other.probs, strict=True)]

    def _tensors(self) -> list[str]:
        return [f.name for f in fields(self) if isinstance(getattr(self, f.name), Tensor)]


def begin_drafting(
    inputs: Tensor,
    hidden: Tensor,
    state: DecodeState,
    model: GenerativeModel,
    drafts: int,
    nodes: int | None = None,
) -> DraftState:
    """Return the state of new rows, whose prompts [B, L, D] are padded on the left.

    The draft head reads them but for their last position, the input after which is not known yet.

    Args:
        inputs: of the backbone.
        hidden: its hidden states.
        state: of the rows, after their prompts.
        model: the model.
        drafts: how many steps are drafted in a row.
        nodes: how many steps are drafted together; None: a chain of `drafts`.

    Raises:
        InputError: the model cannot draft so many steps.

    """
    head = check_drafts(model, drafts)
    nodes = drafts if nodes is None else nodes
    lengths, last = state.cache.lengths, hidden.shape[1] - 1
    cache = head.start(len(hidden), hidden)
    if last:  # the rows move to the left
        source = last + 1 - lengths[:, None] + torch.arange(last, device=hidden.device)
        source = source[..., None].expand(-1, -1, hidden.shape[-1])
        following = inputs.gather(1, (source + 1).clamp(max=last))
        cache = head.read(cache, hidden.gather(1, source.clamp(max=last)), following, lengths - 1)
    room = (0, 0, 0, nodes)
    return DraftState(
        head,
        cache,
        F.pad(inputs[:, last:], room),
        F.pad(hidden[:, last:], room),
        torch.ones_like(lengths),
        torch.zeros_like(lengths),
        lengths.new_zeros(len(hidden), nodes, model.layout.tokens_per_step),
    )


def check_drafts(model: GenerativeModel, drafts: int) -> DraftHead:
    """Return the model's draft head.

    Raises:
        InputError: there is none, or it cannot draft so many steps.

    """
    if model.draft is None:
        raise InputError(
            f"drafts '{drafts}': the model has no draft head; train one (draft: in a recipe), or "
            "leave drafts out",
            code="missing",
        )
    check_layout(model.layout, f"drafts '{drafts}'")
    if not 0 <= drafts <= model.draft.max_drafts:
        raise InputError(
            f"drafts '{drafts}': this model's draft head drafts at most {model.draft.max_drafts}",
            code="out_of_range",
        )
    return model.draft


def check_layout(layout: TokenLayout, what: str) -> None:
    """Raise InputError, a line that begins with `what`, if steps of a layout cannot be drafted."""
    reasons = {
        "any slot of this model may end the speech (end_slots: all)": layout.all_end,
        "this model has text among its steps (end_slots: text)": layout.has_text_steps,
    }
    for reason, found in reasons.items():
        if found:
            raise InputError(
                f"{what}: {reason}, which drafts do not allow for; leave drafts out",
                code="unsupported",
            )


def draft_steps(
    model: GenerativeModel,
    state: DecodeState,
    tokens: Tensor,
    samplers: Sequence[Callable[[TokenLayout, DecodeState], AnySampler]],
    meter: "ConfidenceMeter | None" = None,
) -> tuple[Tensor, Tensor, list[AnySampler]]:
    """Draft one step per sampler after the steps `tokens` [B, K].

    These follow everything that the backbone has read. All steps enter the state; the draft head's
    states go to `state.draft` if it keeps them. With a `meter`, drafting ends with the first step that
    no row is confident of, which is left out.

    Args:
        model: the model.
        state: the rows; advanced by n + 1 steps.
        tokens: the last step of every row.
        samplers: for each of the n drafts, makes its sampler from the layout and the state.
        meter: see above; it counts every row's drafts.

    Returns:
        The backbone's inputs [B, n + 1, D], the drafts [B, n, K] and the samplers used.

    """
    draft: DraftState = state.draft
    head, inputs = draft.head, [enter_step(model, state, tokens)]
    drafts: list[Tensor] = []
    used: list[AnySampler] = []
    read_verified(draft, inputs[0])
    for k, make in enumerate(samplers, start=1):
        sampler = make(model.layout, state)
        vector, number = head.draft_step(draft.cache, k, inputs[-1])
        pick = sampler if meter is None else meter.over(sampler)
        proposed = head.head_of(number, model.drafting_head).propose(vector, pick)  # [B, K]
        if meter is not None and not meter.goes_on():
            break
        if draft.states is not None:
            draft.states[:, k - 1] = vector
            draft.numbers = [*draft.numbers[: k - 1], number]
        state.ended = sampler.ended
        inputs.append(enter_step(model, state, proposed))
        drafts.append(proposed)
        used.append(sampler)
    drafted = torch.stack(drafts, 1) if drafts else tokens[:, None][:, :0]
    return torch.stack(inputs, 1), drafted, used


class ConfidenceMeter:
    """Counts the drafts that a draft head is confident of, while samplers draw them.

    A draft counts as long as the product of the highest probabilities, of its tokens and of those of
    all drafts before it, is not below `least`.

    Args:
        least: probability.
        like: [B, ..] a tensor of the rows.

    Attributes:
        counts: [B] steps that count.

    """

    def __init__(self, least: float, like: Tensor):
        self.least = least
        self.confidence = torch.ones(len(like), device=like.device)  # [B] of the steps so far
        self.counts = torch.zeros(len(like), dtype=torch.long, device=like.device)
        self.sampler: ConstrainedSampler

    def over(self, sampler: ConstrainedSampler) -> "ConfidenceMeter":
        """Return itself as the SlotSampler of the next step, whose tokens `sampler` draws."""
        self.sampler = sampler
        return self

    def __call__(self, k: int, logits: Tensor) -> Tensor:
        """Draw slot `k` from logits [B, V], see SlotSampler."""
        self._note(logits[:, None])
        return self.sampler(k, logits)

    def all(self, logits: list[Tensor]) -> Tensor:
        """Draw all slots, see SlotSampler."""
        for run in logits:
            self._note(run)
        return self.sampler.all(logits)

    def _note(self, logits: Tensor) -> None:
        """Multiply in the highest probabilities of logits [B, n, V]."""
        best = (logits.amax(-1) - logits.logsumexp(-1)).exp()  # [B, n]
        self.confidence = self.confidence * best.prod(-1)

    def goes_on(self) -> bool:
        """Count the step that was drawn; return whether any row is confident of it."""
        confident = self.confidence >= self.least
        self.counts = self.counts + confident.long()
        return bool(confident.any())


def enter_step(model: GenerativeModel, state: DecodeState, tokens: Tensor) -> Tensor:
    """Enter a step of tokens [B, K] into a state: the backbone's input [B, D] for it."""
    state.note_step(model.layout, tokens[:, : model.head.penalized_slots])
    return model.embed_step(state, tokens)


def read_verified(draft: DraftState, entered: Tensor) -> None:
    """Run the draft head over the verified positions, which the input `entered` [B, D] follows."""
    rows = torch.arange(len(entered), device=entered.device)
    following = F.pad(draft.inputs[:, 1:], (0, 0, 0, 1))
    following[rows, draft.counts - 1] = entered
    draft.cache = draft.head.read(draft.cache, draft.hidden, following, draft.counts)


@dataclass
class DraftOnly:
    """Every forward pass emits the next step and `drafts` more, as the draft head predicts them.

    VocalNet's decoding (arXiv 2504.04060, section 3.3): fewer passes, trained for, not lossless.
    The backbone then reads all steps at once. A row of which too little has been read to draft
    (LeapDraft) emits one step.
    """

    drafts: int
    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)
    has_fixed_shape: ClassVar[bool] = True

    def begin(
        self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: GenerativeModel
    ) -> None:
        """See DecodeStrategy."""
        state.draft = begin_drafting(inputs, hidden, state, model, self.drafts)
        self.statistics.drafts, self.statistics.slots = self.drafts, model.layout.tokens_per_step

    def emit(self, model: GenerativeModel, state: DecodeState) -> StepBatch:
        """See DecodeStrategy."""
        draft: DraftState = state.draft
        first = state.steps
        with self.statistics.timed("heads"):
            sampler = ConstrainedSampler(model.layout, state)
            hidden = last_of(draft.hidden, draft.counts)
            tokens = model.head.propose(hidden, sampler)  # [B, K]
        state.ended = sampler.ended
        with self.statistics.timed("drafts"):
            samplers = [ConstrainedSampler] * self.drafts
            inputs, drafts, _ = draft_steps(model, state, tokens, samplers)
        ready = draft.head.ready(draft.cache)
        draft.inputs = inputs  # [B, M, D]
        draft.counts = torch.where(ready, inputs.shape[1], 1)
        kept = ready[:, None].expand(-1, self.drafts)
        inside = before_end(model.layout, state, first + 1, self.drafts)
        outcome = DraftOutcome(torch.ones_like(ready), kept, inside)
        return StepBatch(torch.cat([tokens[:, None], drafts], 1), first, draft.counts, outcome)

    def forward(self, model: GenerativeModel, state: DecodeState, emitted: StepBatch) -> None:
        """See DecodeStrategy."""
        draft: DraftState = state.draft
        with self.statistics.timed("backbone"):
            draft.hidden = model.steps(state, draft.inputs)
        state.rewind(draft.inputs.shape[1] - draft.counts)


def before_end(layout: TokenLayout, state: DecodeState, first: Tensor, count: int) -> Tensor:
    """Which of `count` steps, numbered from `first` [B] on, come before the row's end: [B, n]."""
    number = first[:, None] + torch.arange(count, device=first.device)
    ended = state.ended[:, None]
    over = (ended >= 0) & (number > ended + layout.steps_after_end)
    return ~over & (number < state.limits[:, None])
