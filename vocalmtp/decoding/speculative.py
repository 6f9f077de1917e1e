"""Speculative decoding: chains of drafts that one forward pass of the backbone verifies.

Letters: B rows, n drafts, N = B (n + 1) positions to verify, K slots, D hidden size, V vocabulary.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.decoding.acceptance import (
    DraftSampler,
    FSQToleranceVerifier,
    LogProbScorer,
    RejectionVerifier,
    Scorer,
    SharedNoiseVerifier,
    TypicalVerifier,
    Verifier,
    select_positions,
    verify_jointly,
)
from vocalmtp.decoding.constraints import ConstrainedSampler
from vocalmtp.decoding.draft_state import (
    ConfidenceMeter,
    DraftState,
    before_end,
    begin_drafting,
    draft_steps,
)
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.strategies import DraftOutcome, StepBatch
from vocalmtp.errors import InputError
from vocalmtp.models.base import GenerativeModel
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState

Acceptance = Literal["rejection", "joint", "seed", "typical", "near"]
SHARED_NOISE = ("seed", "near")  # these draft with the noise that the model's own sampling will use
TOLERANCES = {"typical": 0.09, "near": 1.0}  # by default


@dataclass
class Speculative:
    """Chains of `drafts` steps from the model's draft head, verified by one forward pass.

    A drafted step is accepted if all its tokens are; the first that is not is replaced by a sample
    from the model, and the row goes on from there. Temperature, top-k and top-p apply to both sides.
    Three of the rules to `accept` are lossless, that is, they change nothing but the number of
    passes:

    - `rejection` accepts a token with probability min(1, p / q), and otherwise samples from
      max(0, p - q) (Leviathan et al., arXiv 2211.17192, theorem 1), token by token within a step:
      the output has the model's distribution.
    - `joint` does the same with whole steps (decoding/acceptance.py), which accepts more of them.
    - `seed` drafts with the noise that the model's own sampling will use, and accepts what that
      sampling yields: every seed gives exactly the output that it gives without drafts.

    With any of these, greedy rows equal those without drafts. Two rules accept more and change the
    output; `tolerance` sets how much:

    - `typical` accepts what is probable enough under the model (`acceptance.TypicalVerifier`).
    - `near` is `seed` that also accepts codes with nearly the same digits
      (`acceptance.FSQToleranceVerifier`).

    With `confidence`, which is for the rules that draft with the model's noise, a pass verifies fewer
    drafts where the draft head is unsure: those up to which its most probable steps have at least this
    probability, all together. A pass over fewer positions takes less time; the output is the same.

    Raises:
        InputError: the rule does not allow for a confidence.

    """

    drafts: int
    accept: Acceptance = "rejection"
    tolerance: float | None = None
    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)
    confidence: float = 0.0

    def __post_init__(self) -> None:
        self.statistics.drafts = self.drafts
        if self.confidence and self.accept not in SHARED_NOISE:
            raise InputError(
                f"confidence '{self.confidence}': is for accept {' and '.join(SHARED_NOISE)}, not for "
                f"{self.accept}; leave it out",
                code="conflict",
            )

    @property
    def has_fixed_shape(self) -> bool:
        """See DecodeStrategy; `joint` samples as often as it takes, a confidence leaves drafts out."""
        return self.accept != "joint" and not self.confidence

    def begin(
        self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: GenerativeModel
    ) -> None:
        """See DecodeStrategy."""
        draft = begin_drafting(inputs, hidden, state, model, self.drafts)
        rows, sizes = len(hidden), [slot.vocab_size for slot in model.layout.slots]
        if self.accept in SHARED_NOISE:
            draft.noise = draw_noise(state, self.drafts + 1, model.layout)
        elif self.accept == "joint":
            draft.log_probs = hidden.new_zeros(rows, self.drafts, dtype=torch.float64)
            draft.states = hidden.new_zeros(rows, self.drafts, hidden.shape[-1])
        elif self.accept == "rejection":
            shapes = [(rows, self.drafts, size) for size in sizes]
            draft.probs = [hidden.new_zeros(s, dtype=torch.float32) for s in shapes]
        state.draft = draft
        self.statistics.slots = len(sizes)

    def emit(self, model: GenerativeModel, state: DecodeState) -> StepBatch:
        """See DecodeStrategy."""
        draft: DraftState = state.draft
        layout, n = model.layout, self.drafts
        if self.confidence:
            n = int(draft.tried.max())
        numbers = torch.arange(n + 1, device=draft.tried.device)
        first = state.steps - draft.tried  # [B] number of the step that the first position predicts
        place = (draft.counts - 1 - draft.tried)[:, None] + numbers  # [B, n + 1]
        place = place.clamp(max=draft.hidden.shape[1] - 1)
        rows = torch.arange(len(first), device=first.device)[:, None]
        hidden = draft.hidden[rows, place]  # [B, n + 1, D]
        before = states_before(state, first[:, None] + numbers)
        drafted = F.pad(draft.tokens[:, :n], (0, 0, 0, 1))  # [B, n + 1, K]
        tried = numbers < draft.tried[:, None]  # [B, n + 1]
        with self.statistics.timed("heads"):
            tokens, agreed = self._verify(model, draft, hidden, before, drafted, tried)
        agreed = agreed[:, :n].int().cumprod(1).bool()
        accepted = agreed.sum(1)  # [B]
        inside = before_end(layout, state, first, self.drafts)
        outcome = DraftOutcome(draft.tried > 0, F.pad(agreed, (0, self.drafts - n)), inside)
        state.rewind(draft.tried - accepted)
        draft.counts = draft.counts - (draft.tried - accepted)
        if self.confidence:
            longest = int(draft.counts.max())
            draft.hidden, draft.inputs = draft.hidden[:, :longest], draft.inputs[:, :longest]
        if draft.noise is not None:
            draft.noise = shift_noise(state, accepted + 1, self.drafts + 1, layout)
        return StepBatch(tokens, first, accepted + 1, outcome)

    def _verify(
        self,
        model: GenerativeModel,
        draft: DraftState,
        hidden: Tensor,
        before: DecodeState,
        drafted: Tensor,
        tried: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, n + 1, K] of all positions, and where they are the drafted ones [B, n + 1]."""
        if self.accept == "joint":
            assert draft.log_probs is not None
            log_probs = F.pad(draft.log_probs, (0, 1))
            score = step_scorer(model, draft, drafted.shape[1])
            return verify_jointly(
                model.layout, model.head, hidden, before, drafted, tried, log_probs, score
            )
        verifier = self._verifier(model.layout, draft, before, drafted, tried)
        tokens = model.head.propose(hidden.flatten(0, 1), verifier).view_as(drafted)
        return tokens, verifier.agreed.view_as(tried)

    def _verifier(
        self,
        layout: TokenLayout,
        draft: DraftState,
        before: DecodeState,
        drafted: Tensor,
        tried: Tensor,
    ) -> Verifier:
        args = (layout, before, drafted.flatten(0, 1), tried.flatten())
        tolerance = TOLERANCES.get(self.accept, 0.0) if self.tolerance is None else self.tolerance
        if draft.noise is not None:
            noise = draft.noise[:, : drafted.shape[1]].flatten(0, 1)  # [N, K]
            if self.accept == "near":
                return FSQToleranceVerifier(*args, noise, tolerance)
            return SharedNoiseVerifier(*args, noise)
        if self.accept == "typical":
            return TypicalVerifier(*args, tolerance)
        probs = [F.pad(x, (0, 0, 0, 1)).flatten(0, 1) for x in draft.probs]  # [N, V] each
        return RejectionVerifier(*args, probs)

    def forward(self, model: GenerativeModel, state: DecodeState, emitted: StepBatch) -> None:
        """See DecodeStrategy."""
        draft: DraftState = state.draft
        meter = ConfidenceMeter(self.confidence, emitted.last) if self.confidence else None
        with self.statistics.timed("drafts"):
            inputs, tokens = self._draft(model, state, emitted.last, meter)
        ready, made = draft.head.ready(draft.cache), tokens.shape[1]
        with self.statistics.timed("backbone"):
            hidden = model.steps(state, inputs)
        draft.tried = torch.where(ready, made if meter is None else meter.counts, 0)
        draft.counts = draft.tried + 1
        state.rewind(made - draft.tried)
        if meter is not None:
            idle = int((ready & (draft.tried == 0)).sum())
            self.statistics.count_withheld(int((self.drafts - draft.tried).sum()), idle)
        room = (0, 0, 0, self.drafts - made)
        draft.inputs, draft.hidden, draft.tokens = (
            F.pad(x, room) if made < self.drafts else x for x in (inputs, hidden, tokens)
        )

    def _draft(
        self,
        model: GenerativeModel,
        state: DecodeState,
        last: Tensor,
        meter: ConfidenceMeter | None,
    ) -> tuple[Tensor, Tensor]:
        """Draft n steps after the steps `last` [B, K]: inputs [B, n + 1, D] and drafts [B, n, K]."""
        draft: DraftState = state.draft
        if draft.noise is not None:
            shared = [
                partial(ConstrainedSampler, noise=draft.noise[:, k]) for k in range(self.drafts)
            ]
            inputs, drafts, _ = draft_steps(model, state, last, shared, meter)
        elif self.accept == "joint":
            inputs, drafts, scorers = draft_steps(model, state, last, [LogProbScorer] * self.drafts)
            if scorers:
                draft.log_probs = torch.stack([scorer.total for scorer in scorers], 1)
        else:
            inputs, drafts, used = draft_steps(model, state, last, [DraftSampler] * self.drafts)
            if self.accept == "rejection":
                probs = zip(*(sampler.probs for sampler in used), strict=True)
                draft.probs = [torch.stack(slot, 1) for slot in probs]
        return inputs, drafts


