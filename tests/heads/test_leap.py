"""Leap heads: looking back leaves no gap for any stride and number of heads."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vocalmtp.heads import build_draft, build_head
from vocalmtp.heads.draft.leap import look_back
from vocalmtp.models.layout import TokenLayout
from vocalmtp.models.streams import Stream

LAYOUT = TokenLayout(streams=(Stream(name="a", size=4),))
COUNTS = st.integers(1, 12)


def drafted(heads: int, stride: int, kept: int) -> list[int]:
    """Steps beyond the next that `heads` heads of `kept` positions predict, sorted."""
    return sorted(i * stride - back for i in range(1, heads + 1) for back in range(kept))


@given(heads=COUNTS, stride=COUNTS)
def test_every_step_is_drafted_once(heads: int, stride: int) -> None:
    ahead = range(1, heads * stride + 1)
    assert drafted(heads, stride, kept=stride) == list(ahead)
    for step in ahead:
        head, back = look_back(step, stride)
        assert 1 <= head <= heads and 0 <= back < stride
        assert head * stride - back == step


def test_fewer_positions_than_stride_leave_gaps() -> None:
    """As in the released code: a stride of three, and two hidden states."""
    assert drafted(3, 3, kept=2) == [2, 3, 5, 6, 8, 9]


@given(heads=st.integers(1, 4), stride=st.integers(1, 4))
def test_perfect_heads_draft_next_steps(heads: int, stride: int) -> None:
    """Hidden states hold their position, and heads add their offset."""
    draft = build_draft({"name": "leap", "steps": heads, "stride": stride}, 2, _make_head)
    draft.state = lambda hidden, i: hidden + draft.offsets[i] + 1  # type: ignore[method-assign]
    place = torch.arange(20.0)[None, :, None].expand(1, 20, 2)
    cache = draft.start(1, place)
    for start in range(0, 20, 5):
        cache = draft.read(cache, place[:, start : start + 5], place, torch.tensor([5]))
    steps = [
        draft.draft_step(cache, k, place[:, 0])[0][0, 0].item()
        for k in range(1, draft.max_drafts + 1)
    ]
    assert steps == [19 + 1 + k for k in range(1, heads * stride + 1)]


def _make_head() -> torch.nn.Module:
    return build_head({"name": "parallel", "kind": "linear"}, LAYOUT, 2, {})


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_new_head_equals_its_original(stride: int) -> None:
    draft = build_draft({"name": "leap", "stride": stride}, 2, _make_head)
    hidden = torch.randn(1, 3, 2)
    for state in draft.states(hidden, hidden, 3):
        assert torch.equal(state, hidden)


def test_later_heads_count_less_with_a_decay() -> None:
    def weights(**settings: float) -> tuple[float, ...]:
        return build_draft({"name": "leap", "steps": 3, **settings}, 2, _make_head).weights

    assert weights() == (1.0, 1.0, 1.0)
    assert weights(decay=0.5) == (0.5, 0.25, 0.125)
