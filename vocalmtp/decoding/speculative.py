"""Drafts that the backbone verifies: several steps per forward pass, and nothing else changes.

Letters: B rows, n drafts, N = B (n + 1) places to verify, K slots, D hidden size, V vocabulary.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.decoding.acceptance import (
    DraftPicker,
    FSQToleranceVerifier,
    LogProbScorer,
    Rejection,
    SharedNoiseVerifier,
    Typical,
    seeded,
)
from vocalmtp.decoding.draft_state import DraftState, before_the_end, begin_ahead, draft_ahead
from vocalmtp.decoding.joint_acceptance import Score, verify_jointly, view_rows
from vocalmtp.decoding.statistics import DecodeStatistics
from vocalmtp.decoding.strategies import StepBatch
from vocalmtp.heads.draft.base import last_of
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.speech_lm import SpeechLM
from vocalmtp.models.state import DecodeState

Acceptance = Literal["rejection", "joint", "seed", "typical", "near"]
SEEDED = ("seed", "near")  # these draft with the noise that the model's own draw will have
TOLERANCES = {"typical": 0.09, "near": 1.0}  # if not said otherwise


@dataclass
class Speculative:
    """Chains of `drafts` steps from the model's draft head, verified by one forward pass.

    A draft step is kept as long as all its tokens are; what is not is drawn anew from the model,
    and the row goes on from there. Both sides are filtered by temperature, top-k and top-p.
    Three ways to `accept` change nothing of what is said but the number of passes:

    - `rejection` keeps a token with probability min(1, p / q) and draws from max(0, p - q) if not
      (Leviathan et al., arXiv 2211.17192, theorem 1), token by token within a step: what is said
      has the model's distribution.
    - `joint` does so with whole steps, see decoding/joint.py: more of them are kept.
    - `seed` drafts with the noise that the model's own draw will have, and keeps what that draw
      says: every seed says exactly what it says without drafts.

    Greedy rows say exactly what they say without drafts either way. Two ways keep more, and say
    something else than the model would; `tolerance` says how much they let pass:

    - `typical` keeps what the model finds likely enough, see `acceptance.Typical`.
    - `near` is `seed` that keeps codes with nearly the same digits, see `acceptance.NearDraw`.
    """

    drafts: int
    accept: Acceptance = "rejection"
    tolerance: float | None = None
    statistics: DecodeStatistics = field(default_factory=DecodeStatistics)

    def __post_init__(self) -> None:
        self.statistics.drafts = self.drafts
        if self.tolerance is None:
            self.tolerance = TOLERANCES.get(self.accept)

    def begin(self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: SpeechLM) -> None:
        ahead = begin_ahead(inputs, hidden, state, model, self.drafts)
        rows, sizes = len(hidden), [slot.vocab_size for slot in model.layout.slots]
        if self.accept in SEEDED:
            ahead.noise = noise_of(state, self.drafts + 1, model.layout)
        elif self.accept == "joint":
            ahead.drawn = hidden.new_zeros(rows, self.drafts, dtype=torch.float64)
            ahead.states = hidden.new_zeros(rows, self.drafts, hidden.shape[-1])
        elif self.accept == "rejection":
            ahead.probs = [hidden.new_zeros(rows, self.drafts, size) for size in sizes]
        state.draft = ahead
        self.statistics.slots = len(sizes)

    def emit(self, model: SpeechLM, state: DecodeState) -> StepBatch:
        ahead, layout, n = state.draft, model.layout, self.drafts
        numbers = torch.arange(n + 1, device=ahead.tried.device)
        first = state.steps - ahead.tried  # [B] number of the step that the first place predicts
        place = (ahead.counts - 1 - ahead.tried)[:, None] + numbers  # [B, n + 1]
        place = place.clamp(max=ahead.hidden.shape[1] - 1)
        rows = torch.arange(len(first), device=first.device)[:, None]
        hidden = ahead.hidden[rows, place]  # [B, n + 1, D]
        view = places_of(state, first[:, None] + numbers)
        drafted = F.pad(ahead.tokens, (0, 0, 0, 1))  # [B, n + 1, K]
        tried = numbers < ahead.tried[:, None]  # [B, n + 1]
        with self.statistics.timed("heads"):
            tokens, agreed = self._verify(model, ahead, hidden, view, drafted, tried)
        agreed = agreed[:, :n].int().cumprod(1).bool()
        accepted = agreed.sum(1)  # [B]
        inside = before_the_end(layout, state, first, n)
        self.statistics.count(agreed[ahead.tried > 0], inside[ahead.tried > 0])
        state.rewind(ahead.tried - accepted)
        ahead.counts = ahead.counts - (ahead.tried - accepted)
        if ahead.noise is not None:
            ahead.noise = moved_on(ahead.noise, accepted + 1, state, layout)
        return StepBatch(tokens, first, accepted + 1)

    def _verify(
        self,
        model: SpeechLM,
        ahead: DraftState,
        hidden: Tensor,
        view: DecodeState,
        drafted: Tensor,
        tried: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, n + 1, K] of every place, and where they are the drafted ones [B, n + 1]."""
        layout = model.layout
        if self.accept == "joint":
            drawn = F.pad(ahead.drawn, (0, 1))
            score = step_scores(model, ahead, drafted.shape[1])
            args = (layout, model.head, hidden, view, drafted, tried, drawn, score)
            return verify_jointly(*args)
        args = (layout, view, drafted.flatten(0, 1), tried.flatten())
        if self.accept == "seed":
            pick = SharedNoiseVerifier(*args, ahead.noise.flatten(0, 1))
        elif self.accept == "near":
            pick = FSQToleranceVerifier(*args, ahead.noise.flatten(0, 1), self.tolerance)
        elif self.accept == "typical":
            pick = Typical(*args, self.tolerance)
        else:
            probs = [F.pad(x, (0, 0, 0, 1)).flatten(0, 1) for x in ahead.probs]  # [N, V] each
            pick = Rejection(*args, probs)
        tokens = model.head.propose(hidden.flatten(0, 1), pick).tokens.view_as(drafted)
        return tokens, pick.agreed.view_as(tried)

    def forward(self, model: SpeechLM, state: DecodeState, said: StepBatch) -> None:
        ahead, n = state.draft, self.drafts
        last = last_of(said.tokens, said.counts)  # [B, K]
        if self.accept in SEEDED:
            pickers = [seeded(ahead.noise[:, k]) for k in range(n)]
        else:
            pickers = [LogProbScorer if self.accept == "joint" else DraftPicker] * n
        with self.statistics.timed("drafts"):
            inputs, drafts, used = draft_ahead(model, state, last, pickers)
        ready = model.draft.ready(ahead.memory)
        with self.statistics.timed("backbone"):
            ahead.hidden = model.steps(state, inputs)
        ahead.inputs, ahead.tokens = inputs, drafts
        ahead.tried = torch.where(ready, n, 0)
        ahead.counts = ahead.tried + 1
        if self.accept == "rejection":
            ahead.probs = [torch.stack(x, 1) for x in zip(*(p.probs for p in used), strict=True)]
        elif self.accept == "joint" and used:
            ahead.drawn = torch.stack([pick.total for pick in used], 1)
        state.rewind(n - ahead.tried)


