"""Token order prediction: exact targets, and the loss that they give."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.models.layout import IGNORED, TokenLayout
from vocalmtp.models.objectives import (
    build_objectives,
    last_occurrence,
    order_loss,
    order_weights,
)
from vocalmtp.models.streams import Stream

VOCABULARY = 6


def by_hand(logits: torch.Tensor, targets: torch.Tensor, window: int) -> torch.Tensor:
    """The loss with dense float64 targets, position by position, token by token."""
    losses = []
    for row, ours in zip(targets.tolist(), logits.double(), strict=True):
        for place in range(len(row)):
            scores = torch.full((VOCABULARY,), -math.inf, dtype=torch.float64)
            for distance in reversed(range(window)):
                if place + distance < len(row) and row[place + distance] != IGNORED:
                    scores[row[place + distance]] = window - distance
            if scores.isfinite().any():
                losses.append(-(scores.softmax(0) * ours[place].log_softmax(0)).sum())
    return torch.stack(losses).mean() if losses else torch.zeros((), dtype=torch.float64)


@given(
    rows=st.lists(
        st.lists(st.sampled_from([*range(VOCABULARY), IGNORED]), min_size=9, max_size=9),
        min_size=1,
        max_size=3,
    ),
    window=st.integers(1, 12),
    chunk=st.integers(1, 10),
)
def test_order_loss_equals_reference(rows: list[list[int]], window: int, chunk: int) -> None:
    targets = torch.tensor(rows)
    logits = torch.randn(*targets.shape, VOCABULARY, requires_grad=True)
    loss = order_loss(logits, lambda x: x, targets, window, chunk)
    want = by_hand(logits, targets, window)
    torch.testing.assert_close(loss.double(), want, atol=1e-5, rtol=1e-5)
    (ours,) = torch.autograd.grad(loss, logits, allow_unused=True)
    (theirs,) = torch.autograd.grad(want, logits, allow_unused=True) if want.requires_grad else (0,)
    torch.testing.assert_close(ours, torch.zeros_like(ours) + theirs, atol=1e-6, rtol=1e-4)


def test_last_occurrence() -> None:
    assert last_occurrence(torch.tensor([[3, 1, 3, 3, 1, 2]])).tolist() == [[-1, -1, 0, 2, 1, -1]]


def test_order_weights_of_distinct_tokens() -> None:
    weights = order_weights(torch.ones(4096, dtype=torch.bool))
    assert [round(x, 3) for x in weights[:3].tolist()] == [0.632, 0.233, 0.086]


def test_float16_scores_tie_two_nearest_tokens() -> None:
    """The published targets at a window of 4096, which are not used here."""
    scores = (4096 - torch.arange(4096)).half()
    assert scores[:4].tolist() == [4096, 4096, 4094, 4092]
    masses = scores.float().softmax(0)[:3].tolist()
    assert [round(x, 3) for x in masses] == [0.456, 0.456, 0.062]


def test_loss_without_targets_is_zero() -> None:
    hidden = torch.randn(2, 5, 4, requires_grad=True)
    targets = torch.full((2, 5), IGNORED)
    assert order_loss(hidden, lambda x: x, targets, 3) == 0


def test_window_of_one_is_next_token_prediction() -> None:
    logits, targets = torch.randn(2, 9, VOCABULARY), torch.randint(0, VOCABULARY, (2, 9))
    want = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    torch.testing.assert_close(order_loss(logits, lambda x: x, targets, 1), want)


@pytest.mark.parametrize("flat", [False, True])
def test_objective_is_mean_over_slots(flat: bool) -> None:
    streams = (Stream(name="a", size=8, levels=(2, 4)), Stream(name="b", size=5))
    layout = TokenLayout(streams=streams, flat=flat, frames_per_step=1)
    objective = build_objectives({"top": {"weight": 0.5, "window": 4}}, layout, 16)["top"]
    hidden = torch.randn(2, 9, 16)
    targets = torch.stack([torch.randint(0, s.size, (2, 9)) for s in layout.slots], -1)
    parts = [
        order_loss(hidden, lambda x, k=k: objective.projection(x, k), targets[..., k], 4)
        for k in range(layout.tokens_per_step)
    ]
    torch.testing.assert_close(objective(hidden, targets), 0.5 * torch.stack(parts).mean())
