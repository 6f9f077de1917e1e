"""Drafted steps that are kept or drawn anew as a whole: rejection sampling on all K tokens at once.

A step x, drafted with probability Q(x), is kept with probability min(1, P(x) / Q(x)), P being the
model's; if not, a step is drawn from what is left, max(0, P - Q) (Leviathan et al., arXiv
2211.17192, theorem 1, on the alphabet of steps). So what is said has the model's distribution,
whatever the head: both are the products of their tokens' probabilities, each given the tokens
before where a head is made so. A whole step is kept at least as often as token by token: with
independent slots that is the product over slots of sum min(p, q), which is never above
sum min(P, Q), as couplings of the slots are one of the steps.

What is left cannot be written down for steps of many tokens, so it is drawn by trial: a step from
P, which counts with probability max(0, 1 - Q / P). That takes 1 / (1 - sum min(P, Q)) trials in the
mean, and is needed as seldom: one trial for every draft, kept or not.
Letters: B rows, n drafts, K slots, D width, N = B (n + 1) places to verify.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vocalmtp.decoding.acceptance import LogProbScorer
from vocalmtp.heads.base import SpeechHead
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.state import DecodeState

MOST_TRIALS = 1 << 16  # of a step; P and Q are then the same but for rounding
Score = Callable[[list[int], DecodeState, Tensor], Tensor]  # places of N, their view, steps: log Q


def verify_jointly(
    layout: TokenLayout,
    head: SpeechHead,
    hidden: Tensor,
    view: DecodeState,
    drafted: Tensor,
    tried: Tensor,
    drawn: Tensor,
    score: Score,
) -> tuple[Tensor, Tensor]:
    """Steps [B, n + 1, K], of which those kept and the next count, and which are kept [B, n + 1].

    `hidden` [B, n + 1, D] predicts every place, before which the state is `view` (N rows);
    `drafted` [B, n + 1, K] were drafted where `tried` [B, n + 1] says so, with the log-probability
    `drawn` [B, n + 1]; `score` gives that of other steps.
    """
    ours = LogProbScorer(layout, view, given=drafted.flatten(0, 1))
    head.propose(hidden.flatten(0, 1), ours)
    noise = [torch.rand(drafted.shape[1], generator=g) for g in view.generators]
    noise = torch.stack(noise).to(drafted.device)
    kept = tried & is_kept(ours.total.view_as(drawn), drawn, noise)
    accepted = kept.int().cumprod(1).sum(1)  # [B]
    rows = torch.arange(len(drafted), device=drafted.device)
    places = (rows * drafted.shape[1] + accepted).tolist()
    steps = drafted.clone()
    steps[rows, accepted] = draw_left(
        layout, head, hidden[rows, accepted], view, places, tried[rows, accepted], score
    )
    return steps, kept


def is_kept(ours: Tensor, theirs: Tensor, noise: Tensor) -> Tensor:
    """Where a drafted step is kept, by its log-probabilities under both and uniform numbers."""
    return noise.double().log() + theirs < ours


def counts_as_left(ours: Tensor, theirs: Tensor, noise: Tensor) -> Tensor:
    """Where a step of the model's is one of what is left, with probability max(0, 1 - Q / P)."""
    return noise < 1 - torch.exp(theirs - ours)


def draw_left(
    layout: TokenLayout,
    head: SpeechHead,
    hidden: Tensor,
    view: DecodeState,
    places: list[int],
    rejected: Tensor,
    score: Score,
) -> Tensor:
    """A step [B, K] for every row, at its place of N: where a draft was `rejected` [B], one of what
    is left; else one of P. `hidden` is [B, D].
    """
    steps = torch.zeros(len(hidden), layout.tokens_per_step, dtype=torch.long, device=hidden.device)
    waiting, trials, each = list(range(len(hidden))), 0, 1
    while waiting:
        many = [row for row in waiting for _ in range(each)]
        at = [places[row] for row in many]
        state = view_rows(view, at)
        draws = [
            torch.rand(each, layout.tokens_per_step + 1, generator=view.generators[row])
            for row in waiting
        ]
        noise = torch.cat(draws).to(hidden.device)
        pick = LogProbScorer(layout, state, noise[:, 1:])
        made = head.propose(hidden[many], pick).tokens[:, 0]
        trials += each
        good = ~rejected[many]
        if bool(rejected[many].any()):
            theirs = score(at, state, made)
            good = good | counts_as_left(pick.total, theirs, noise[:, 0])
        good = good.view(len(waiting), each) | (trials >= MOST_TRIALS)
        first = good.int().argmax(1)  # [waiting]
        found = good.any(1).tolist()
        chosen = made.view(len(waiting), each, -1)[torch.arange(len(waiting)), first]
        for row, step, done in zip(waiting, chosen, found, strict=True):
            if done:
                steps[row] = step
        waiting = [row for row, done in zip(waiting, found, strict=True) if not done]
        each = min(2 * each, 64)
    return steps


def view_rows(view: DecodeState, rows: list[int]) -> DecodeState:
    """What the rules need of a state, for these of its rows; they may be there several times."""

    def of(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[rows]

    return replace(
        view,
        steps=view.steps[rows],
        ended=view.ended[rows],
        pointers=of(view.pointers),
        character_lengths=of(view.character_lengths),
        samplers=tuple(view.samplers[row] for row in rows),
    )