def step_scores(model: SpeechLM, ahead: DraftState, places: int) -> Score:
    """Scores other steps in the places of the drafts: by the draft head's states of those."""

    def score(of: list[int], view: DecodeState, steps: Tensor) -> Tensor:
        total = torch.zeros(len(of), dtype=torch.float64, device=steps.device)
        for draft in {place % places for place in of} - {places - 1}:
            own = [i for i, place in enumerate(of) if place % places == draft]
            vectors = ahead.states[[of[i] // places for i in own], draft]
            pick = LogProbScorer(model.layout, view_rows(view, own), given=steps[own])
            head = model.draft.head_of(ahead.numbers[draft], model.drafting_head)
            head.propose(vectors, pick)
            total[own] = pick.total
        return total

    return score


def noise_of(state: DecodeState, steps: int, layout: TokenLayout) -> Tensor:
    """The noise of the next so many steps of every row, [B, steps, K], as ConstrainedSampler draws it."""
    rows = [
        torch.stack([torch.rand(layout.tokens_per_step, generator=g) for _ in range(steps)])
        for g in state.generators
    ]
    return torch.stack(rows).to(state.steps.device)


def moved_on(noise: Tensor, counts: Tensor, state: DecodeState, layout: TokenLayout) -> Tensor:
    """`noise` [B, n + 1, K] after `counts` [B] steps were said: so many go, and as many come."""
    rows = []
    for row, count, generator in zip(noise, counts.tolist(), state.generators, strict=True):
        new = [torch.rand(layout.tokens_per_step, generator=generator) for _ in range(count)]
        rows.append(torch.cat([row[count:], torch.stack(new).to(row.device)]))
    return torch.stack(rows)


def places_of(state: DecodeState, numbers: Tensor) -> DecodeState:
    """The state before each of the steps `numbers` [B, n + 1], as N rows for the rules."""
    count = numbers.shape[1]
    ended = state.ended[:, None]
    ended = torch.where(ended < numbers, ended, -1).flatten()
    pointers = state.pointers
    lengths = state.character_lengths
    if pointers is not None:
        pointers = state.pointer_history.gather(
            1, numbers.clamp(max=state.pointer_history.shape[1] - 1)
        ).flatten()
        lengths = lengths.repeat_interleave(count)
    return replace(
        state,
        steps=numbers.flatten(),
        ended=ended,
        pointers=pointers,
        character_lengths=lengths,
        samplers=tuple(sampler for sampler in state.samplers for _ in range(count)),
    )
