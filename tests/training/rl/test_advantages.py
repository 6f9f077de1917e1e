"""Advantages of the decision whether to think, by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.training.rl.advantages import (
    decoupled_advantages,
    judge_rewards,
    mode_entropy,
    normalize,
    step_advantages,
    wanted_modes,
)

NAN = math.nan


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def test_rewards_are_normalized_within_groups():
    # Mean 0.25 and deviation sqrt(3)/4 of the first group; the second has no variance.
    found = normalize(values(1, 0, 0, 0, 1, 1), torch.tensor([0, 0, 0, 0, 1, 1]))
    third = 1 / math.sqrt(3)
    torch.testing.assert_close(
        found, values(math.sqrt(3), -third, -third, -third, 0, 0), atol=1e-4, rtol=0
    )


def test_missing_rewards_do_not_count():
    found = normalize(values(1, NAN, -1, NAN), torch.tensor([7, 7, 7, 9]))
    torch.testing.assert_close(found, values(1, 0, -1, 0), atol=1e-4, rtol=0)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5, width=16)), min_size=1, max_size=24))
def test_normalized_groups_have_zero_mean(rows):
    groups = torch.tensor([group for group, _ in rows])
    found = normalize(values(*(reward for _, reward in rows)), groups)
    assert found.isfinite().all()
    for group in groups.unique():
        assert found[groups == group].mean().abs() < 1e-3


def test_a_question_needs_thinking_if_that_raises_the_pass_rate():
    thinks = values(1, 1, 0, 0, 1, 1, 0, 0, 1, 0, 0, NAN)
    right = values(1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0)
    groups = torch.arange(12) // 4
    # 1.0 against 0.5; 1.0 against 1.0; 1.0 against 0.0.
    assert wanted_modes(thinks, right, groups, 0.1).tolist() == [1] * 4 + [0] * 4 + [1] * 4
    assert wanted_modes(thinks, right, groups, 0.5).tolist() == [0] * 4 + [0] * 4 + [1] * 4


def test_with_one_mode_the_need_is_unknown():
    wanted = wanted_modes(values(1, 1, NAN), values(1, 0, 0), torch.zeros(3), 0.1)
    assert wanted.isnan().all()
    assert judge_rewards(values(1, 1, NAN), wanted).isnan().all()


def test_the_wanted_mode_is_rewarded():
    found = judge_rewards(values(1, 0, NAN), values(1, 1, 1))
    assert found.tolist() == [1, -1, -1]


def test_tokens_up_to_the_mode_have_the_advantage_of_the_decision():
    found = step_advantages(values(2, -1), values(0.5, 3), torch.tensor([3, 0]), 4)
    assert found.tolist() == [[2, 2, 2, 0.5], [3, 3, 3, 3]]


def test_the_token_of_the_mode_has_its_own_weight():
    found = decoupled_advantages(values(2, -1), torch.tensor([2, 0]), values(10, 5), 3, 0.05)
    torch.testing.assert_close(found, torch.tensor([[2.0, 1.0, 2.0], [-1.0, -1.0, -1.0]]))


@pytest.mark.parametrize(
    ("thinks", "bits"),
    [((1, 0), 1.0), ((1, 1), 0.0), ((1, 0, 0, 0), 0.8113), ((NAN, NAN), 0.0), ((1, 0, NAN), 1.0)],
)
def test_entropy_of_the_decision(thinks, bits):
    assert mode_entropy(values(*thinks)) == pytest.approx(bits, abs=1e-4)
