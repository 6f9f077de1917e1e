"""Acceptance of drafted tokens: samplers for drafting, verifiers, and joint rejection sampling.

Letters: B rows, n drafts, N = B (n + 1) positions to verify, K slots, V vocabulary, F digits, D
hidden size.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from vocalmtp.decoding.constraints import ConstrainedSampler, columns, take_noise
from vocalmtp.decoding.sampling import inverse_cdf
from vocalmtp.heads.base import SpeechHead
from vocalmtp.models.embeddings import digits_of
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState

FAR = 1 << 20  # a distance larger than that of any two codes of a stream
MAX_TRIALS = 1 << 16  # of one step; P and Q are then equal but for rounding

Scorer = Callable[[list[int], DecodeState, Tensor], Tensor]
"""Positions among the N, the state before them, steps [n, K]: their draft log-probability [n]."""


class DraftSampler(ConstrainedSampler):
    """Samples a draft within the rules and records the distribution of every slot."""

    def __init__(self, layout: TokenLayout, state: DecodeState):
        super().__init__(layout, state, take_noise(state, layout))
        self.of_slots: dict[int, Tensor] = {}  # [B, V] of the slots sampled so far

    @property
    def probs(self) -> list[Tensor]:
        """The distributions [B, V] of all slots, in order."""
        return [self.of_slots[k] for k in range(len(self.of_slots))]

    def draw(self, slots: tuple[int, ...], logits: Tensor, must_pad: Tensor) -> Tensor:
        """See ConstrainedSampler."""
        probs = self.distribution(slots, logits, must_pad)  # [B, n, V]
        self.of_slots |= zip(slots, probs.unbind(1), strict=True)
        noise = columns(self.noise, slots)
        return inverse_cdf(probs.flatten(0, 1), noise.flatten()).view_as(noise)


class LogProbScorer(ConstrainedSampler):
    """Samples tokens, or takes `given` ones [N, K], and sums their log-probabilities: `total` [N]."""

    def __init__(
        self,
        layout: TokenLayout,
        state: DecodeState,
        noise: Tensor | None = None,
        given: Tensor | None = None,
    ):
        if noise is None:
            noise = take_noise(state, layout) if given is None else given
        super().__init__(layout, state, noise)
        self.given = given
        self.total = torch.zeros(len(self.noise), dtype=torch.float64, device=self.noise.device)

    def draw(self, slots: tuple[int, ...], logits: Tensor, must_pad: Tensor) -> Tensor:
        """See ConstrainedSampler."""
        probs = self.distribution(slots, logits, must_pad)  # [N, n, V]
        if self.given is None:
            noise = columns(self.noise, slots)
            tokens = inverse_cdf(probs.flatten(0, 1), noise.flatten()).view_as(noise)
        else:
            tokens = columns(self.given, slots)
        log_probs = probs.gather(2, tokens[..., None])[..., 0].double().log()
        self.total = self.total + log_probs.sum(1)
        return tokens


# -- token by token ------------------------------------------------------------------------------


class Verifier(ConstrainedSampler):
    """Samples the tokens of N positions from the model, some of which have drafted tokens.

    Args:
        layout: the slots of a step.
        state: the state before each of the N positions.
        drafted: [N, K] drafted tokens.
        tried: [N], which positions have a draft.
        noise: [N, K] or [N, K, 2] uniform in [0, 1).

    Attributes:
        agreed: [N], where all tokens so far are the drafted ones.

    """

    def __init__(
        self, layout: TokenLayout, state: DecodeState, drafted: Tensor, tried: Tensor, noise: Tensor
    ):
        super().__init__(layout, state, noise)
        self.drafted, self.agreed = drafted, tried


class SharedNoiseVerifier(Verifier):
    """Samples from the model with the noise [N, K] that the drafts were sampled with."""

    def draw(self, slots: tuple[int, ...], logits: Tensor, must_pad: Tensor) -> Tensor:
        """See ConstrainedSampler."""
        tokens = super().draw(slots, logits, must_pad)
        self.agreed = self.agreed & (tokens == columns(self.drafted, slots)).all(1)
        return tokens


class FSQToleranceVerifier(Verifier):
    """As SharedNoiseVerifier, but accepts codes whose digits differ by at most `tolerance` levels.

    Codes of finite scalar quantisation with nearly the same digits decode to nearly the same sound.
    Codes without digits, the text track's advances and special ids have to be equal.
    """

    def __init__(
        self,
        layout: TokenLayout,
        state: DecodeState,
        drafted: Tensor,
        tried: Tensor,
        noise: Tensor,
        tolerance: float,
    ):
        super().__init__(layout, state, drafted, tried, noise)
        self.tolerance = tolerance

    def draw(self, slots: tuple[int, ...], logits: Tensor, must_pad: Tensor) -> Tensor:
        """See ConstrainedSampler."""
        tokens = super().draw(slots, logits, must_pad)
        chosen = []
        for k, token in zip(slots, tokens.unbind(1), strict=True):
            drafted, points = (
                self.drafted[:, k],
                code_points(self.layout, k, token.device),
            )  # [V, F]
            near = (points[token] - points[drafted]).abs().amax(-1) <= self.tolerance
            self.agreed = self.agreed & near
            chosen.append(torch.where(self.agreed, drafted, token))
        return torch.stack(chosen, 1)


@cache
def code_points(layout: TokenLayout, k: int, device: torch.device) -> Tensor:
    """Points [V, F] for the ids of slot `k`: near each other if and only if their digits are."""
    slot = layout.slots[k]
    streams = [layout.streams[q] for q in layout.order if layout.flat or q == slot.stream]
    width = 1 + max(len(stream.levels) for stream in streams)
    with torch.device("cpu"):
        points = torch.zeros(slot.vocab_size, width, dtype=torch.float32)
        start = 0
        for number, stream in enumerate(streams):
            rows = slice(start, start + stream.size)
            start += stream.size
            if stream.levels and not slot.joint:
                points[rows, 1 : 1 + len(stream.levels)] = digits_of(stream).float()
                points[rows, 0] = -FAR * (1 + number)
        isolated = points[:, 0] == 0  # all other ids are far from every id
        points[isolated, 0] = FAR * (1 + torch.arange(slot.vocab_size)[isolated]).float()
    return points.to(device)


class TokenVerifier(Verifier):
    """Decides slot by slot, with noise for the decision and for a replacement."""

    def __init__(self, layout: TokenLayout, state: DecodeState, drafted: Tensor, tried: Tensor):
        assert state.noise is not None
        per_row = len(drafted) // len(state.noise.used)
        noise = state.noise.take(per_row, layout.tokens_per_step, 2).flatten(0, 1)  # [N, K, 2]
        super().__init__(layout, state, drafted, tried, noise)

    def draw(self, slots: tuple[int, ...], logits: Tensor, must_pad: Tensor) -> Tensor:
        """See ConstrainedSampler."""
        model = self.distribution(slots, logits, must_pad)  # [N, n, V]
        return torch.stack(
            [self.decide(*own) for own in zip(slots, model.unbind(1), strict=True)], 1
        )

    def decide(self, k: int, p: Tensor) -> Tensor:
        """Return the token [N] of slot `k`, whose distribution under the model is `p` [N, V]."""
        raise NotImplementedError


class RejectionVerifier(TokenVerifier):
    """Rejection sampling of tokens that were drafted from `probs`, K of [N, V]."""

    def __init__(
        self,
        layout: TokenLayout,
        state: DecodeState,
        drafted: Tensor,
        tried: Tensor,
        probs: list[Tensor],
    ):
        super().__init__(layout, state, drafted, tried)
        self.probs = probs

    def decide(self, k: int, p: Tensor) -> Tensor:
        """See TokenVerifier."""
        q, drafted = self.probs[k], self.drafted[:, k]
        p_drafted, q_drafted = (x.gather(1, drafted[:, None])[:, 0] for x in (p, q))
        accept = self.agreed & (self.noise[:, k, 0] * q_drafted < p_drafted)
        residual = torch.where(self.agreed[:, None], (p - q).clamp(min=0), p)
        # A residual of zeros means that p = q but for rounding.
        residual = torch.where(residual.sum(1, keepdim=True) > 0, residual, p)
        self.agreed = accept
        return torch.where(accept, drafted, inverse_cdf(residual, self.noise[:, k, 1]))


class TypicalVerifier(TokenVerifier):
    """Typical acceptance: keeps tokens that are probable enough for the model's own uncertainty.

    A token is accepted if p >= min(t, sqrt(t) exp(-H)), with H the entropy of p and t the
    `tolerance` (Medusa, arXiv 2401.10774, section 2.3.1). The draft distribution does not count, so
    that the output has another distribution than without drafts. In greedy rows, only the most
    probable token is accepted.
    """

    def __init__(
        self,
        layout: TokenLayout,
        state: DecodeState,
        drafted: Tensor,
        tried: Tensor,
        tolerance: float,
    ):
        super().__init__(layout, state, drafted, tried)
        self.tolerance = tolerance

    def decide(self, k: int, p: Tensor) -> Tensor:
        """See TokenVerifier."""
        drafted = self.drafted[:, k]
        entropy = torch.special.entr(p).sum(1)
        least = (self.tolerance**0.5 * torch.exp(-entropy)).clamp(max=self.tolerance)
        probable = p.gather(1, drafted[:, None])[:, 0] >= least
        self.agreed = self.agreed & probable
        return torch.where(self.agreed, drafted, inverse_cdf(p, self.noise[:, k, 1]))


# -- whole steps ---------------------------------------------------------------------------------
#
# A step x, drafted with probability Q(x), is accepted with probability min(1, P(x) / Q(x)), P being
# the model's; otherwise a step is sampled from the residual max(0, P - Q) (Leviathan et al., arXiv
# 2211.17192, theorem 1, on the alphabet of steps). So the output has the model's distribution,
# whatever the head: P and Q are the products of the tokens' conditional probabilities. A whole step
# is accepted at least as often as token by token: with independent slots, that is the product over
# slots of sum min(p, q), which never exceeds sum min(P, Q), as couplings of the slots are couplings
# of the steps.
#
# The residual over steps of many tokens cannot be written down, so it is sampled by trial: a step
# from P counts with probability max(0, 1 - Q / P). That takes 1 / (1 - sum min(P, Q)) trials on
# average and is needed as rarely: about one trial per draft.


def verify_jointly(
    layout: TokenLayout,
    head: SpeechHead,
    hidden: Tensor,
    state: DecodeState,
    drafted: Tensor,
    tried: Tensor,
    draft_log_probs: Tensor,
    score: Scorer,
) -> tuple[Tensor, Tensor]:
    """Accept or replace whole drafted steps.

    Args:
        layout: the slots of a step.
        head: the model's head.
        hidden: [B, n + 1, D], which predicts every position.
        state: the state before each of the N positions.
        drafted: [B, n + 1, K] drafted steps.
        tried: [B, n + 1], which positions have a draft.
        draft_log_probs: [B, n + 1], with which these steps were drafted.
        score: the draft log-probability of other steps.

    Returns:
        Steps [B, n + 1, K], valid up to the first that is not accepted, and which drafts are
        accepted [B, n + 1].

    """
    model = LogProbScorer(layout, state, given=drafted.flatten(0, 1))
    head.propose(hidden.flatten(0, 1), model)
    assert state.noise is not None
    noise = state.noise.take(drafted.shape[1])
    accepts = accept_draft(model.total.view_as(draft_log_probs), draft_log_probs, noise)
    accepts = tried & accepts
    accepted = accepts.int().cumprod(1).sum(1)  # [B]
    rows = torch.arange(len(drafted), device=drafted.device)
    positions = (rows * drafted.shape[1] + accepted).tolist()
    steps = drafted.clone()
    steps[rows, accepted] = sample_residual(
        layout, head, hidden[rows, accepted], state, positions, tried[rows, accepted], score
    )
    return steps, accepts


def accept_draft(model: Tensor, draft: Tensor, noise: Tensor) -> Tensor:
    """Where a drafted step is accepted, by its log-probabilities under both and uniform numbers."""
    return noise.double().log() + draft < model


def accept_residual(model: Tensor, draft: Tensor, noise: Tensor) -> Tensor:
    """Where a step of the model counts as one of the residual: probability max(0, 1 - Q / P)."""
    return noise < 1 - torch.exp(draft - model)


def sample_residual(
    layout: TokenLayout,
    head: SpeechHead,
    hidden: Tensor,
    state: DecodeState,
    positions: list[int],
    rejected: Tensor,
    score: Scorer,
) -> Tensor:
    """Sample a step [B, K] of every row: from the residual if `rejected` [B], otherwise from P.

    `positions` are the rows' positions among the N of `state`; `hidden` [B, D] predicts them.
    """
    shape = (len(hidden), layout.tokens_per_step)
    steps = torch.zeros(shape, dtype=torch.long, device=hidden.device)
    waiting, trials, each = list(range(len(hidden))), 0, 1
    assert state.noise is not None
    while waiting:
        repeated = [row for row in waiting for _ in range(each)]
        chosen = [positions[row] for row in repeated]
        view = select_positions(state, chosen)
        rows = torch.tensor(waiting, device=hidden.device)
        noise = state.noise.take(each, shape[1] + 1, rows=rows).flatten(0, 1)
        model = LogProbScorer(layout, view, noise[:, 1:])
        sampled = head.propose(hidden[repeated], model)
        trials += each
        good = ~rejected[repeated]
        if bool(rejected[repeated].any()):
            good = good | accept_residual(model.total, score(chosen, view, sampled), noise[:, 0])
        good = good.view(len(waiting), each) | (trials >= MAX_TRIALS)
        first = good.int().argmax(1)  # [waiting]
        found = good.any(1).tolist()
        places = torch.arange(len(first), device=first.device)
        picked = sampled.view(len(waiting), each, -1)[places, first]
        for row, step, done in zip(waiting, picked, found, strict=True):
            if done:
                steps[row] = step
        waiting = [row for row, done in zip(waiting, found, strict=True) if not done]
        each = min(2 * each, 64)
    return steps


def select_positions(state: DecodeState, rows: list[int]) -> DecodeState:
    """What the rules read of a state, for these of its rows, some perhaps several times."""
    index = torch.tensor(rows, device=state.steps.device)

    def of(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[index]

    return replace(
        state,
        steps=state.steps[index],
        ended=state.ended[index],
        pointers=of(state.pointers),
        character_lengths=of(state.character_lengths),
        samplers=None if state.samplers is None else state.samplers.at(index),
        seen=of(state.seen),
    )
