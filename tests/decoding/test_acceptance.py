"""Acceptance of whole steps, which is exact, and the two rules that are not lossless."""

from collections.abc import Callable
from itertools import product
from typing import Any, cast

import pytest
import torch

from vocalmtp.decoding.acceptance import (
    FSQToleranceVerifier,
    TypicalVerifier,
    accept_draft,
    accept_residual,
    code_points,
    sample_residual,
)
from vocalmtp.decoding.generate import Prompt, generate
from vocalmtp.decoding.sampling import RowSamplers, Sampler
from vocalmtp.decoding.speculative import Speculative
from vocalmtp.models.backbone import KVCache
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.noise import RowNoise
from vocalmtp.models.state import DecodeState
from vocalmtp.models.streams import Stream

Make = Callable[..., Any]
CPU = torch.device("cpu")
PAIR = TokenLayout(streams=(Stream(name="a", size=3), Stream(name="b", size=3)))
# Distributions over three codes of two slots, without end and padding.
P = (torch.tensor([4, 2, 2, 0, 0]) / 8, torch.tensor([1, 5, 2, 0, 0]) / 8)
Q = (torch.tensor([2, 6, 0, 0, 0]) / 8, torch.tensor([4, 2, 2, 0, 0]) / 8)


def view_of(layout: TokenLayout, rows: int, seed: int = 0) -> DecodeState:
    steps = torch.full((rows,), 3)
    generators = tuple(torch.Generator().manual_seed(seed + row) for row in range(rows))
    state = DecodeState.start(cast(KVCache, None), steps)
    state.noise, state.samplers = (
        RowNoise(steps, generators),
        RowSamplers(steps, [Sampler()] * rows),
    )
    return state


def steps_with(parts: tuple[torch.Tensor, ...]) -> dict[tuple[int, ...], float]:
    """Probability of every step of independent slots."""
    ids = product(*(range(len(part)) for part in parts))
    return {
        x: float(torch.stack([p[i] for p, i in zip(parts, x, strict=True)]).prod()) for x in ids
    }


def test_joint_acceptance_has_exactly_the_models_distribution() -> None:
    """All drafts and 4,096 noise values: every step has its probability under the model."""
    ours, theirs = steps_with(P), steps_with(Q)
    noise = (torch.arange(4096) + 0.5) / 4096
    log = {x: torch.tensor(p, dtype=torch.float64).log() for x, p in ours.items()}
    drafted = {x: torch.tensor(q, dtype=torch.float64).log() for x, q in theirs.items()}
    kept = {
        x: q * accept_draft(log[x], drafted[x], noise).double().mean().item()
        for x, q in theirs.items()
        if q > 0
    }
    left = {
        x: p * accept_residual(log[x], drafted[x], noise).double().mean().item()
        for x, p in ours.items()
    }
    rejected, total = 1 - sum(kept.values()), sum(left.values())
    for x, p in ours.items():
        assert kept.get(x, 0.0) + rejected * left[x] / total == pytest.approx(p, abs=2e-3)
    as_a_whole = sum(min(p, theirs[x]) for x, p in ours.items())
    assert sum(kept.values()) == pytest.approx(as_a_whole, abs=1e-3)
    one_by_one = 1.0
    for p, q in zip(P, Q, strict=True):
        one_by_one *= torch.minimum(p, q).sum().item()
    assert one_by_one < as_a_whole - 0.05  # joint acceptance keeps more steps


class Fixed:
    """A head with a constant distribution."""

    def propose(self, hidden: torch.Tensor, sampler: Any) -> torch.Tensor:
        logits = [p.log().expand(len(hidden), -1) for p in P]
        return sampler.all(PAIR.stack_runs(logits))


def test_residual_sampling_by_trial() -> None:
    rows = 4000
    theirs = steps_with(Q)

    def score(places: list[int], view: DecodeState, steps: torch.Tensor) -> torch.Tensor:
        found = [theirs[tuple(step)] for step in steps.tolist()]
        return torch.tensor(found, dtype=torch.float64).log()

    rejected = torch.arange(rows) % 4 > 0
    view, places = view_of(PAIR, rows), list(range(rows))
    args = (PAIR, Fixed(), torch.zeros(rows, 1), view, places, rejected, score)
    made = sample_residual(*args)
    ours = steps_with(P)
    left = {x: max(0.0, p - theirs[x]) for x, p in ours.items()}
    for wanted, mask in ((left, rejected), (ours, ~rejected)):
        total, count = sum(wanted.values()), int(mask.sum())
        for x, p in wanted.items():
            share = (made[mask] == torch.tensor(x)).all(1).float().mean().item()
            spread = 4 * (p / total * (1 - p / total) / count) ** 0.5
            assert abs(share - p / total) <= spread


