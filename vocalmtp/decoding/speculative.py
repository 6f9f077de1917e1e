"""Drafts that the backbone verifies: several steps per forward pass, and nothing else changes.

Letters: B rows, n drafts, N = B (n + 1) places to verify, K slots, D hidden size, V vocabulary.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from vocalmtp.decoding.ahead import begin_ahead, draft_ahead
from vocalmtp.decoding.rules import RulePicker
from vocalmtp.decoding.sampling import draw
from vocalmtp.decoding.state import DecodeState
from vocalmtp.decoding.strategy import Emission
from vocalmtp.heads.draft import last_of
from vocalmtp.layout import TokenLayout
from vocalmtp.model.speech_lm import SpeechLM


@dataclass
class DraftStatistics:
    """What drafting brought, summed over rows and forward passes."""

    drafts: int
    forwards: int = 0  # passes of the backbone over drafts, of every row
    steps: int = 0  # that these passes gave
    slots: int = 0  # tokens per step
    reached: list[int] = field(default_factory=list)  # [n] times that all drafts before were kept
    kept: list[int] = field(default_factory=list)  # [n] times that this one was kept, too

    def count(self, kept: Tensor, inside: Tensor) -> None:
        """Add passes: which drafts were `kept` [B, n], of those that come before the row's end."""
        before = F.pad(kept[:, :-1], (1, 0), value=True) & inside
        self.reached = _added(self.reached, before)
        self.kept = _added(self.kept, kept & inside)
        self.forwards += len(kept)
        self.steps += len(kept) + int((kept & inside).sum())

    def summary(self) -> dict[str, float | list[float]]:
        """Figures for a report; acceptance is conditional: of the drafts whose predecessors were
        kept. `wasted` is the share of drafted tokens that were thrown away.
        """
        drafted = self.forwards * self.drafts
        return {
            "steps_per_forward": self.steps / max(self.forwards, 1),
            "tokens_per_forward": self.steps * self.slots / max(self.forwards, 1),
            "acceptance": [k / max(r, 1) for k, r in zip(self.kept, self.reached, strict=True)],
            "wasted": 1 - sum(self.kept) / max(drafted, 1),
        }


def _added(total: list[int], flags: Tensor) -> list[int]:
    now = flags.sum(0).tolist()
    return [a + b for a, b in zip(total or [0] * len(now), now, strict=True)]


@dataclass
class Speculative:
    """Chains of `drafts` steps from the model's draft head, verified by one forward pass.

    A draft step is kept as long as all its tokens are; the first token that is not is drawn anew,
    the rest of its step from the model, and the row goes on from there. Both sides are filtered by
    temperature, top-k and top-p. `accept`:

    - `rejection` keeps a token with probability min(1, p / q) and draws from max(0, p - q) if not
      (Leviathan et al., arXiv 2211.17192, theorem 1): what is said has the model's distribution.
      Most drafts are kept that way.
    - `seed` drafts with the noise that the model's own draw will have, and keeps what that draw
      says: every seed says exactly what it says without drafts.

    Greedy rows say exactly what they say without drafts either way.
    """

    drafts: int
    accept: Literal["rejection", "seed"] = "rejection"
    statistics: DraftStatistics = field(init=False)

    def __post_init__(self) -> None:
        self.statistics = DraftStatistics(self.drafts)

    def begin(self, inputs: Tensor, hidden: Tensor, state: DecodeState, model: SpeechLM) -> None:
        ahead = begin_ahead(inputs, hidden, state, model, self.drafts)
        rows, sizes = len(hidden), [slot.vocab_size for slot in model.layout.slots]
        if self.accept == "seed":
            ahead.noise = noise_of(state, self.drafts + 1, model.layout)
        else:
            ahead.probs = [hidden.new_zeros(rows, self.drafts, size) for size in sizes]
        state.ahead = ahead
        self.statistics.slots = len(sizes)

    def emit(self, model: SpeechLM, state: DecodeState) -> Emission:
        ahead, layout, n = state.ahead, model.layout, self.drafts
        numbers = torch.arange(n + 1, device=ahead.tried.device)
        first = state.steps - ahead.tried  # [B] number of the step that the first place predicts
        place = (ahead.counts - 1 - ahead.tried)[:, None] + numbers  # [B, n + 1]
        place = place.clamp(max=ahead.hidden.shape[1] - 1)
        rows = torch.arange(len(first), device=first.device)[:, None]
        hidden = ahead.hidden[rows, place]  # [B, n + 1, D]
        view = places_of(state, first[:, None] + numbers)
        drafted = F.pad(ahead.tokens, (0, 0, 0, 1))  # [B, n + 1, K]
        tried = (numbers < ahead.tried[:, None]).flatten()  # [N]
        if self.accept == "seed":
            pick: Verify = SameDraw(layout, view, drafted.flatten(0, 1), tried, ahead.noise)
        else:
            probs = [F.pad(x, (0, 0, 0, 1)).flatten(0, 1) for x in ahead.probs]  # [N, V] each
            pick = Rejection(layout, view, drafted.flatten(0, 1), tried, probs)
        tokens = model.head.propose(hidden.flatten(0, 1), pick).tokens.view_as(drafted)
        agreed = pick.agreed.view(len(first), n + 1)[:, :n].int().cumprod(1).bool()
        accepted = agreed.sum(1)  # [B]
        self._count(layout, state, first, agreed, ahead.tried > 0)
        state.rewind(ahead.tried - accepted)
        ahead.counts = ahead.counts - (ahead.tried - accepted)
        if ahead.noise is not None:
            ahead.noise = moved_on(ahead.noise, accepted + 1, state, layout)
        return Emission(tokens, first, accepted + 1)

    def _count(
        self, layout: TokenLayout, state: DecodeState, first: Tensor, agreed: Tensor, ran: Tensor
    ) -> None:
        number = first[:, None] + torch.arange(agreed.shape[1], device=first.device)
        over = (state.ended >= 0)[:, None] & (
            number > (state.ended + layout.steps_after_end)[:, None]
        )
        inside = ~over & (number < state.limits[:, None])
        self.statistics.count(agreed[ran], inside[ran])

    def forward(self, model: SpeechLM, state: DecodeState, said: Emission) -> None:
        ahead, n = state.ahead, self.drafts
        last = last_of(said.tokens, said.counts)  # [B, K]
        if ahead.noise is None:
            pickers = [DraftPicker] * n
        else:
            pickers = [seeded(ahead.noise[:, k]) for k in range(n)]
        inputs, drafts, used = draft_ahead(model, state, last, pickers)
        ready = model.draft.ready(ahead.memory)
        ahead.inputs, ahead.hidden, ahead.tokens = inputs, model.steps(state, inputs), drafts
        ahead.tried = torch.where(ready, n, 0)
        ahead.counts = ahead.tried + 1
        if ahead.noise is None:
            ahead.probs = [torch.stack(x, 1) for x in zip(*(p.probs for p in used), strict=True)]
        state.rewind(n - ahead.tried)


