"""Recursive draft heads: training with the attention of decoding."""

import pytest
import torch

from vocalmtp.heads import build_draft
from vocalmtp.heads.draft.recursive import RecursiveConfig, RecursiveDraft

WIDTH = 8


def states(matched: bool) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """States of one draft head in training, and in decoding at the last position."""
    torch.manual_seed(0)
    config = {"name": "recursive", "heads": 2, "matched": matched}
    draft = build_draft(config, WIDTH, lambda: None)
    hidden, inputs = torch.randn(2, 1, 9, WIDTH)
    with torch.no_grad():
        trained = [state[:, 4] for state in draft.states(hidden, inputs, 3)]
        cache = draft.start(1, hidden)
        cache = draft.read(cache, hidden[:, :5], inputs[:, 1:6], torch.tensor([5]))
        decoded = [draft.draft_step(cache, k, inputs[:, 4 + k])[0] for k in (1, 2, 3)]
    return trained, decoded


def test_matched_training_equals_decoding() -> None:
    for one, other in zip(*states(matched=True), strict=True):
        torch.testing.assert_close(one, other)


def test_released_training_equals_decoding_at_first_step_only() -> None:
    trained, decoded = states(matched=False)
    torch.testing.assert_close(trained[0], decoded[0])
    for one, other in zip(trained[1:], decoded[1:], strict=True):
        assert (one - other).abs().max() > 1e-2


def test_weights_decay_and_sum_to_one() -> None:
    draft = RecursiveDraft(RecursiveConfig(), 8, lambda: None)
    assert sum(draft.weights) == pytest.approx(1)
    assert [round(weight, 2) for weight in draft.weights] == [0.51, 0.31, 0.18]  # as published
    stated = RecursiveConfig(step_weights=(0.6, 0.3, 0.1))
    assert RecursiveDraft(stated, 8, lambda: None).weights == (0.6, 0.3, 0.1)


def test_new_head_begins_with_the_hidden_states() -> None:
    config = {"name": "recursive", "heads": 2, "from_hidden": True}
    draft = build_draft(config, WIDTH, lambda: None)
    hidden, inputs = torch.randn(2, 1, 9, WIDTH)
    for state in draft.states(hidden, inputs, 3):
        torch.testing.assert_close(state, torch.nn.functional.rms_norm(hidden, (WIDTH,)))


def test_drafts_more_steps_than_trained() -> None:
    draft = build_draft({"name": "recursive", "heads": 2, "steps": 2}, WIDTH, lambda: None).eval()
    hidden = torch.randn(1, 4, WIDTH)
    with torch.no_grad():
        cache = draft.read(draft.start(1, hidden), hidden, hidden, torch.tensor([4]))
        made = [draft.draft_step(cache, k, hidden[:, 0]) for k in range(1, 6)]
    assert [number for _, number in made] == [0, 1, 1, 1, 1]
    assert len({round(state.sum().item(), 4) for state, _ in made}) == 5