def test_joint_acceptance_keeps_more_steps(make_model: Make, make_rows: Make) -> None:
    model = make_model(
        streams=[{"name": "a", "size": 4}, {"name": "b", "size": 4}, {"name": "c", "size": 4}],
        text="prompt",
        draft={"name": "recursive", "heads": 2},
    )
    for head in (model.head, model.draft):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    (row,) = make_rows(model, (4,), spoken=False)
    share = {}
    for accept in ("rejection", "joint"):
        strategy = Speculative(1, accept)
        prompts = (Prompt(row, Sampler(), seed, 8) for seed in range(200))
        list(generate(model, prompts, 200, strategy))
        share[accept] = strategy.statistics.summary()["acceptance"][0]
    assert 0 < share["rejection"] < share["joint"] - 0.02


# -- rules that are not lossless ---------------------------------------------------------------------


def test_code_points_are_near_where_digits_are() -> None:
    fsq = Stream(name="a", size=12, levels=(3, 4))
    layout = TokenLayout(
        streams=(Stream(name="advance", size=2, joint=True), fsq, Stream(name="b", size=3))
    )
    places = code_points(layout, 1, CPU)  # [14, 3]
    apart = (places[:, None] - places).abs().amax(-1)
    digits = [(code % 3, code // 3) for code in range(12)]
    for one, other in product(range(12), repeat=2):
        want = max(abs(x - y) for x, y in zip(digits[one], digits[other], strict=True))
        assert apart[one, other] == want
    assert (apart[12:, :12] > 1000).all() and apart[12, 13] > 1000
    for k in (0, 2):  # advances, and codes without digits, equal only themselves
        places = code_points(layout, k, CPU)
        apart = (places[:, None] - places).abs().amax(-1)
        assert ((apart == 0) == torch.eye(len(apart), dtype=torch.bool)).all()
        assert apart[~torch.eye(len(apart), dtype=torch.bool)].min() > 1000
    flat = code_points(TokenLayout(streams=(Stream(name="x", size=3), fsq, fsq), flat=True), 0, CPU)
    apart = (flat[:, None] - flat).abs().amax(-1)
    assert apart[3, 4] == 1 and apart[3, 15] > 1000 and apart[0, 1] > 1000


def test_tolerance_accepts_only_near_codes() -> None:
    layout = TokenLayout(streams=(Stream(name="a", size=9, levels=(3, 3)),))
    best = 4  # digits (1, 1)
    logits = [torch.full((9, 11), -9.0).index_fill(1, torch.tensor([best]), 9.0)]
    drafted = torch.arange(9)[:, None]
    for tolerance, kept in ((0, [best]), (1, list(range(9)))):
        sampler = FSQToleranceVerifier(
            layout,
            view_of(layout, 9),
            drafted,
            torch.ones(9, dtype=torch.bool),
            torch.full((9, 1), 0.5),
            tolerance,
        )
        tokens = sampler.all(layout.stack_runs(logits))
        assert sampler.agreed.nonzero()[:, 0].tolist() == kept
        assert tokens[sampler.agreed, 0].tolist() == kept
        assert (tokens[~sampler.agreed] == best).all()


def test_typical_acceptance_depends_on_the_entropy() -> None:
    layout = TokenLayout(streams=(Stream(name="a", size=8),))
    sharp = torch.tensor([0.9, 0.06, 0.04, 0, 0, 0, 0, 0]).log()
    even = torch.full((8,), 1 / 8).log()
    for logits, kept in ((sharp, [0]), (even, list(range(8)))):
        logits = torch.cat([logits, torch.full((2,), -torch.inf)]).expand(8, -1)
        sampler = TypicalVerifier(
            layout,
            view_of(layout, 8),
            torch.arange(8)[:, None],
            torch.ones(8, dtype=torch.bool),
            0.09,
        )
        sampler.all(layout.stack_runs([logits]))
        assert sampler.agreed.nonzero()[:, 0].tolist() == kept