def noise_of(state: DecodeState, steps: int, layout: TokenLayout) -> Tensor:
    """The noise of the next so many steps of every row, [B, steps, K], as RulePicker draws it."""
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
        pointers = state.trail.gather(1, numbers.clamp(max=state.trail.shape[1] - 1)).flatten()
        lengths = lengths.repeat_interleave(count)
    return replace(
        state,
        steps=numbers.flatten(),
        ended=ended,
        pointers=pointers,
        character_lengths=lengths,
        samplers=tuple(sampler for sampler in state.samplers for _ in range(count)),
    )


class DraftPicker(RulePicker):
    """Draws as the rules and the sampler say, and keeps what it drew from."""

    def __init__(self, layout: TokenLayout, state: DecodeState):
        super().__init__(layout, state)
        self.probs: list[Tensor] = []  # [B, V] of the slots picked so far

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        probs = self.distribution(first, logits, must_pad)  # [B, n, V]
        self.probs += probs.unbind(1)
        noise = self.noise[:, first : first + logits.shape[1]]
        tokens = draw(probs.flatten(0, 1), noise.flatten()).view_as(noise)
        return tokens, probs.gather(2, tokens[..., None])[..., 0].log()


def seeded(noise: Tensor) -> type[RulePicker]:
    """Makes a RulePicker whose noise [B, K] is given."""

    def make(layout: TokenLayout, state: DecodeState) -> RulePicker:
        return RulePicker(layout, state, noise)

    return make


class Verify(RulePicker):
    """Picks the tokens of N places from the model, some of which have `drafted` tokens [N, K].

    `agreed` [N] says where all tokens so far are the drafted ones.
    """

    def __init__(
        self, layout: TokenLayout, view: DecodeState, drafted: Tensor, tried: Tensor, noise: Tensor
    ):
        super().__init__(layout, view, noise)
        self.drafted, self.agreed = drafted, tried


class SameDraw(Verify):
    """Draws from the model with the noise that the draft had, [B, n + 1, K]."""

    def __init__(
        self, layout: TokenLayout, view: DecodeState, drafted: Tensor, tried: Tensor, noise: Tensor
    ):
        super().__init__(layout, view, drafted, tried, noise.flatten(0, 1))

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        tokens, log_probs = super()._draw(first, logits, must_pad)
        want = self.drafted[:, first : first + tokens.shape[1]]
        self.agreed = self.agreed & (tokens == want).all(1)
        return tokens, log_probs


class Rejection(Verify):
    """Keeps or replaces drafted tokens, which were drawn from `probs`, K of [N, V]."""

    def __init__(
        self,
        layout: TokenLayout,
        view: DecodeState,
        drafted: Tensor,
        tried: Tensor,
        probs: list[Tensor],
    ):
        rows, slots = len(view.generators), layout.tokens_per_step
        shape = (len(drafted) // rows, slots, 2)
        noise = torch.stack([torch.rand(shape, generator=g) for g in view.generators])
        noise = noise.flatten(0, 1).to(drafted.device)  # [N, K, 2]
        super().__init__(layout, view, drafted, tried, noise)
        self.probs = probs

    def _draw(self, first: int, logits: Tensor, must_pad: Tensor) -> tuple[Tensor, Tensor]:
        model = self.distribution(first, logits, must_pad)  # [N, n, V]
        tokens = [self._keep_or_draw(first + i, p) for i, p in enumerate(model.unbind(1))]
        chosen = torch.stack(tokens, 1)
        return chosen, model.gather(2, chosen[..., None])[..., 0].log()

    def _keep_or_draw(self, k: int, p: Tensor) -> Tensor:
        """The token [N] of slot `k`, which the model gives the distribution `p` [N, V]."""
        q, want = self.probs[k], self.drafted[:, k]
        ours, theirs = (x.gather(1, want[:, None])[:, 0] for x in (p, q))
        keep = self.agreed & (self.noise[:, k, 0] * theirs < ours)
        rest = torch.where(self.agreed[:, None], (p - q).clamp(min=0), p)
        rest = torch.where(rest.sum(1, keepdim=True) > 0, rest, p)  # p = q but for rounding
        self.agreed = keep
        return torch.where(keep, want, draw(rest, self.noise[:, k, 1]))