def step_scorer(model: GenerativeModel, draft: DraftState, positions: int) -> Scorer:
    """Score other steps in the positions of the drafts by the draft head's states of these."""
    states = draft.states
    assert states is not None

    def score(chosen: list[int], before: DecodeState, steps: Tensor) -> Tensor:
        total = torch.zeros(len(chosen), dtype=torch.float64, device=steps.device)
        for number in {position % positions for position in chosen} - {positions - 1}:
            own = [i for i, position in enumerate(chosen) if position % positions == number]
            vectors = states[[chosen[i] // positions for i in own], number]
            scorer = LogProbScorer(model.layout, select_positions(before, own), given=steps[own])
            head = draft.head.head_of(draft.numbers[number], model.drafting_head)
            head.propose(vectors, scorer)
            total[own] = scorer.total
        return total

    return score


def draw_noise(state: DecodeState, steps: int, layout: TokenLayout) -> Tensor:
    """Noise [B, steps, K] of the next steps of every row, which is not taken yet."""
    assert state.noise is not None
    return state.noise.peek(steps, layout.tokens_per_step)


def shift_noise(state: DecodeState, counts: Tensor, steps: int, layout: TokenLayout) -> Tensor:
    """Take the noise of the first `counts` [B] steps: noise [B, steps, K] of those that follow."""
    assert state.noise is not None
    slots = layout.tokens_per_step
    state.noise.skip(counts * slots, steps * slots)
    return draw_noise(state, steps, layout)


def states_before(state: DecodeState, numbers: Tensor) -> DecodeState:
    """The state before each of the steps `numbers` [B, n + 1], as N rows for the rules."""
    count = numbers.shape[1]
    rows = torch.arange(len(numbers), device=numbers.device).repeat_interleave(count)
    ended = state.ended[:, None]
    ended = torch.where(ended < numbers, ended, -1).flatten()
    pointers = lengths = None
    if state.pointer_history is not None and state.character_lengths is not None:
        pointers = state.pointer_history.gather(
            1, numbers.clamp(max=state.pointer_history.shape[1] - 1)
        ).flatten()
        lengths = state.character_lengths.repeat_interleave(count)
    return replace(
        state,
        steps=numbers.flatten(),
        ended=ended,
        pointers=pointers,
        character_lengths=lengths,
        samplers=None if state.samplers is None else state.samplers.at(rows),
        seen=None if state.seen is None else state.seen[rows],
    )
